"""Numbers that scripts and tests compute alike, so that goldens need not store them."""

import numpy as np


def uniform(seed, count):
    """Values in [0, 1), multiples of 2^-24."""
    state, values = seed, []
    for _ in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(state >> 8)
    return np.array(values, dtype=np.float32) * np.float32(2.0**-24)
