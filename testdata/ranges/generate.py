"""Writes the ranges that ONNX Runtime's calibrators choose.

- entropy.json: histograms, and the part of each that `HistogramCollector.get_entropy_threshold` chooses.
- values.json: for values that are formulas over a linear congruential generator, which
  crates/posterize/tests/ranges.rs repeats exactly, the ranges of the entropy and percentile calibrators
  with histograms of 2,048 bins.

    python testdata/ranges/generate.py           # any onnxruntime 1.32 with onnx and numpy
"""

import contextlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.quantization.calibrate import HistogramCollector

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from uniform import uniform  # noqa: E402

f32 = np.float32


def values(form, seed, count, low, high):
    u = uniform(seed, count)
    low, width = f32(low), f32(high) - f32(low)
    if form == "uniform":
        return low + width * u
    if form == "bell":  # the mean of four
        u = u.reshape(-1, 4)
        return low + width * ((u[:, 0] + u[:, 1] + u[:, 2] + u[:, 3]) * f32(0.25))
    if form == "relu_bell":
        return np.maximum(values("bell", seed, count, low, high), f32(0))
    if form == "long_tail":  # one in 50 is up to 16 times larger
        x = values("bell", seed, count, low, high)
        far = np.arange(x.size) % 50 == 7
        v = u.reshape(-1, 4)[:, 0]
        return np.where(far, x * (f32(1) + f32(15) * v), x)
    raise ValueError(form)


CASES = {
    "uniform": ("uniform", 1, 20000, -1, 2),
    "bell": ("bell", 2, 80000, -3, 3),
    "relu_bell": ("relu_bell", 3, 80000, -3, 4),
    "long_tail": ("long_tail", 4, 80000, -1, 1),
    "shifted_long_tail": ("long_tail", 5, 80000, 0, 6),
}
PERCENTILES = [90.0, 99.0, 99.9]


def collector(method, percentile=99.0):
    return HistogramCollector(
        method=method, symmetric=False, num_bins=2048, num_quantized_bins=128, percentile=percentile, scenario="same"
    )


def chosen(histogram, levels):
    bins = len(histogram)
    edges = np.arange(bins + 1, dtype=f32)
    found = collector("entropy").get_entropy_threshold(
        (histogram, edges, f32(0), f32(bins)), levels
    )
    return [int(edge) for edge in found]


def main():
    here = Path(__file__).parent
    histograms = []
    for seed, bins, levels in [(1, 128, 128), (2, 256, 128), (3, 400, 128), (4, 512, 128), (5, 300, 64), (6, 257, 64)]:
        u = uniform(seed, 4 * bins).reshape(bins, 4).astype(float)
        place = np.abs(np.arange(bins) - bins // 2) / (bins / 2)
        bell = np.exp(-(place * 6) ** 2 / 2) * 20000
        histograms += [((bell + 30 * u[:, 0] ** 4).astype(np.int64), levels)]
        # Empty bins, and single values far out.
        sparse = np.where(u[:, 1] < 0.3, 0, bell * u[:, 2]) + (u[:, 3] < 0.02)
        histograms += [(sparse.astype(np.int64), levels)]
    goldens = [
        dict(histogram=histogram.tolist(), levels=levels, part=chosen(histogram, levels))
        for histogram, levels in histograms
    ]
    here.joinpath("entropy.json").write_text("[\n" + ",\n".join(map(json.dumps, goldens)) + "]\n")

    cases = []
    for name, form in CASES.items():
        x = values(*form)
        ranges = {}
        with contextlib.redirect_stdout(io.StringIO()):
            entropy = collector("entropy")
            entropy.collect({"x": x})
            ranges["entropy"] = [float(v) for v in entropy.compute_entropy()["x"][:2]]
            for percentile in PERCENTILES:
                # ONNX Runtime cuts half of the rest at either end.
                cut = collector("percentile", 100 - 2 * (100 - percentile))
                cut.collect({"x": x})
                ranges[str(percentile)] = [float(v) for v in cut.compute_percentile()["x"][:2]]
        keys = ("form", "seed", "count", "low", "high")
        cases.append(dict(name=name, values=dict(zip(keys, form)), ranges=ranges))
        print(name, ranges, float(x.min()), float(x.max()))
    text = ",\n".join(json.dumps(case) for case in cases)
    here.joinpath("values.json").write_text(
        f'{{"onnxruntime": "{onnxruntime.__version__}", "cases": [\n{text}]}}\n'
    )


main()
