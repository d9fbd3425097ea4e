"""Writes qparams.json: the scales and zero points that PyTorch's observers find for many tensors.

The tensors are formulas over a linear congruential generator, in f32 arithmetic that
crates/posterize/tests/observers.rs repeats exactly, so that only the answers are stored.

    python testdata/observers/generate.py        # any PyTorch 2.15 with CPU support
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch.ao.quantization import observer as ao

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from uniform import uniform  # noqa: E402

f32 = np.float32


def batch(form, seed, count, low, high):
    low, high = f32(low), f32(high)
    u = uniform(seed, count)
    x = low + (high - low) * u
    index = np.arange(count)
    if form == "uniform":
        return x
    if form == "constant":
        return np.full(count, low)
    if form == "relu":
        return np.maximum(x, f32(0))
    if form == "peaked":  # most values near the middle
        v = u * f32(2) - f32(1)
        middle, half = (low + high) * f32(0.5), (high - low) * f32(0.5)
        return middle + half * (v * v * v)
    if form == "skewed":  # most values near low
        return low + (high - low) * (u * u * u * u)
    if form == "outliers":  # one in 97 is far out
        return np.where(index % 97 == 5, x * f32(50), x)
    if form == "grid":  # whole numbers: every value on an edge
        return np.floor(x)
    raise ValueError(form)


N = 6000
U, C, R, P, S, O, G = "uniform", "constant", "relu", "peaked", "skewed", "outliers", "grid"
CASES = {
    "all_zero": [(C, 0, N, 0, 0)],
    "zeros_twice": [(C, 0, N, 0, 0), (C, 0, 12, 0, 0)],
    "constant_positive": [(C, 0, N, 3, 3)],
    "constant_negative": [(C, 0, N, -2.5, -2.5)],
    "constant_tiny": [(C, 0, N, 1e-10, 1e-10)],
    "constant_huge": [(C, 0, N, 1e10, 1e10)],
    "single_value": [(C, 0, 1, 0.7, 0.7)],
    "single_negative_value": [(C, 0, 1, -123.25, -123.25)],
    "single_values": [(U, s, 1, -1, 1) for s in range(1, 8)],
    "two_values": [(C, 0, 12, -1, 0), (C, 0, 36, 2, 0)],
    "one_sided_positive": [(U, 1, N, 1, 5)],
    "one_sided_negative": [(U, 2, N, -5, -1)],
    "one_sided_far": [(U, 3, N, 1000, 1001)],
    "symmetric": [(U, 4, N, -1, 1)],
    "slightly_negative": [(U, 5, N, -0.1, 6)],
    "relu": [(R, 6, N, -3, 3)],
    "relu6_full": [(R, 7, N, -12, 6)],
    "sparse_relu": [(R, 8, N, -30, 1.5)],
    "tiny": [(U, 9, N, -1e-10, 1e-10)],
    "tiny_positive": [(P, 10, N, 1e-10, 3e-10)],
    "below_normal_f32": [(U, 11, N, 0, 1e-39)],
    "huge": [(P, 12, N, -1e10, 1e10)],
    "huge_positive": [(S, 13, N, 0, 1e10)],
    "very_huge": [(U, 14, N, -1e14, 2e14)],
    "peaked": [(P, 15, N, -4, 4)],
    "peaked_off_centre": [(P, 16, N, -1, 7)],
    "skewed": [(S, 17, N, 0, 10)],
    "skewed_negative": [(S, 18, N, 0, -10)],
    "outliers": [(O, 19, N, -1, 1)],
    "outliers_positive": [(O, 20, N, 0, 1)],
    "outliers_large": [(S, 21, 24000, 0, 100), (O, 22, 24000, -1, 1)],
    "one_far_outlier": [(P, 23, N, -1, 1), (C, 0, 1, 1000, 0), (P, 24, N, -1, 1)],
    "whole_numbers": [(G, 25, N, 0, 256)],
    "whole_numbers_growing": [(G, 26, N, -8, 9), (G, 27, N, -64, 65), (G, 28, N, -512, 513)],
    "growing": [(P, 30 + i, 1200, -(1.5**i), 1.7**i) for i in range(8)],
    "growing_upwards": [(R, 40 + i, 1200, -1 - i, 1 + 0.37 * i) for i in range(10)],
    "growing_hugely": [(P, 50 + i, 600, -(10.0**i), 10.0 ** (i + 1)) for i in range(-3, 6)],
    "growing_barely": [(U, 60 + i, 1200, -1, 1 + 1e-4 * i) for i in range(6)],
    "shrinking": [(P, 70 + i, 1200, -(0.6**i), 2 * 0.5**i) for i in range(8)],
    "drifting": [(P, 80 + i, 1200, i - 3, i - 1) for i in range(7)],
    "constant_then_range": [(C, 0, 120, 0.5, 0), (P, 90, N, -1, 3)],
    "constant_outside_then_range": [(C, 0, 120, -7, 0), (P, 91, N, -1, 3), (C, 0, 60, 9, 0)],
    "range_then_constant": [(P, 92, N, -1, 3), (C, 0, 120, 0.5, 0)],
    "different_constants": [(C, 0, 120, 1, 0), (C, 0, 60, 2, 0), (C, 0, 240, -1, 0)],
    "tiny_then_huge": [(P, 93, 1200, -1e-6, 1e-6), (P, 94, 1200, -1e6, 1e6)],
    "relu_batches": [(R, 100 + i, 3600, -2 - 0.1 * i, 2 + 0.3 * (i * 7 % 5)) for i in range(10)],
    "linear_batches": [(P, 120 + i, 3600, -8 - (i * 3 % 7), 9 + (i * 5 % 7)) for i in range(10)],
    "large": [(P, 140, 150000, -3, 4), (S, 141, 150000, -1, 5)],
}

# kind, arguments; per-channel observers run along axis 0 (3 channels) or 1 (4 channels).
DTYPES = {"quint8": torch.quint8, "qint8": torch.qint8}
SCHEMES = {
    "per_tensor_affine": torch.per_tensor_affine,
    "per_tensor_symmetric": torch.per_tensor_symmetric,
    "per_channel_affine": torch.per_channel_affine,
    "per_channel_symmetric": torch.per_channel_symmetric,
}
KINDS = {
    "min_max": ao.MinMaxObserver,
    "moving_average_min_max": ao.MovingAverageMinMaxObserver,
    "per_channel_min_max": ao.PerChannelMinMaxObserver,
    "moving_average_per_channel_min_max": ao.MovingAveragePerChannelMinMaxObserver,
    "histogram": ao.HistogramObserver,
}


def specs():
    for kind in KINDS:
        per_channel = "per_channel" in kind
        for scheme in SCHEMES:
            if scheme.startswith("per_channel") != per_channel:
                continue
            for dtype in DTYPES:
                for axis in (0, 1) if per_channel else (0,):
                    spec = dict(kind=kind, dtype=dtype, qscheme=scheme, ch_axis=axis)
                    yield spec
                    if not (dtype == "quint8" and "symmetric" in scheme):
                        yield dict(spec, reduce_range=True)
                    custom = (0, 15) if dtype == "quint8" else (-127, 127)
                    yield dict(spec, quant_range=custom, eps=2**-12)
                    if "moving" in kind:
                        yield dict(spec, averaging_constant=0.5)


def build(spec):
    arguments = dict(dtype=DTYPES[spec["dtype"]], qscheme=SCHEMES[spec["qscheme"]])
    arguments["reduce_range"] = spec.get("reduce_range", False)
    if "per_channel" in spec["kind"]:
        arguments["ch_axis"] = spec["ch_axis"]
    if "quant_range" in spec:
        arguments["quant_min"], arguments["quant_max"] = spec["quant_range"]
        arguments["eps"] = spec["eps"]
    if "averaging_constant" in spec:
        arguments["averaging_constant"] = spec["averaging_constant"]
    return KINDS[spec["kind"]](**arguments)


def main():
    all_specs = list(specs())
    cases = []
    for name, forms in CASES.items():
        batches = [torch.from_numpy(batch(*form)) for form in forms]
        batches = [b.reshape(3, 4, -1) if b.numel() % 12 == 0 else b.reshape(1, 1, -1) for b in batches]
        same_channels = len({b.shape[0] for b in batches}) == 1
        histogram = ao.HistogramObserver()
        for b in batches:
            histogram(b)
        # The search does not depend on the dtype or scheme, and takes long.
        searched = histogram._non_linear_param_search()
        qparams = []
        for spec in all_specs:
            observer = build(spec)
            if spec["kind"] == "histogram":
                scale, zero_point = observer._calculate_qparams(*searched)
            elif "per_channel" in spec["kind"] and not same_channels:
                qparams.append(None)
                continue
            else:
                for b in batches:
                    observer(b)
                scale, zero_point = observer.calculate_qparams()
            # One number where all channels agree.
            scale, zero_point = scale.tolist(), zero_point.tolist()
            qparams.append([s[:1] if len(set(s)) == 1 else s for s in (scale, zero_point)])
        cases.append(dict(
            name=name,
            batches=[dict(zip(("form", "seed", "count", "low", "high"), form)) for form in forms],
            qparams=qparams,
        ))
        print(name, searched)
    lines = ",\n".join(json.dumps(case) for case in cases)
    specs_lines = ",\n".join(json.dumps(spec) for spec in all_specs)
    path = Path(__file__).with_name("qparams.json")
    path.write_text(f'{{"torch": "{torch.__version__}",\n"specs": [\n{specs_lines}],\n"cases": [\n{lines}]}}\n')


main()
