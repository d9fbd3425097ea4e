#!/usr/bin/env python3
"""Writes the small ONNX files of this folder, and golden.safetensors with the outputs that ONNX Runtime
computes for them.

    python3 -m venv venv && venv/bin/pip install onnx==1.23.2 onnxruntime==1.32.0 safetensors numpy
    venv/bin/python testdata/onnx/generate.py

Each file has one group of operators, or one habit of an exporter."""

import json
import os

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

FOLDER = os.path.dirname(os.path.abspath(__file__))
RANDOM = np.random.RandomState(0)
CASES = {}


def weight(*shape):
    """Values of a parameter."""
    return RANDOM.uniform(-0.5, 0.5, shape).astype(np.float32)


class Net:
    """A graph under construction; values are names."""

    def __init__(self, *shapes, opset=17, ir=8, batch=None):
        self.nodes, self.weights, self.opset, self.ir = [], [], opset, ir
        self.shapes, self.inputs = shapes, []
        names = ["x"] if len(shapes) == 1 else [f"x{i}" for i in range(len(shapes))]
        for name, shape in zip(names, shapes):
            sizes = [batch if batch else "n", *shape[1:]]
            self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes))
        self.names = names
        self.count = 0

    def const(self, value, name=None, dtype=None):
        """An initializer."""
        value = np.asarray(value)
        if dtype is None:
            dtype = np.int64 if value.dtype.kind in "iu" else np.float32
        name = name or f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value.astype(dtype), name))
        return name

    def op(self, kind, *inputs, outputs=1, name=None, **attributes):
        """A node; returns its output, or several."""
        names = [f"t{self.count + i}" for i in range(outputs)]
        self.count += outputs
        node = helper.make_node(kind, list(inputs), names, name=name or f"{kind}_{self.count}")
        for key, value in attributes.items():
            node.attribute.append(helper.make_attribute(key, value))
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def conv(self, x, inputs, outputs, kernel=3, bias=True, name=None, **attributes):
        groups = attributes.get("group", 1)
        kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        args = [x, self.const(weight(outputs, inputs // groups, *kernel))]
        if bias:
            args.append(self.const(weight(outputs)))
        return self.op("Conv", *args, name=name, **attributes)

    def save(self, file, *outputs, external=False, initializers_as_inputs=False):
        infos = [helper.make_empty_tensor_value_info(name) for name in outputs]
        inputs = list(self.inputs)
        if initializers_as_inputs:
            for w in self.weights:
                inputs.append(helper.make_tensor_value_info(w.name, w.data_type, list(w.dims)))
        graph = helper.make_graph(self.nodes, file, inputs, infos, self.weights)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=self.ir,
            producer_name="posterize",
        )
        path = os.path.join(FOLDER, f"{file}.onnx")
        if external:
            data = f"{file}.onnx.data"
            if os.path.exists(os.path.join(FOLDER, data)):
                os.remove(os.path.join(FOLDER, data))
            onnx.save(model, path, save_as_external_data=True, location=data, size_threshold=0)
        else:
            onnx.save(model, path)
        CASES[file] = (self.names, self.shapes, outputs)


def case(function):
    """Runs a function that saves a file of its name."""
    function(function.__name__)


# Products


@case
def conv(file):
    net = Net((1, 4, 9, 11))
    y = net.conv("x", 4, 8, strides=[2, 1], pads=[1, 0, 2, 1])
    y = net.op("Relu", y)
    y = net.conv(y, 8, 8, group=8, pads=[1, 1, 1, 1], bias=False)
    y = net.conv(y, 8, 6, group=2, dilations=[2, 2], pads=[2, 2, 2, 2])
    net.save(file, net.conv(y, 6, 5, kernel=(1, 3)))


@case
def conv_auto_pad(file):
    net = Net((1, 3, 10, 9))
    upper = net.conv("x", 3, 4, auto_pad="SAME_UPPER", strides=[2, 2])
    lower = net.conv("x", 3, 4, auto_pad="SAME_LOWER", strides=[2, 2], kernel=(4, 3))
    net.save(file, upper, lower, net.conv("x", 3, 4, auto_pad="VALID"))


@case
def conv_1d(file):
    net = Net((1, 3, 20))
    y = net.op("Conv", "x", net.const(weight(5, 3, 4)), net.const(weight(5)), pads=[1, 2], strides=[2])
    net.save(file, net.op("GlobalAveragePool", net.op("Relu", y)))


@case
def pad_before_conv(file):
    net = Net((1, 3, 8, 8))
    y = net.op("Pad", "x", net.const([0, 0, 1, 0, 0, 0, 2, 1]))
    net.save(file, net.conv(y, 3, 4, pads=[0, 1, 0, 0]))


@case
def batch_norm(file):
    net = Net((1, 4, 6, 6))

    def norm(x, channels):
        statistics = [net.const(weight(channels)), net.const(np.abs(weight(channels)) + 0.5)]
        parameters = [net.const(weight(channels) + 1), net.const(weight(channels))]
        return net.op("BatchNormalization", x, *parameters, *statistics, epsilon=1e-3)

    y = norm(net.conv("x", 4, 6, bias=False), 6)
    before = norm(net.op("Relu", y), 6)
    y = net.conv(before, 6, 5)
    pooled = net.op("Flatten", net.op("GlobalAveragePool", y))
    net.save(file, y, norm(pooled, 5))


@case
def gemm(file):
    net = Net((1, 6))
    y = net.op("Gemm", "x", net.const(weight(5, 6)), net.const(weight(5)), transB=1)
    y = net.op("Gemm", net.op("Relu", y), net.const(weight(5, 4)), net.const(weight(1)), alpha=0.5, beta=2.0)
    y = net.op("Gemm", y, net.const(weight(4, 3)))
    net.save(file, net.op("Add", net.op("MatMul", y, net.const(weight(3, 7))), net.const(weight(7))))


@case
def matmul(file):
    # A matrix times the last axis of a picture that was transposed to N, H, W, C.
    net = Net((1, 4, 5, 3))
    y = net.op("Transpose", net.conv("x", 4, 6, kernel=1), perm=[0, 2, 3, 1])
    y = net.op("Add", net.op("MatMul", y, net.const(weight(6, 8))), net.const(weight(8)))
    net.save(file, net.op("Transpose", net.op("Relu", y), perm=[0, 3, 1, 2]))


# Functions of one element


@case
def activations(file):
    net = Net((1, 3, 4, 5))
    low, high = net.const(np.float32(0)), net.const(np.float32(6))
    outputs = [
        net.op("Relu", "x"),
        net.op("Clip", "x", low, high),
        net.op("Clip", "x", low),
        net.op("Sigmoid", "x"),
        net.op("HardSwish", "x"),
        net.op("Max", "x", low),
        net.op("Min", net.op("Max", "x", low), high),
        net.op("Identity", net.op("Dropout", net.op("Clip", "x"))),
    ]
    net.save(file, *outputs)


@case
def clip_attributes(file):
    net = Net((1, 3, 4, 4), opset=7, ir=3)
    net.save(file, net.op("Clip", net.conv("x", 3, 4), min=0.0, max=6.0))


@case
def hardswish_written_out(file):
    net = Net((1, 3, 4, 5))
    three, six = net.const(np.float32(3)), net.const(np.float32(6))
    zero, sixth = net.const(np.float32(0)), net.const(np.float32(1 / 6))
    x = net.conv("x", 3, 4, kernel=1)
    clip = net.op("Clip", net.op("Add", x, three), zero, six)
    outputs = [
        net.op("Div", net.op("Mul", x, clip), six),
        net.op("Mul", x, net.op("Div", clip, six)),
        net.op("Mul", net.op("Mul", sixth, clip), x),
        net.op("Mul", net.op("Sigmoid", x), x),
        net.op("Mul", x, net.op("Clip", net.op("Add", three, x), zero, six)),
    ]
    net.save(file, *outputs)


# Sums and products


@case
def broadcasts(file):
    net = Net((1, 4, 5, 6), (1, 4, 5, 6))
    gate = net.op("Sigmoid", net.conv(net.op("GlobalAveragePool", "x0"), 4, 4, kernel=1))
    sums = net.op("Sum", net.op("Mul", "x0", gate), "x1", "x0")
    ratio = net.op("Div", "x1", net.op("Add", net.op("Sigmoid", "x0"), net.const(np.float32(1))))
    net.save(file, sums, net.op("Sub", "x0", "x1"), ratio)


@case
def constants(file):
    net = Net((1, 4, 5, 6))
    y = net.conv("x", 4, 4)
    y = net.op("Mul", y, net.const(weight(4, 1, 1)))
    y = net.op("Add", net.const(weight(1, 4, 1, 1)), y)
    y = net.op("Sub", y, net.const(np.float32(0.25)))
    y = net.op("Div", y, net.const(np.abs(weight(4, 1, 1)) + 1))
    net.save(file, net.op("Sub", net.const(np.float32(1)), y))


# Pooling


@case
def pools(file):
    net = Net((1, 4, 9, 10))
    y = net.op("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    kept = net.op("ReduceMean", y, axes=[2, 3], keepdims=1)
    net.save(file, y, kept, net.op("ReduceMean", y, axes=[-1, -2], keepdims=0))


@case
def reduce_mean_18(file):
    net = Net((1, 4, 6, 5), opset=18)
    net.save(file, net.op("ReduceMean", "x", net.const([2, 3]), keepdims=0))


# Shapes


@case
def shape_arithmetic(file):
    """What PyTorch's older exporter writes for x.view(x.size(0), -1)."""
    net = Net((1, 3, 4, 4))
    y = net.conv("x", 3, 5)
    batch = net.op("Gather", net.op("Shape", y), net.const(np.int64(0)), axis=0)
    batch = net.op("Unsqueeze", batch, net.const([0]))
    shape = net.op("Concat", batch, net.const([-1]), axis=0)
    y = net.op("Reshape", y, shape)
    net.save(file, net.op("Gemm", y, net.const(weight(20, 3))))


@case
def flatten_mul(file):
    """The size of the rest, multiplied out of Shape, Slice, ReduceProd and Cast."""
    net = Net((1, 3, 4, 4))
    y = net.op("Relu", "x")
    shape = net.op("Cast", net.op("Shape", y), to=TensorProto.INT32)
    shape = net.op("Cast", shape, to=TensorProto.INT64)
    rest = net.op("Slice", shape, net.const([1]), net.const([4]))
    rest = net.op("ReduceProd", rest, axes=[0], keepdims=1)
    first = net.op("Slice", shape, net.const([0]), net.const([1]), net.const([0]))
    net.save(file, net.op("Reshape", y, net.op("Concat", first, rest, axis=0)))


@case
def squeezes(file):
    net = Net((1, 4, 3, 3), opset=11)
    y = net.op("Squeeze", net.op("GlobalAveragePool", "x"), axes=[2, 3])
    y = net.op("Unsqueeze", net.op("Relu", y), axes=[2, 3])
    net.save(file, net.op("Flatten", net.conv(y, 4, 6, kernel=1)))


@case
def channel_shuffle(file):
    net = Net((1, 6, 4, 4))
    y = net.op("Reshape", "x", net.const([-1, 2, 3, 4, 4]))
    y = net.op("Transpose", y, perm=[0, 2, 1, 3, 4])
    net.save(file, net.op("Reshape", y, net.const([-1, 6, 4, 4])))


@case
def channel_split(file):
    """Even and odd channels, as ShuffleNetV2's authors write it."""
    net = Net((1, 8, 4, 4), batch=1)
    y = net.op("Reshape", "x", net.const([4, 2, 16]))
    y = net.op("Transpose", y, perm=[1, 0, 2])
    y = net.op("Reshape", y, net.const([2, -1, 4, 4, 4]))
    even = net.op("Gather", y, net.const(np.int64(0)), axis=0)
    odd = net.op("Gather", y, net.const(np.int64(1)), axis=0)
    net.save(file, net.conv(even, 4, 3), odd)


@case
def splits(file):
    net = Net((1, 8, 4, 5))
    a, b = net.op("Split", "x", net.const([3, 5]), outputs=2, axis=1)
    c, d = net.op("Split", "x", outputs=2, axis=-2)
    steps = net.op("Slice", b, net.const([0]), net.const([2**31]), net.const([1]), net.const([2]))
    part = net.op("Slice", "x", net.const([-3, 1]), net.const([-1, 100]), net.const([3, 1]))
    net.save(file, a, steps, part, net.op("Concat", c, d, c, axis=3))


@case
def splits_7(file):
    net = Net((1, 6, 4, 5), opset=9, ir=4)
    a, b = net.op("Split", "x", outputs=2, axis=1, split=[2, 4])
    net.save(file, a, net.op("Slice", b, axes=[2, 3], starts=[1, 0], ends=[3, -1]))


@case
def pads(file):
    net = Net((1, 2, 4, 5), opset=10)
    net.save(file, net.op("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 3, 0]))


@case
def tensorflow_layout(file):
    """tf2onnx: inputs are N, H, W, C, with a transpose at the beginning and the end."""
    net = Net((1, 8, 9, 3))
    y = net.op("Transpose", "x", perm=[0, 3, 1, 2])
    y = net.op("Relu", net.conv(y, 3, 8, strides=[2, 2], auto_pad="SAME_UPPER"))
    gate = net.op("Sigmoid", net.conv(net.op("GlobalAveragePool", y), 8, 8, kernel=1))
    nhwc = net.op("Transpose", y, perm=[0, 2, 3, 1])
    gate = net.op("Transpose", gate, perm=[0, 2, 3, 1])
    scaled = net.op("Add", net.op("Mul", nhwc, gate), net.const(weight(8)))
    mean = net.op("ReduceMean", scaled, axes=[1, 2], keepdims=0)
    net.save(file, scaled, net.op("MatMul", mean, net.const(weight(8, 5))))


# Operators that posterize computes in float, or by tables


@case
def functions(file):
    net = Net((1, 3, 4, 5), opset=20)
    kinds = ["Tanh", "Erf", "Exp", "Abs", "Neg", "Softplus", "Elu", "Selu", "LeakyRelu", "Mish", "Gelu"]
    outputs = [net.op(kind, "x") for kind in kinds]
    positive = net.op("Add", net.op("Abs", "x"), net.const(np.float32(0.5)))
    outputs += [net.op(kind, positive) for kind in ["Log", "Sqrt", "Reciprocal"]]
    outputs += [
        net.op("HardSigmoid", "x", alpha=0.25, beta=0.4),
        net.op("Gelu", "x", approximate="tanh"),
        net.op("Clip", "x", net.const(np.float32(-0.5)), net.const(np.float32(1.5))),
        net.op("Pow", positive, net.const(np.float32(1.5))),
        net.op("PRelu", "x", net.const(weight(3, 1, 1))),
        net.op("PRelu", "x", net.const(weight(1))),
        net.op("Div", net.const(np.float32(2)), positive),
    ]
    net.save(file, *outputs)


@case
def gelu_written_out(file):
    net = Net((1, 6, 3, 4))
    x = net.conv("x", 6, 6, kernel=1)
    erf = net.op("Erf", net.op("Div", x, net.const(np.float32(2**0.5))))
    gelu = net.op("Mul", net.op("Mul", x, net.op("Add", erf, net.const(np.float32(1)))), net.const(np.float32(0.5)))
    mish = net.op("Mul", x, net.op("Tanh", net.op("Softplus", x)))
    net.save(file, gelu, mish)


@case
def pools_2(file):
    net = Net((1, 4, 9, 10), opset=19)
    outputs = [
        net.op("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        net.op("AveragePool", "x", kernel_shape=[3, 2], pads=[1, 0, 1, 1], count_include_pad=1),
        net.op("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        net.op("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        net.op("MaxPool", "x", kernel_shape=[2, 3], strides=[1, 2], pads=[0, 1, 1, 0]),
        net.op("MaxPool", "x", kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2]),
        net.op("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 2]),
        net.op("GlobalMaxPool", "x"),
        net.op("ReduceMax", "x", net.const([1]), keepdims=1),
        net.op("ReduceSum", "x", net.const([-1]), keepdims=0),
        net.op("ReduceMin", "x", net.const([2, 1]), keepdims=0),
        net.op("ReduceMean", "x", net.const([1, 2, 3]), keepdims=1),
    ]
    net.save(file, *outputs)


@case
def norms(file):
    net = Net((1, 6, 4, 5), opset=21)
    x = net.conv("x", 6, 6, kernel=1)
    nhwc = net.op("Transpose", x, perm=[0, 2, 3, 1])
    rows = net.op("Reshape", x, net.const([0, 6, 20]))
    outputs = [
        net.op("InstanceNormalization", x, net.const(weight(6)), net.const(weight(6))),
        net.op("LayerNormalization", nhwc, net.const(weight(6)), net.const(weight(6)), axis=-1),
        net.op("LayerNormalization", rows, net.const(weight(20)), net.const(weight(20)), epsilon=1e-6),
        net.op("LayerNormalization", x, net.const(weight(6, 4, 5)), axis=1),
        net.op("GroupNormalization", x, net.const(weight(6)), net.const(weight(6)), num_groups=3),
        net.op("LRN", x, size=3, alpha=0.1, beta=0.5, bias=2.0),
        net.op("LpNormalization", x, axis=1, p=2),
        net.op("Softmax", x, axis=1),
        net.op("Softmax", nhwc),
        net.op("LogSoftmax", rows, axis=-1),
    ]
    net.save(file, *outputs)


@case
def softmax_11(file):
    net = Net((1, 6, 4, 1), opset=11)
    net.save(file, net.op("Softmax", "x"), net.op("Softmax", "x", axis=2))


@case
def layer_norm_written_out(file):
    net = Net((1, 5, 8))
    center = net.op("Sub", "x", net.op("ReduceMean", "x", axes=[-1]))
    variance = net.op("ReduceMean", net.op("Pow", center, net.const(np.float32(2))), axes=[-1])
    deviation = net.op("Sqrt", net.op("Add", variance, net.const(np.float32(1e-5))))
    y = net.op("Mul", net.op("Div", center, deviation), net.const(weight(8)))
    net.save(file, net.op("Add", y, net.const(weight(8))))


@case
def conv_transpose(file):
    net = Net((1, 4, 5, 6))

    def up(outputs, kernel, bias=True, **attributes):
        group = attributes.get("group", 1)
        args = ["x", net.const(weight(4, outputs // group, *kernel))]
        if bias:
            args.append(net.const(weight(outputs)))
        return net.op("ConvTranspose", *args, **attributes)

    outputs = [
        up(3, (2, 2), strides=[2, 2]),
        up(4, (3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1], group=2),
        up(2, (3, 2), pads=[0, 1, 1, 0], dilations=[2, 1], bias=False),
        up(2, (3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
        up(2, (4, 4), strides=[3, 3], output_shape=[15, 17]),
    ]
    net.save(file, *outputs)


@case
def resizes(file):
    net = Net((1, 2, 4, 5))
    scales, up = net.const(np.array([1, 1, 2, 1.5], np.float32)), {"mode": "linear"}
    sizes = net.const([1, 2, 7, 3])
    outputs = [
        net.op("Resize", "x", "", scales),
        net.op("Resize", "x", "", scales, coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        net.op("Resize", "x", "", scales, **up),
        net.op("Resize", "x", "", scales, coordinate_transformation_mode="align_corners", **up),
        net.op("Resize", "x", "", "", sizes, coordinate_transformation_mode="pytorch_half_pixel", **up),
        net.op("Resize", "x", "", "", sizes, mode="cubic"),
        net.op("Resize", "x", "", scales, mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1),
    ]
    net.save(file, *outputs)


@case
def upsample_9(file):
    net = Net((1, 2, 4, 5), opset=9, ir=4)
    scales = net.const(np.array([1, 1, 2, 3], np.float32))
    net.save(file, net.op("Upsample", "x", scales), net.op("Upsample", "x", scales, mode="linear"))


@case
def moves(file):
    net = Net((1, 8, 4, 6))
    outputs = [
        net.op("DepthToSpace", "x", blocksize=2),
        net.op("DepthToSpace", "x", blocksize=2, mode="CRD"),
        net.op("SpaceToDepth", "x", blocksize=2),
        net.op("Pad", "x", net.const([0, 1, 1, 2, 0, 0, 2, 1]), net.const(np.float32(1.5))),
        net.op("Pad", "x", net.const([0, 0, 1, 2, 0, 0, 2, 1]), mode="reflect"),
        net.op("Pad", "x", net.const([0, 0, 1, 2, 0, 0, 2, 1]), mode="edge"),
        net.op("Tile", "x", net.const([1, 1, 2, 3])),
        net.op("Expand", net.op("GlobalAveragePool", "x"), net.const([1, 8, 3, 2])),
        net.op("Gather", "x", net.const([3, 0, -1]), axis=2),
        net.op("Slice", "x", net.const([-1]), net.const([-(2**31)]), net.const([3]), net.const([-2])),
        net.op("Transpose", "x", perm=[0, 3, 1, 2]),
        net.op("Reshape", "x", net.const([0, 4, 2, 24])),
    ]
    net.save(file, *outputs)


@case
def extremes(file):
    net = Net((1, 3, 4, 4), (1, 3, 4, 4))
    outputs = [net.op("Max", "x0", "x1"), net.op("Min", "x0", "x1"), net.op("Mean", "x0", "x1", "x0")]
    net.save(file, *outputs)


@case
def attention(file):
    """Query, key and value in one axis before the batch, as vision transformers have it."""
    net = Net((1, 5, 8))
    qkv = net.op("Add", net.op("MatMul", "x", net.const(weight(8, 24))), net.const(weight(24)))
    qkv = net.op("Reshape", qkv, net.const([0, 5, 3, 2, 4]))
    qkv = net.op("Transpose", qkv, perm=[2, 0, 3, 1, 4])
    q, k, v = [net.op("Gather", qkv, net.const(np.int64(i)), axis=0) for i in range(3)]
    scores = net.op("MatMul", net.op("Mul", q, net.const(np.float32(0.5))), net.op("Transpose", k, perm=[0, 1, 3, 2]))
    y = net.op("MatMul", net.op("Softmax", scores, axis=-1), v)
    y = net.op("Reshape", net.op("Transpose", y, perm=[0, 2, 1, 3]), net.const([0, 5, 8]))
    net.save(file, net.op("Add", y, net.const(weight(1, 5, 8))))


@case
def u_net(file):
    """An encoder and a decoder with a concatenation between them."""
    net = Net((1, 3, 8, 8))
    skip = net.op("Relu", net.conv("x", 3, 6, pads=[1, 1, 1, 1]))
    y = net.op("MaxPool", skip, kernel_shape=[2, 2], strides=[2, 2])
    y = net.op("Relu", net.conv(y, 6, 8, pads=[1, 1, 1, 1]))
    y = net.op("ConvTranspose", y, net.const(weight(8, 6, 2, 2)), net.const(weight(6)), strides=[2, 2])
    y = net.op("Concat", y, skip, axis=1)
    net.save(file, net.conv(y, 12, 2, kernel=1))


@case
def detector(file):
    """Two scales, several outputs, positions added to boxes."""
    net = Net((1, 3, 8, 8), batch=1)
    a = net.op("Relu", net.conv("x", 3, 8, strides=[2, 2], pads=[1, 1, 1, 1]))
    b = net.op("Relu", net.conv(a, 8, 8, strides=[2, 2], pads=[1, 1, 1, 1]))
    up = net.op("Resize", b, "", net.const(np.array([1, 1, 2, 2], np.float32)),
                coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    a = net.op("Concat", a, up, axis=1)
    heads = []
    for x, channels, cells in [(a, 16, 16), (b, 8, 4)]:
        y = net.op("Reshape", net.conv(x, channels, 6, kernel=1), net.const([1, 6, cells]))
        heads.append(net.op("Transpose", y, perm=[0, 2, 1]))
    y = net.op("Concat", *heads, axis=1)
    boxes, scores = net.op("Split", y, net.const([4, 2]), outputs=2, axis=2)
    centers = net.const(RANDOM.uniform(0, 8, (1, 20, 4)).astype(np.float32))
    net.save(file, net.op("Add", boxes, centers), net.op("Sigmoid", scores))


# Files


def small(**options):
    """A convolution and a linear layer."""
    net = Net((1, 3, 6, 6), **options)
    y = net.op("Relu", net.conv("x", 3, 4, name="/features/features.0/Conv"))
    y = net.op("Flatten", net.op("GlobalAveragePool", y))
    net.nodes[-1].name = "/Flatten"
    return net, net.op("Gemm", y, net.const(weight(5, 4), "classifier.weight"), net.const(weight(5), "classifier.bias"), transB=1)


@case
def classifier(file):
    """Three channels, a square picture and a few classes."""
    net = Net((1, 3, 16, 16))
    y = net.op("Relu", net.conv("x", 3, 8, strides=[2, 2]))
    y = net.op("Relu", net.conv(y, 8, 8, strides=[2, 2]))
    y = net.op("Flatten", net.op("GlobalAveragePool", y))
    net.save(file, net.op("Gemm", y, net.const(weight(3, 8)), net.const(weight(3)), transB=1))


@case
def initializers_as_inputs(file):
    net, y = small(opset=8, ir=3)
    net.save(file, y, initializers_as_inputs=True)


@case
def external_data(file):
    net, y = small()
    net.save(file, y, external=True)


@case
def typed_data(file):
    """Values in float_data and int64_data instead of raw bytes."""
    net, y = small()
    y = net.op("Reshape", y, net.const([0, -1]))
    for index, old in enumerate(net.weights):
        values = numpy_helper.to_array(old)
        net.weights[index] = helper.make_tensor(old.name, old.data_type, old.dims, values.flatten().tolist())
    net.save(file, y)


@case
def constant_nodes(file):
    """Weights are Constant nodes, as paddle2onnx writes them, of 16 and 64 bits."""
    net = Net((1, 3, 6, 6))
    types = [np.float16, np.float64]
    def constant(shape, dtype):
        value = numpy_helper.from_array(weight(*shape).astype(dtype))
        return net.op("Cast", net.op("Constant", value=value), to=TensorProto.FLOAT)
    y = net.op("Conv", "x", constant((4, 3, 3, 3), types[0]), constant((4,), types[1]))
    net.save(file, net.op("Clip", y, net.op("Constant", value_float=0.0), net.op("Constant", value_float=6.0)))


def unsupported():
    """Files that the tests of errors read."""
    net = Net((1, 3, 8, 8), batch=1)
    y = net.conv("x", 3, 4)
    net.nodes.append(helper.make_node("Relu", [y], ["kept"]))
    net.nodes.append(helper.make_node("Crop", ["kept"], ["c1"], name="crop_a"))
    net.nodes.append(helper.make_node("Crop", ["kept"], ["c2"], name="crop_b"))
    net.nodes.append(helper.make_node("FusedConv", ["kept"], ["f"], domain="com.microsoft"))
    net.nodes.append(helper.make_node("Relu", ["f"], ["after"]))
    # A weight that is computed.
    net.nodes.append(helper.make_node("Conv", ["x", "x"], ["dynamic"]))
    infos = [helper.make_empty_tensor_value_info(n) for n in ["c1", "c2", "after", "dynamic"]]
    graph = helper.make_graph(net.nodes, "three", net.inputs, infos, net.weights)
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    os.makedirs(os.path.join(FOLDER, "unsupported"), exist_ok=True)
    model = helper.make_model(graph, opset_imports=sets, ir_version=8)
    onnx.save(model, os.path.join(FOLDER, "unsupported", "three.onnx"))

    net = Net((1, 3, 8, 8))
    y = net.conv("x", 3, 4)
    sizes = ["n", 3, "h", "w"]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)]
    graph = helper.make_graph(net.nodes, "open", inputs, [helper.make_empty_tensor_value_info(y)], net.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, os.path.join(FOLDER, "unsupported", "open_size.onnx"))


def pictures():
    """Files that say how their pictures are prepared, for pictures of 12 rows of 16 pixels; and
    pictures/golden.safetensors."""
    folder = os.path.join(FOLDER, "pictures")
    os.makedirs(folder, exist_ok=True)

    def classifier(net, x):
        y = net.op("Relu", net.conv(x, 3, 6, strides=[2, 2], pads=[1, 1, 1, 1]))
        y = net.op("Flatten", net.op("GlobalAveragePool", y))
        return net.op("Gemm", y, net.const(weight(6, 5)), net.const(weight(5)))

    def save(file, net, kind, shape, output, metadata):
        graph = helper.make_graph(
            net.nodes, file, [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", 5])], net.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, os.path.join(folder, f"{file}.onnx"))
        return model

    # Bytes with the channels last, and torchvision's normalization in the graph.
    net = Net()
    y = net.op("Cast", "x", to=TensorProto.FLOAT)
    y = net.op("Div", y, net.const(255.0))
    y = net.op("Sub", y, net.const([0.485, 0.456, 0.406]))
    y = net.op("Div", y, net.const([0.229, 0.224, 0.225]))
    y = classifier(net, net.op("Transpose", y, perm=[0, 3, 1, 2]))
    model = save("pixels", net, TensorProto.UINT8, ["n", 12, 16, 3], y, {"author": "nobody"})
    x = RANDOM.randint(0, 256, (2, 12, 16, 3)).astype(np.uint8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    golden = {"input": x, "output": session.run(None, {"x": x})[0]}
    save_file(golden, os.path.join(folder, "golden.safetensors"))

    # The preprocessing in the metadata.
    net = Net()
    y = classifier(net, "x")
    preprocessing = {
        "resize": [14, 18], "crop": [12, 16], "interpolation": "bicubic", "channels": "bgr",
        "mean": [0.25, 0.5, 0.75], "std": [0.5, 0.25, 0.125],
    }
    save("metadata", net, TensorProto.FLOAT, ["n", 3, 12, 16], y, {"preprocessing": json.dumps(preprocessing)})
    save("other_metadata", net, TensorProto.FLOAT, ["n", 3, 12, 16], y, {"preprocessing": "as usual"})


def without_batch():
    """The softmax over the first axis of a matrix with more columns: no axis is a batch."""
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["padded"]),
        helper.make_node("Softmax", ["padded"], ["y"], axis=0),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2]),
        helper.make_tensor_value_info("pads", TensorProto.INT64, [4]),
    ]
    graph = helper.make_graph(nodes, "pad", inputs, [helper.make_empty_tensor_value_info("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    os.makedirs(os.path.join(FOLDER, "no_batch"), exist_ok=True)
    onnx.save(model, os.path.join(FOLDER, "no_batch", "pad.onnx"))


def main():
    unsupported()
    without_batch()
    golden = {}
    for file, (names, shapes, outputs) in CASES.items():
        session = onnxruntime.InferenceSession(
            os.path.join(FOLDER, f"{file}.onnx"), providers=["CPUExecutionProvider"]
        )
        inputs = {n: RANDOM.uniform(-2, 2, s).astype(np.float32) for n, s in zip(names, shapes)}
        for index, value in enumerate(inputs.values()):
            golden[f"{file}/input/{index}"] = value
        for index, value in enumerate(session.run(list(outputs), inputs)):
            golden[f"{file}/output/{index}"] = np.ascontiguousarray(value)
    save_file(golden, os.path.join(FOLDER, "golden.safetensors"))
    pictures()
    print(f"{len(CASES)} files")


if __name__ == "__main__":
    main()
