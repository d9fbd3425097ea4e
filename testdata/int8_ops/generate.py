#!/usr/bin/env python3
"""Golden vectors of PyTorch's int8 operators (engine fbgemm), written beside this file.

    python3 testdata/int8_ops/generate.py

Needs torch, and a CPU with AVX-512 VNNI: elsewhere fbgemm multiplies with vpmaddubsw, which
saturates on operands of the full range. Every output is checked here against the formula in exact
integers, so a run on such a CPU fails instead of writing wrong vectors. Depthwise convolutions
saturate on every CPU, so their activations keep to seven bits here, as with reduce_range.

Tensors are NHWC (weights OIHW), as hexadecimal bytes.
"""

import json
import math
import pathlib
import warnings

import torch

HERE = pathlib.Path(__file__).parent
F32 = torch.float32

warnings.filterwarnings("ignore", message=".*quantized tensor creation functions.*")


def f32(value):
    """`value` rounded to single precision."""
    return torch.tensor(value, dtype=F32).item()


def hexadecimal(tensor):
    """The bytes of a uint8 or int8 tensor."""
    return bytes(tensor.contiguous().view(torch.uint8).flatten().tolist()).hex()


def whole_biases(generator, scales, magnitude):
    """Random integer biases that survive fbgemm's detour over floats.

    PyTorch takes the bias as a float and adds `bias / scale` (or `bias * (1 / scale)`) to the
    accumulator; only those integers are taken that both give back unchanged.
    """
    biases = []
    for scale in scales.to(F32):
        while True:
            bias = torch.randint(-magnitude, magnitude + 1, (), generator=generator).to(F32)
            real = bias * scale
            if real / scale == bias and real * (1 / scale) == bias:
                break
        biases.append(int(bias))
    return torch.tensor(biases)


def requantized(accumulators, multipliers, zero_point, relu):
    """The formula itself: one f32 product, rounded half to even, shifted, clamped."""
    scaled = accumulators.to(F32) * multipliers
    values = scaled.round().to(torch.int64) + zero_point
    return values.clamp(zero_point if relu else 0, 255).to(torch.uint8)


class Layer:
    """Random parameters of one convolution or linear layer."""

    def __init__(self, seed, weight_shape, per_channel, zero_points, extreme=None):
        self.generator = torch.Generator().manual_seed(seed)
        self.input_zero_point, self.output_zero_point = zero_points
        outputs = weight_shape[0]
        self.extreme = extreme
        self.weight = torch.randint(
            -128, 128, weight_shape, generator=self.generator, dtype=torch.int8
        )
        if extreme is not None:
            self.weight[:] = torch.tensor(extreme[1], dtype=torch.int8)
        scales = torch.rand(outputs, generator=self.generator) * 0.01 + 0.002
        self.weight_scales = scales if per_channel else scales[:1].expand(outputs).clone()
        self.per_channel = per_channel
        self.input_scale = f32(torch.rand((), generator=self.generator).item() * 0.05 + 0.005)
        self.accumulator_scales = torch.tensor(self.input_scale, dtype=F32) * self.weight_scales
        magnitude = 64 * math.isqrt(self.weight[0].numel()) * 60
        self.bias = whole_biases(self.generator, self.accumulator_scales, magnitude)

    def input(self, shape, greatest=255):
        values = torch.randint(0, greatest + 1, shape, generator=self.generator, dtype=torch.uint8)
        if self.extreme is not None:
            values[:] = self.extreme[0]
        return values

    def quantized_input(self, values):
        return torch._make_per_tensor_quantized_tensor(
            values, self.input_scale, self.input_zero_point
        )

    def quantized_weight(self):
        if self.per_channel:
            zeros = torch.zeros(len(self.weight_scales), dtype=torch.long)
            return torch._make_per_channel_quantized_tensor(
                self.weight, self.weight_scales.double(), zeros, 0
            )
        return torch._make_per_tensor_quantized_tensor(
            self.weight, self.weight_scales[0].item(), 0
        )

    def real_bias(self):
        return self.bias.to(F32) * self.accumulator_scales

    def output_scale(self, accumulators):
        """A scale at which the outputs fill about three quarters of the range."""
        real = accumulators * self.accumulator_scales.double()
        spread = max(real.abs().max().item(), 1e-3)
        return f32(spread / 150 * (0.8 + 0.4 * torch.rand((), generator=self.generator).item()))

    def case(self, name, relu, values, accumulators, run):
        """Runs PyTorch, checks it against the formula and describes the case."""
        scale = self.output_scale(accumulators)
        output = run(scale).int_repr()
        multipliers = self.accumulator_scales / torch.tensor(scale, dtype=F32)
        expected = requantized(accumulators, multipliers, self.output_zero_point, relu)
        return {
            "name": name,
            "relu": relu,
            "input_scale": self.input_scale,
            "input_zero_point": self.input_zero_point,
            "output_scale": scale,
            "output_zero_point": self.output_zero_point,
            "weight_scales": self.weight_scales.tolist(),
            "bias": self.bias.tolist(),
            "weight": hexadecimal(self.weight),
            "input": hexadecimal(values),
        }, output, expected


def conv2d(seed, name, size, channels, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1),
           groups=1, batch=1, relu=False, per_channel=True, zero_points=(128, 100), extreme=None):
    in_channels, out_channels = channels
    shape = (out_channels, in_channels // groups, *kernel)
    layer = Layer(seed, shape, per_channel, zero_points, extreme)
    depthwise = groups == in_channels == out_channels
    values = layer.input((batch, *size, in_channels), 127 if depthwise else 255)
    nchw = values.permute(0, 3, 1, 2)
    accumulators = torch.nn.functional.conv2d(
        nchw.double() - layer.input_zero_point, layer.weight.double(), layer.bias.double(),
        stride, padding, dilation, groups,
    ).permute(0, 2, 3, 1)
    packed = torch.ops.quantized.conv2d_prepack(
        layer.quantized_weight(), layer.real_bias(), stride, padding, dilation, groups
    )
    operator = torch.ops.quantized.conv2d_relu if relu else torch.ops.quantized.conv2d
    case, output, expected = layer.case(
        name, relu, values, accumulators,
        lambda scale: operator(layer.quantized_input(nchw), packed, scale, zero_points[1]),
    )
    output = output.permute(0, 2, 3, 1)
    assert torch.equal(output, expected), f"{name}: PyTorch is not exact on this CPU"
    return case | {
        "in_channels": in_channels, "out_channels": out_channels, "groups": groups,
        "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation,
        "batch": batch, "size": size, "output": hexadecimal(output),
    }


def linear(seed, name, batch, features, relu=False, per_channel=True, zero_points=(128, 100),
           extreme=None):
    in_features, out_features = features
    layer = Layer(seed, (out_features, in_features), per_channel, zero_points, extreme)
    values = layer.input((batch, in_features))
    accumulators = torch.nn.functional.linear(
        values.double() - layer.input_zero_point, layer.weight.double(), layer.bias.double()
    )
    packed = torch.ops.quantized.linear_prepack(layer.quantized_weight(), layer.real_bias())
    operator = torch.ops.quantized.linear_relu if relu else torch.ops.quantized.linear
    case, output, expected = layer.case(
        name, relu, values, accumulators,
        lambda scale: operator(layer.quantized_input(values), packed, scale, zero_points[1]),
    )
    assert torch.equal(output, expected), f"{name}: PyTorch is not exact on this CPU"
    return case | {
        "batch": batch, "in_features": in_features, "out_features": out_features,
        "output": hexadecimal(output),
    }


def conv2d_cases():
    pointwise = dict(kernel=(1, 1))
    three = dict(kernel=(3, 3), padding=(1, 1))
    return [
        conv2d(1, "pointwise", (5, 5), (16, 24), **pointwise),
        conv2d(2, "pointwise_relu", (4, 6), (24, 40), relu=True, **pointwise),
        conv2d(3, "pointwise_per_tensor", (7, 7), (32, 16), per_channel=False, **pointwise),
        conv2d(4, "pointwise_batch", (3, 3), (8, 72), batch=3, **pointwise),
        conv2d(5, "pointwise_ragged", (3, 5), (13, 19), zero_points=(7, 250), **pointwise),
        conv2d(6, "pointwise_zero_point_0", (4, 4), (20, 33), zero_points=(0, 0), relu=True,
               **pointwise),
        conv2d(7, "pointwise_zero_point_255", (4, 4), (20, 17), zero_points=(255, 255), **pointwise),
        conv2d(8, "pointwise_greatest", (2, 2), (96, 18), zero_points=(0, 90), extreme=(255, 127),
               **pointwise),
        conv2d(9, "pointwise_least", (2, 2), (96, 18), zero_points=(0, 200), extreme=(255, -128),
               **pointwise),
        conv2d(10, "pointwise_stride_2", (7, 7), (12, 16), stride=(2, 2), **pointwise),
        conv2d(11, "three", (6, 6), (8, 16), **three),
        conv2d(12, "three_relu_stride_2", (9, 9), (8, 16), stride=(2, 2), relu=True, **three),
        conv2d(13, "three_per_tensor", (6, 5), (5, 9), per_channel=False, **three),
        conv2d(14, "three_dilated", (8, 8), (6, 10), kernel=(3, 3), padding=(2, 2),
               dilation=(2, 2)),
        conv2d(15, "three_zero_point_255", (5, 5), (4, 8), zero_points=(255, 3), **three),
        conv2d(16, "three_greatest", (4, 4), (16, 8), zero_points=(255, 250), extreme=(0, 127),
               **three),
        conv2d(17, "oblong", (6, 9), (7, 12), kernel=(3, 5), padding=(1, 2), stride=(2, 1),
               batch=2),
        conv2d(18, "first", (11, 11), (3, 16), stride=(2, 2), relu=True, zero_points=(114, 0),
               **three),
        conv2d(19, "first_7x7", (15, 15), (3, 16), kernel=(7, 7), stride=(2, 2), padding=(3, 3),
               relu=True, zero_points=(117, 0)),
        conv2d(20, "two_groups", (5, 5), (16, 24), groups=2, **three),
        conv2d(21, "eight_groups_relu", (5, 5), (32, 32), groups=8, relu=True, **three),
        conv2d(22, "multiplier_2", (5, 5), (6, 12), groups=6, **three),
        conv2d(23, "depthwise", (7, 7), (24, 24), groups=24, **three),
        conv2d(24, "depthwise_relu_stride_2", (9, 9), (40, 40), groups=40, stride=(2, 2), relu=True,
               **three),
        conv2d(25, "depthwise_5x5", (8, 8), (16, 16), groups=16, kernel=(5, 5), padding=(2, 2)),
        conv2d(26, "depthwise_5x5_stride_2", (9, 9), (16, 16), groups=16, kernel=(5, 5),
               padding=(2, 2), stride=(2, 2), relu=True),
        conv2d(27, "depthwise_per_tensor", (6, 6), (17, 17), groups=17, per_channel=False, **three),
        conv2d(28, "depthwise_dilated", (8, 8), (8, 8), groups=8, kernel=(3, 3), padding=(2, 2),
               dilation=(2, 2)),
        conv2d(29, "depthwise_batch", (5, 4), (33, 33), groups=33, batch=2, zero_points=(60, 20),
               **three),
    ]


def linear_cases():
    return [
        linear(41, "one_row", 1, (64, 40)),
        linear(42, "batch_relu", 5, (48, 33), relu=True),
        linear(43, "per_tensor", 3, (37, 20), per_channel=False),
        linear(44, "ragged", 2, (7, 3), zero_points=(3, 240)),
        linear(45, "zero_point_0", 4, (32, 16), zero_points=(0, 0), relu=True),
        linear(46, "zero_point_255", 4, (30, 17), zero_points=(255, 255)),
        linear(47, "greatest", 2, (128, 18), zero_points=(0, 90), extreme=(255, 127)),
        linear(48, "least", 2, (128, 18), zero_points=(0, 200), extreme=(255, -128)),
        linear(49, "one_input", 3, (1, 5)),
        linear(50, "one_output", 6, (21, 1)),
    ]


def write(name, cases):
    lines = ",\n".join(json.dumps(case) for case in cases)
    (HERE / name).write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    torch.backends.quantized.engine = "fbgemm"
    write("conv2d.json", conv2d_cases())
    write("linear.json", linear_cases())
