#!/usr/bin/env python3
"""Golden vectors of PyTorch's dynamically quantized linear layer (engine fbgemm), written beside this file.

    python3 testdata/int8_ops/generate_dynamic.py

Needs torch, and a CPU with AVX-512 VNNI: elsewhere fbgemm multiplies with vpmaddubsw, which saturates on
operands of the full range. Every output is checked here against the formula in exact integers.

Each case is one row, for which a scale for the whole input is one for each row. `reduce_range` is False;
`torch.ao.nn.quantized.dynamic.Linear` passes True, which keeps the activations to seven bits. Integers are
hexadecimal bytes, floats the hexadecimal bytes of little-endian f32.
"""

import json
import pathlib
import warnings

import torch

HERE = pathlib.Path(__file__).parent
F32 = torch.float32

warnings.filterwarnings("ignore")


def hexadecimal(tensor):
    """The bytes of a tensor."""
    return tensor.contiguous().view(torch.uint8).flatten().numpy().tobytes().hex()


def expected(x, weight, scales, bias, relu):
    """The formula, with exact integer sums and a fused multiply-add for the bias."""
    low, high = min(x.min().item(), 0.0), max(x.max().item(), 0.0)
    scale = (high - low) / 255
    zero_point = round(-low / scale)
    scale = torch.tensor(scale, dtype=F32)
    integers = ((x * (1 / scale)).round() + zero_point).clamp(0, 255).to(torch.int64)
    sums = (integers - zero_point) @ weight.to(torch.int64).T
    # The product of two f32 is exact in f64.
    y = sums.to(F32).double() * (scale * scales).double()
    y = (y if bias is None else y + bias.double()).to(F32)
    return y.clamp(min=0) if relu else y


def case(seed, sizes, *, per_channel, relu, has_bias, shift=0.0, magnitude=1.0):
    """One layer with random numbers, and its result."""
    generator = torch.Generator().manual_seed(seed)
    inputs, outputs = sizes
    weight = torch.randint(-128, 128, (outputs, inputs), generator=generator, dtype=torch.int8)
    scales = torch.rand(outputs, generator=generator) * 0.01 + 0.002
    scales = scales if per_channel else scales[:1].expand(outputs).clone()
    bias = torch.randn(outputs, generator=generator) * magnitude if has_bias else None
    x = (torch.randn(1, inputs, generator=generator) + shift) * magnitude
    if per_channel:
        zero = torch.zeros(outputs, dtype=torch.int64)
        quantized = torch._make_per_channel_quantized_tensor(weight, scales.double(), zero, 0)
    else:
        quantized = torch._make_per_tensor_quantized_tensor(weight, scales[0].item(), 0)
    packed = torch.ops.quantized.linear_prepack(quantized, bias)
    operator = torch.ops.quantized
    run = operator.linear_relu_dynamic if relu else operator.linear_dynamic
    y = run(x, packed, False)
    own = expected(x, weight, scales, bias, relu)
    assert torch.equal(y, own), (seed, (y - own).abs().max())
    return {
        "in_features": inputs,
        "out_features": outputs,
        "relu": relu,
        "weight": hexadecimal(weight),
        "scale": hexadecimal(scales),
        "bias": None if bias is None else hexadecimal(bias),
        "input": hexadecimal(x),
        "output": hexadecimal(y),
    }


def main():
    torch.backends.quantized.engine = "fbgemm"
    cases = [
        case(0, (1, 1), per_channel=False, relu=False, has_bias=False),
        case(1, (7, 5), per_channel=True, relu=False, has_bias=True),
        case(2, (64, 32), per_channel=True, relu=True, has_bias=True),
        case(3, (65, 33), per_channel=False, relu=False, has_bias=True, shift=2.0),
        case(4, (130, 20), per_channel=True, relu=False, has_bias=True, shift=-2.0),
        case(5, (33, 17), per_channel=True, relu=False, has_bias=False, magnitude=1e6),
        case(6, (100, 10), per_channel=True, relu=True, has_bias=True, magnitude=0.1),
        # As behind a ReLU: no negative value.
        case(7, (40, 24), per_channel=True, relu=False, has_bias=True, shift=10.0),
        case(8, (40, 24), per_channel=False, relu=False, has_bias=True, shift=-10.0),
        case(9, (256, 16), per_channel=True, relu=False, has_bias=True),
    ]
    (HERE / "dynamic_linear.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
