"""Golden vectors of the architectures, from PyTorch and torchvision.

Writes beside itself:

- `logits.safetensors`: the first 1,000 logits of each case for weights and pictures that need no
  storing, because both sides make them from a hash; the metadata entry `cases` describes the cases.
- `genuine.safetensors`: the same picture's 1,000 logits from the checkpoints given as arguments
  `MODEL=FILE`, which are not part of the project; without arguments it stays as it is.
- `keys/MODEL.txt`: the state_dict's names and shapes in order, without `num_batches_tracked`.
- `trees/*.txt`: models and sub-modules as PyTorch prints them.

Value i of the tensor called `name` comes from splitmix64 at the state fnv1a64(name) + i * GOLDEN:
its top 24 bits make u in [-1, 1), a multiple of 2^-23. Then, all in f32:

    convolution  u * sqrt(3 * gain / fan_in), gain 1 where it narrows (out < in), else 2
    linear       u * sqrt(3 / fan_in)
    BatchNorm    weight 1 + u / 4, running_var 1 + u / 2, running_mean u / 10
    every bias   u / 10
    picture      2 * u, under the name `input`

Run with the environment of bench/peers: python testdata/logits/generate.py \\
    tf_mobilenet_v2=tf_mobilenet_v2.pth efficientnet_lite0=efficientnet-lite0-57934424.pth
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "bench" / "peers"))

import networks  # noqa: E402

GOLDEN = 0x9E3779B97F4A7C15

# Model, what it is built with, and the shape of its input. Odd and uneven sizes tell SAME padding
# from padding by one; the EfficientNets run at their own sizes.
CASES = [
    ("mobilenet_v2", {}, [1, 3, 224, 224]),
    ("mobilenet_v2", {"relu": True}, [2, 3, 96, 96]),
    ("mobilenet_v2", {"width_mult": 0.35}, [2, 3, 96, 128]),
    ("mobilenet_v2", {"width_mult": 1.4, "num_classes": 10, "round_nearest": 16}, [1, 3, 64, 64]),
    ("mobilenet_v2", {"inverted_residual_setting": [[1, 24, 2, 1], [6, 32, 3, 2]]}, [1, 3, 50, 35]),
    ("fashion_mobilenet_v2", {}, [2, 3, 28, 28]),
    ("tf_mobilenet_v2", {}, [1, 3, 224, 224]),
    ("tf_mobilenet_v2", {"width_mult": 0.35, "relu": True}, [2, 3, 97, 130]),
    ("efficientnet_lite0", {}, [1, 3, 224, 224]),
    ("efficientnet_lite1", {}, [1, 3, 240, 240]),
    ("efficientnet_lite2", {}, [1, 3, 260, 260]),
    ("efficientnet_lite3", {}, [1, 3, 280, 280]),
    ("efficientnet_lite4", {}, [1, 3, 300, 300]),
    ("resnet18", {}, [2, 3, 64, 64]),
    ("resnet50", {}, [1, 3, 75, 64]),
]


def fnv1a64(text: str) -> int:
    state = 0xCBF29CE484222325
    for byte in text.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return state


def uniform(name: str, shape) -> np.ndarray:
    """u of the module's docstring."""
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a64(name)) + np.arange(np.prod(shape, dtype=int), dtype=np.uint64) * np.uint64(GOLDEN)
        z = z + np.uint64(GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    u = (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return u.reshape(shape)


def value(name: str, shape) -> np.ndarray:
    u = uniform(name, shape)
    last = name.rsplit(".", 1)[-1]
    if last == "running_var":
        return 1 + u * np.float32(0.5)
    if last in ("bias", "running_mean"):
        return u * np.float32(0.1)
    if len(shape) == 1:
        return 1 + u * np.float32(0.25)
    fan_in = int(np.prod(shape[1:]))
    narrows = len(shape) == 2 or shape[0] < shape[1]
    return u * np.float32(np.sqrt((3.0 if narrows else 6.0) / fan_in))


def fill(model: nn.Module) -> nn.Module:
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    values = {k: torch.from_numpy(value(k, tuple(v.shape))) for k, v in state.items()}
    missing = model.load_state_dict(values, strict=False)
    assert all(k.endswith("num_batches_tracked") for k in missing.missing_keys) and not missing.unexpected_keys
    return model.eval()


def torchvision_text(model: nn.Module) -> str:
    """The text of a module in the form that PyTorch's tutorial shows: newer versions of torchvision
    have another class name, and newer ones of PyTorch print a batch norm's `bias`."""
    text = str(model).replace("Conv2dNormActivation(", "ConvBNReLU(")
    return text.replace("affine=True, bias=True, ", "affine=True, ") + "\n"


def fused_text(model: nn.Module) -> str:
    """The same without the Identity modules that eager-mode fusion leaves behind."""
    return re.sub(r"\n *\(\w+\): Identity\(\)", "", torchvision_text(model))


def write_trees() -> None:
    folder = HERE / "trees"
    folder.mkdir(exist_ok=True)
    for name in ("mobilenet_v2", "resnet18", "resnet50"):
        (folder / f"{name}.txt").write_text(torchvision_text(networks.NETWORKS[name]()))
    relu = networks.mobilenet_v2(relu=True).eval()
    (folder / "mobilenet_v2_relu_features_1.txt").write_text(torchvision_text(relu.features[1]))
    for module in relu.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # as in the tutorial; ConvReLU2d prints it
    for name, module in list(relu.named_modules()):
        kind = type(module).__name__
        if kind == "Conv2dNormActivation":
            torch.ao.quantization.fuse_modules(module, ["0", "1", "2"], inplace=True)
        elif kind == "InvertedResidual":
            last = len(module.conv) - 2
            torch.ao.quantization.fuse_modules(module.conv, [str(last), str(last + 1)], inplace=True)
    (folder / "mobilenet_v2_relu_fused_features_0.txt").write_text(fused_text(relu.features[0]))
    (folder / "mobilenet_v2_relu_fused_features_1_conv.txt").write_text(fused_text(relu.features[1].conv))
    (folder / "mobilenet_v2_relu_fused_features_2.txt").write_text(fused_text(relu.features[2]))


def write_keys() -> None:
    folder = HERE / "keys"
    folder.mkdir(exist_ok=True)
    for name, build in networks.NETWORKS.items():
        lines = [
            f"{key} {'x'.join(map(str, tensor.shape))}"
            for key, tensor in build().state_dict().items()
            if not key.endswith("num_batches_tracked")
        ]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def write_logits() -> None:
    tensors, cases = {}, []
    for i, (name, knobs, shape) in enumerate(CASES):
        model = fill(networks.NETWORKS[name](**knobs))
        with torch.inference_mode():
            logits = model(torch.from_numpy(uniform("input", shape) * np.float32(2))).numpy()
        print(f"{name} {knobs} {shape}: {logits.shape}, std {logits.std():.3f}, largest {abs(logits).max():.3f}")
        tensors[f"case{i}"] = logits.reshape(-1)[:1000].copy()
        cases.append({"model": name, "input": shape, **knobs})
    save_file(tensors, HERE / "logits.safetensors", {"cases": json.dumps(cases)})


def write_genuine(arguments: list[str]) -> None:
    picture = torch.from_numpy(uniform("input", [1, 3, 224, 224]) * np.float32(2))
    tensors = {}
    for name, path in (argument.split("=", 1) for argument in arguments):
        with torch.inference_mode():
            tensors[name] = networks.build(name, Path(path))(picture).numpy().reshape(-1)
    if tensors:
        save_file(tensors, HERE / "genuine.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    write_trees()
    write_keys()
    write_logits()
    write_genuine(sys.argv[1:])
