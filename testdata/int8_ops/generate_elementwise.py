#!/usr/bin/env python3
"""Golden vectors of PyTorch's int8 operators without weights, written beside this file.

    python3 testdata/int8_ops/generate_elementwise.py

Needs torch, on any x86 CPU with AVX2. Tensors are NHWC, as hexadecimal bytes; floats are
little-endian single precision in hexadecimal.

PyTorch dequantizes the operands of `quantized.add` with a fused multiply-add where it vectorizes,
and with a subtraction and a product in what is left over at the end of a tensor. The vectorized
arithmetic is the one to follow, so lengths here are multiples of its step, and operands at which
the two differ are looked for and put in.
"""

import json
import pathlib
import struct
import warnings

import torch

HERE = pathlib.Path(__file__).parent
F32 = torch.float32
# Two vectors of 64 bytes: the step of PyTorch's vectorized loops, or a multiple of it.
STEP = 128

warnings.filterwarnings("ignore", message=".*quantized tensor creation functions.*")


def f32(value):
    """`value` rounded to single precision."""
    return torch.tensor(value, dtype=F32).item()


def hexadecimal(tensor):
    """The bytes of a uint8 tensor, or of an f32 one."""
    values = tensor.contiguous().flatten().tolist()
    if tensor.dtype == F32:
        return struct.pack(f"<{len(values)}f", *values).hex()
    return bytes(values).hex()


def qparams(generator, greatest_scale=0.1):
    """A random scale and zero point."""
    scale = f32(torch.rand((), generator=generator).item() * greatest_scale + 1e-4)
    return scale, int(torch.randint(0, 256, (), generator=generator))


def quantized(values, parameters):
    return torch._make_per_tensor_quantized_tensor(values, *parameters)


def random_bytes(generator, *shape):
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def quantize_case(seed, parameters=None):
    """Random values, ties between two integers, values far beyond the range."""
    generator = torch.Generator().manual_seed(seed)
    scale, zero_point = parameters or qparams(generator)
    steps = torch.randint(-40, 300, (2 * STEP,), generator=generator).to(F32) - zero_point
    ties = (steps[:STEP] + 0.5) * scale
    between = (steps[STEP:] + torch.rand(STEP, generator=generator)) * scale
    special = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 1e6 * scale, -1e6 * scale,
                            float("inf"), float("-inf")], dtype=F32)
    # Beyond 2^31 - 256 steps PyTorch's integers wrap for large zero points.
    if zero_point > 100:
        special[6] = 0.0
    values = torch.cat([ties, between, special.repeat(STEP // len(special))])
    output = torch.quantize_per_tensor(values, scale, zero_point, torch.quint8)
    return {"operator": "quantize", "output_qparams": [scale, zero_point],
            "input": hexadecimal(values), "output": hexadecimal(output.int_repr())}


def dequantize_case(seed):
    parameters = qparams(torch.Generator().manual_seed(seed))
    output = quantized(torch.arange(256, dtype=torch.uint8), parameters).dequantize()
    return {"operator": "dequantize", "qparams": parameters, "output": hexadecimal(output)}


def requantize_case(seed):
    generator = torch.Generator().manual_seed(seed)
    before, after = qparams(generator), qparams(generator)
    real = quantized(torch.arange(256, dtype=torch.uint8), before).dequantize()
    output = torch.quantize_per_tensor(real, *after, torch.quint8)
    return {"operator": "requantize", "qparams": before, "output_qparams": after,
            "output": hexadecimal(output.int_repr())}


def telling_pairs(a, b, out):
    """Operands whose sum depends on whether dequantization is fused."""
    q = torch.arange(256, dtype=F32)

    def fused(scale, zero_point):
        # Products of 8 by 24 bits are exact in double precision, and so are these sums' roundings.
        offset = torch.tensor(scale, dtype=F32) * -zero_point
        return (q.double() * scale + offset.double()).to(F32)

    def plain(scale, zero_point):
        return (q - zero_point) * scale

    def total(dequantize):
        real = dequantize(*a)[:, None] + dequantize(*b)[None, :]
        return (real * (1 / torch.tensor(out[0], dtype=F32))).round()

    inside = total(fused) + out[1]
    differ = (total(fused) != total(plain)) & (inside > 0) & (inside < 255)
    return differ.nonzero().to(torch.uint8)


def binary_case(name, seed):
    """512 random pairs; for sums, with as many telling ones in front as there are."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        a, b = qparams(generator), qparams(generator)
        scale = (a[0] + b[0]) / 2 if "add" in name else a[0] * b[0] * 128
        out = f32(scale * (0.5 + torch.rand((), generator=generator).item())), qparams(generator)[1]
        pairs = random_bytes(generator, 4 * STEP, 2)
        if "mul" in name:
            break
        telling = telling_pairs(a, b, out)[:STEP]
        if len(telling):
            pairs[: len(telling)] = telling
            break
    operator = getattr(torch.ops.quantized, name)
    output = operator(quantized(pairs[:, 0].contiguous(), a), quantized(pairs[:, 1].contiguous(), b),
                      *out)
    return {"operator": name, "a_qparams": a, "b_qparams": b, "output_qparams": out,
            "a": hexadecimal(pairs[:, 0]), "b": hexadecimal(pairs[:, 1]),
            "output": hexadecimal(output.int_repr())}


def image(generator, batch, size, channels, parameters):
    """Bytes [batch, h, w, channels], and the same as a quantized channels-last tensor."""
    values = random_bytes(generator, batch, *size, channels)
    return values, quantized(values, parameters).permute(0, 3, 1, 2)


def pooling_case(seed, name, size, channels, batch, details, run):
    generator = torch.Generator().manual_seed(seed)
    parameters = qparams(generator)
    values, tensor = image(generator, batch, size, channels, parameters)
    output = run(tensor)
    assert (output.q_scale(), output.q_zero_point()) == parameters
    return {"operator": name, "qparams": parameters, "batch": batch, "size": size,
            "channels": channels, "input": hexadecimal(values), **details,
            "output": hexadecimal(output.int_repr().permute(0, 2, 3, 1))}


def average_case(seed, size, output_size, channels, batch=1):
    return pooling_case(seed, "adaptive_avg_pool2d", size, channels, batch,
                        {"output_size": output_size},
                        lambda x: torch.nn.functional.adaptive_avg_pool2d(x, output_size))


def mean_case(seed, size, channels):
    """An odd number of pixels: `mean` sums in f32, which decides ties by accident."""
    assert size[0] * size[1] % 2 == 1
    return pooling_case(seed, "mean", size, channels, 1, {"output_size": (1, 1)},
                        lambda x: x.mean((2, 3), keepdim=True))


def max_pool_case(seed, size, channels, kernel, stride, padding, dilation=(1, 1), batch=1):
    return pooling_case(
        seed, "max_pool2d", size, channels, batch,
        {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation},
        lambda x: torch.nn.functional.max_pool2d(x, kernel, stride, padding, dilation))


def clamp_case(seed, name, run, ends):
    parameters = qparams(torch.Generator().manual_seed(seed))
    values = torch.arange(256, dtype=torch.uint8)
    least, greatest = (
        None if end is None
        else int(torch.quantize_per_tensor(torch.tensor([end]), *parameters, torch.quint8).int_repr())
        for end in ends
    )
    output = run(quantized(values, parameters))
    return {"operator": name, "min": 0 if least is None else least,
            "max": 255 if greatest is None else greatest, "output": hexadecimal(output.int_repr())}


def function_case(name, seed):
    """A function of one element, of every integer."""
    generator = torch.Generator().manual_seed(seed)
    before, after = qparams(generator), qparams(generator)
    values = quantized(torch.arange(256, dtype=torch.uint8), before)
    # The output of sigmoid has a fixed scale.
    output = (torch.sigmoid(values) if name == "sigmoid"
              else torch.ops.quantized.hardswish(values, *after))
    return {"operator": name, "qparams": before,
            "output_qparams": (output.q_scale(), output.q_zero_point()),
            "output": hexadecimal(output.int_repr())}


def pixels_case(mean, std, parameters):
    """Every value of each colour, through ToTensor's and Normalize's arithmetic."""
    values = torch.arange(256, dtype=torch.uint8)[:, None].repeat(1, 3)
    real = values.to(F32).div(255)
    real = real.sub_(torch.tensor(mean, dtype=F32)).div_(torch.tensor(std, dtype=F32))
    output = torch.quantize_per_tensor(real, *parameters, torch.quint8)
    return {"operator": "pixels", "mean": mean, "std": std, "output_qparams": parameters,
            "output": hexadecimal(output.int_repr())}


def cases():
    functional = torch.nn.functional
    return [
        *(quantize_case(seed) for seed in range(1, 4)),
        quantize_case(6, (1.0, 0)),
        quantize_case(7, (0.5, 255)),
        *(dequantize_case(seed) for seed in range(11, 15)),
        *(requantize_case(seed) for seed in range(21, 25)),
        *(binary_case("add", seed) for seed in range(31, 37)),
        *(binary_case("add_relu", seed) for seed in range(41, 44)),
        *(binary_case("mul", seed) for seed in range(51, 54)),
        *(binary_case("mul_relu", seed) for seed in range(56, 58)),
        average_case(61, (7, 7), (1, 1), 40),
        average_case(62, (4, 4), (1, 1), 70, batch=2),
        average_case(63, (2, 6), (1, 1), 33),
        average_case(64, (1, 2), (1, 1), 128),
        average_case(65, (9, 5), (4, 2), 17),
        average_case(66, (3, 4), (5, 6), 12),
        mean_case(71, (7, 7), 40),
        mean_case(72, (3, 5), 40),
        max_pool_case(81, (9, 9), 24, (3, 3), (2, 2), (1, 1)),
        max_pool_case(82, (6, 5), 19, (2, 2), (2, 2), (0, 0), batch=2),
        max_pool_case(83, (8, 7), 10, (3, 2), (1, 2), (1, 1)),
        max_pool_case(84, (9, 9), 8, (3, 3), (1, 1), (1, 1), dilation=(2, 2)),
        clamp_case(91, "relu", torch.relu, (0.0, None)),
        clamp_case(92, "relu6", functional.relu6, (0.0, 6.0)),
        clamp_case(93, "hardtanh", lambda x: functional.hardtanh(x, -1.5, 2.0), (-1.5, 2.0)),
        *(function_case("sigmoid", seed) for seed in range(101, 105)),
        *(function_case("hardswish", seed) for seed in range(111, 115)),
        pixels_case((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (f32(0.018658), 114)),
        pixels_case((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), (f32(2 / 255), 128)),
        pixels_case((0.498, 0.498, 0.498), (0.502, 0.502, 0.502), (f32(0.0078), 127)),
    ]


if __name__ == "__main__":
    torch.backends.quantized.engine = "fbgemm"
    # Several threads would split tensors at other places and vectorize other parts.
    torch.set_num_threads(1)
    lines = ",\n".join(json.dumps(case) for case in cases())
    (HERE / "elementwise.json").write_text(f"[\n{lines}\n]\n")
