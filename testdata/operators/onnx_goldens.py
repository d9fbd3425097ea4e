"""Writes onnx_goldens.json: outputs of operators as ONNX Runtime computes them.

    python testdata/operators/onnx_goldens.py        # onnx 1.17 or later, onnxruntime 1.20 or later

Each case is one ONNX node, and the operator of posterize that computes the same: its tag and attributes as
in a saved file (docs/format.md), and its parameters.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

ROOT = Path(__file__).parent
rng = np.random.default_rng(7)


def floats(array):
    """The shape and the shortest decimals that are these f32."""
    values = [float(f"{x:.9g}") for x in np.asarray(array, np.float32).flatten().tolist()]
    return {"shape": list(array.shape), "values": values}


def numbers(*shape, low=-3.0, high=3.0):
    return rng.uniform(low, high, shape).astype(np.float32)


def run(node, opset, inputs, constants):
    """Runs a node with these values of its first inputs and constants for the others."""
    names = [f"x{i}" for i in range(len(inputs))]
    given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, x.shape) for n, x in zip(names, inputs)]
    fixed = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items() if value is not None]
    order = names + [name if value is not None else "" for name, value in constants.items()]
    kind, attributes = node
    made = helper.make_node(kind, order, ["y"], **attributes)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([made], "case", given, [output], fixed)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(names, inputs)))[0]


CASES = []
INPUTS = []


def input_index(x):
    """The index of an input in the file, where it is written once."""
    for index, known in enumerate(INPUTS):
        if known is x:
            return index
    INPUTS.append(x)
    return len(INPUTS) - 1


def case(op, attributes, node, inputs, constants=None, parameters=None, opset=20):
    output = run(node, opset, inputs, constants or {})
    CASES.append({
        "op": op,
        "attributes": attributes,
        "inputs": [input_index(x) for x in inputs],
        "parameters": {name: floats(value) for name, value in (parameters or {}).items()},
        "output": floats(output),
    })


def unary():
    x, positive = numbers(2, 5, 3, 2, low=-6, high=6), numbers(2, 5, low=0.1, high=9)
    for op, attributes, node in [
        ("Hardsigmoid", {"alpha": 0.2, "beta": 0.5}, ("HardSigmoid", {})),
        ("LeakyReLU", {"negative_slope": 0.1}, ("LeakyRelu", {"alpha": 0.1})),
        ("ELU", {"alpha": 0.7}, ("Elu", {"alpha": 0.7})),
        ("SELU", None, ("Selu", {})),
        ("Tanh", None, ("Tanh", {})),
        ("GELU", {"approximate": False}, ("Gelu", {})),
        ("GELU", {"approximate": True}, ("Gelu", {"approximate": "tanh"})),
        ("Mish", None, ("Mish", {})),
        ("Softplus", {"beta": 1.0, "threshold": 50.0}, ("Softplus", {})),
        ("Exp", None, ("Exp", {})),
        ("Abs", None, ("Abs", {})),
        ("Neg", None, ("Neg", {})),
        ("Erf", None, ("Erf", {})),
    ]:
        case(op, attributes, node, [x])
    for op, node in [("Log", "Log"), ("Sqrt", "Sqrt"), ("Reciprocal", "Reciprocal")]:
        case(op, None, (node, {}), [positive])
    bound = np.float32
    case("Hardtanh", {"min_val": -1.0, "max_val": 2.0}, ("Clip", {}), [x], {"a": bound(-1), "b": bound(2)})
    case("Hardtanh", {"min_val": None, "max_val": 2.0}, ("Clip", {}), [x], {"a": None, "b": bound(2)})
    for exponent in [2.0, 0.5, 1.7, -1.0]:
        case("Pow", {"exponent": exponent}, ("Pow", {}), [positive], {"e": bound(exponent)})


def pools():
    # Kernel, stride, [top, left, bottom, right], dilation.
    windows = [
        ([2, 2], [2, 2], [0, 0, 0, 0], [1, 1]),
        ([3, 3], [2, 2], [1, 1, 1, 1], [1, 1]),
        ([3, 2], [2, 3], [2, 0, 1, 1], [1, 1]),
        ([3, 3], [3, 3], [0, 1, 2, 0], [1, 1]),
        ([2, 2], [3, 3], [1, 1, 1, 1], [1, 1]),
        ([2, 3], [1, 2], [1, 2, 0, 1], [3, 2]),
    ]
    for size in [[7, 6], [5, 8], [4, 4]]:
        x = numbers(2, 3, *size)
        for kernel, stride, pads, dilation in windows:
            sides = dict(zip(["top", "left", "bottom", "right"], pads))
            common = {"kernel_size": kernel, "stride": stride, "padding": {"Explicit": sides}}
            for ceil in [False, True]:
                attributes = {"kernel_shape": kernel, "strides": stride, "pads": pads, "ceil_mode": int(ceil)}
                own = {**common, "dilation": dilation, "ceil_mode": ceil}
                case("MaxPool2d", own, ("MaxPool", {**attributes, "dilations": dilation}), [x])
                if dilation != [1, 1]:
                    continue
                for counted in [False, True]:
                    own = {**common, "ceil_mode": ceil, "count_include_pad": counted}
                    node = ("AveragePool", {**attributes, "count_include_pad": int(counted)})
                    case("AvgPool2d", own, node, [x])
        case("AdaptiveMaxPool2d", {"output_size": [1, 1]}, ("GlobalMaxPool", {}), [x])


def norms():
    x, three = numbers(2, 6, 3, 4), numbers(2, 6, 5)
    for tensor in [x, three]:
        for axis in range(1, tensor.ndim):
            case("Softmax", {"dim": axis}, ("Softmax", {"axis": axis}), [tensor])
            case("LogSoftmax", {"dim": axis}, ("LogSoftmax", {"axis": axis}), [tensor])
            for p in [1, 2]:
                own = {"p": p, "dim": axis, "eps": 1e-12}
                case("Normalize", own, ("LpNormalization", {"axis": axis, "p": p}), [tensor])
            shape = list(tensor.shape[axis:])
            weight, bias = numbers(*shape), numbers(*shape)
            own = {"normalized_shape": shape, "eps": 1e-3, "elementwise_affine": True, "bias": True,
                   "channels_first": False}
            node = ("LayerNormalization", {"axis": axis, "epsilon": 1e-3})
            case("LayerNorm", own, node, [tensor], {"w": weight, "b": bias}, {"weight": weight, "bias": bias})
        weight, bias = numbers(6), numbers(6)
        both = {"weight": weight, "bias": bias}
        node = ("InstanceNormalization", {"epsilon": 1e-3})
        own = {"num_features": 6, "eps": 1e-3, "affine": True}
        case("InstanceNorm", own, node, [tensor], {"w": weight, "b": bias}, both)
        for groups in [1, 2, 3, 6]:
            node = ("GroupNormalization", {"num_groups": groups, "epsilon": 1e-3})
            own = {"num_groups": groups, "num_channels": 6, "eps": 1e-3, "affine": True}
            case("GroupNorm", own, node, [tensor], {"w": weight, "b": bias}, both, opset=21)
        slopes = numbers(6)
        shaped = slopes.reshape([6] + [1] * (tensor.ndim - 2))
        case("PReLU", {"num_parameters": 6}, ("PRelu", {}), [tensor], {"s": shaped}, {"weight": slopes})
        case("PReLU", {"num_parameters": 1}, ("PRelu", {}), [tensor], {"s": slopes[:1]}, {"weight": slopes[:1]})
    for size in [1, 3, 5]:
        node = ("LRN", {"size": size, "alpha": 0.3, "beta": 0.6, "bias": 1.5})
        case("LocalResponseNorm", {"size": size, "alpha": 0.3, "beta": 0.6, "k": 1.5}, node, [x])


def moves():
    two, three, four = numbers(2, 12), numbers(2, 4, 6), numbers(2, 4, 3, 6)
    for dims in [[0, 2, 1], [0, 1, 2]]:
        case("Permute", {"dims": dims}, ("Transpose", {"perm": dims}), [three])
    for dims in [[0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2], [0, 2, 1, 3], [0, 3, 2, 1], [0, 1, 2, 3]]:
        case("Permute", {"dims": dims}, ("Transpose", {"perm": dims}), [four])
    for tensor, sizes in [
        (two, [3, 4]), (two, [3, 2, -1]), (three, [-1]), (three, [2, 3, 4]), (three, [6, 4]), (four, [72]),
        (four, [4, 18]), (four, [2, -1, 6]), (four, [1, 6, 12]), (four, [8, 9, 1]), (four, [9, 8, 1]),
    ]:
        case("Reshape", {"sizes": sizes}, ("Reshape", {}), [tensor], {"s": np.array([0, *sizes], np.int64)})
    for tensor, pads in [
        (three, [[0, 0], [1, 2], [3, 0]]),
        (four, [[0, 0], [0, 0], [1, 2], [3, 1]]),
        (four, [[0, 0], [2, 1], [0, 1], [0, 0]]),
    ]:
        flat = np.array([before for before, _ in pads] + [after for _, after in pads], np.int64)
        constants = {"pads": flat, "value": np.float32(0.75)}
        case("Pad", {"pads": pads, "mode": {"Constant": 0.75}}, ("Pad", {"mode": "constant"}), [tensor], constants)
        case("Pad", {"pads": pads, "mode": "Reflect"}, ("Pad", {"mode": "reflect"}), [tensor], {"pads": flat})
        case("Pad", {"pads": pads, "mode": "Replicate"}, ("Pad", {"mode": "edge"}), [tensor], {"pads": flat})
    deep = numbers(2, 12, 3, 2)
    for order, mode in [("PixelsFirst", "DCR"), ("ChannelsFirst", "CRD")]:
        own = {"block_size": 2, "order": order}
        case("DepthToSpace", own, ("DepthToSpace", {"blocksize": 2, "mode": mode}), [deep])
    own = {"block_size": 3, "order": "PixelsFirst"}
    case("SpaceToDepth", own, ("SpaceToDepth", {"blocksize": 3}), [four])
    for tensor, repeats in [(three, [1, 2, 3]), (four, [1, 2, 1, 2]), (numbers(2, 4, 1, 1), [1, 1, 3, 2])]:
        case("Tile", {"repeats": repeats}, ("Tile", {}), [tensor], {"r": np.array(repeats, np.int64)})
    for tensor in [three, four]:
        for axis in range(1, tensor.ndim):
            indices = [2, 0, 0, 1]
            case("Gather", {"dim": axis, "indices": indices}, ("Gather", {"axis": axis}), [tensor],
                 {"i": np.array(indices, np.int64)})


COORDINATES = {"Asymmetric": "asymmetric", "HalfPixel": "half_pixel", "PytorchHalfPixel": "pytorch_half_pixel",
               "HalfPixelSymmetric": "half_pixel_symmetric", "AlignCorners": "align_corners"}
ROUNDINGS = {"Floor": "floor", "Ceil": "ceil", "RoundPreferFloor": "round_prefer_floor",
             "RoundPreferCeil": "round_prefer_ceil"}


def resize():
    x = numbers(2, 3, 4, 5)
    targets = [
        ({"Scales": [2.0, 2.0]}, {"roi": None, "scales": np.array([1, 1, 2, 2], np.float32)}),
        ({"Scales": [0.5, 1.7]}, {"roi": None, "scales": np.array([1, 1, 0.5, 1.7], np.float32)}),
        ({"Sizes": [7, 4]}, {"roi": None, "scales": None, "sizes": np.array([2, 3, 7, 4], np.int64)}),
        ({"Sizes": [1, 8]}, {"roi": None, "scales": None, "sizes": np.array([2, 3, 1, 8], np.int64)}),
    ]
    for target, constants in targets:
        for coordinates, onnx_coordinates in COORDINATES.items():
            common = {"coordinate_transformation_mode": onnx_coordinates}
            modes = [({"Nearest": own}, {"mode": "nearest", "nearest_mode": theirs}) for own, theirs in ROUNDINGS.items()]
            modes.append(("Linear", {"mode": "linear"}))
            modes += [
                ({"Cubic": {"coefficient": -0.75, "exclude_outside": False}}, {"mode": "cubic"}),
                ({"Cubic": {"coefficient": -0.5, "exclude_outside": True}},
                 {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1}),
            ]
            for mode, attributes in modes:
                own = {"target": target, "mode": mode, "coordinates": coordinates}
                case("Upsample", own, ("Resize", {**common, **attributes}), [x], constants)


def transposed():
    x = numbers(2, 4, 3, 5)
    # Outputs, kernel, stride, [top, left, bottom, right], output padding, dilation, groups.
    for outputs, kernel, stride, pads, extra, dilation, groups in [
        (6, [2, 2], [2, 2], [0, 0, 0, 0], [0, 0], [1, 1], 1),
        (6, [3, 3], [2, 2], [1, 1, 1, 1], [1, 1], [1, 1], 1),
        (2, [3, 4], [1, 3], [1, 0, 2, 1], [0, 2], [2, 1], 2),
        (4, [4, 4], [2, 2], [1, 1, 1, 1], [0, 0], [1, 1], 4),
        (70, [1, 2], [3, 1], [0, 1, 0, 0], [2, 0], [1, 2], 1),
    ]:
        weight, bias = numbers(4, outputs // groups, *kernel), numbers(outputs)
        # Posterize has the outputs first: [outputs, 4 / groups, kh, kw].
        split = weight.reshape(groups, 4 // groups, outputs // groups, *kernel)
        own_weight = split.transpose(0, 2, 1, 3, 4).reshape(outputs, 4 // groups, *kernel)
        top, left, bottom, right = pads
        own = {"in_channels": 4, "out_channels": outputs, "kernel_size": kernel, "stride": stride,
               "padding": [left, right, top, bottom], "output_padding": extra, "dilation": dilation,
               "groups": groups, "bias": True, "activation": None}
        node = ("ConvTranspose", {"kernel_shape": kernel, "strides": stride, "pads": pads, "output_padding": extra,
                                  "dilations": dilation, "group": groups})
        case("ConvTranspose2d", own, node, [x], {"w": weight, "b": bias}, {"weight": own_weight, "bias": bias})


def several():
    a, b, c = numbers(2, 4, 3, 5), numbers(2, 1, 3, 1), numbers(2, 4, 3, 5)
    for pair in [[a, c], [a, b], [b, a], [numbers(2, 7), numbers(2, 1)]]:
        case("Minimum", None, ("Min", {}), pair)
        case("Maximum", None, ("Max", {}), pair)
    case("MatMul", None, ("MatMul", {}), [numbers(2, 3, 4), numbers(2, 4, 5)])
    case("MatMul", None, ("MatMul", {}), [numbers(2, 3, 4, 5), numbers(2, 3, 5, 6)])
    for tensor in [a, numbers(2, 4, 6)]:
        for dims in [[1], [2], [1, 2], [2, 3], [1, 3], [1, 2, 3]]:
            if max(dims) >= tensor.ndim:
                continue
            for reduction in ["Mean", "Sum", "Max", "Min"]:
                for keep in [False, True]:
                    own = {"reduction": reduction, "dims": dims, "keepdim": keep}
                    node = (f"Reduce{reduction}", {"keepdims": int(keep)})
                    case("Reduce", own, node, [tensor], {"axes": np.array(dims, np.int64)})


for group in [unary, pools, norms, moves, resize, transposed, several]:
    group()
goldens = {"inputs": [floats(x) for x in INPUTS], "cases": CASES}
(ROOT / "onnx_goldens.json").write_text(json.dumps(goldens, separators=(",", ":")) + "\n")
print(len(CASES), "cases")
