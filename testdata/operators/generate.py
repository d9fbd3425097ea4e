"""Writes goldens.json: outputs and gradients of operators as PyTorch computes them.

    python testdata/operators/generate.py        # any PyTorch 2.15 with CPU support

Each case is a network of a convolution with eight channels, an operator of its output, a mean over
height and width, and a linear layer. The gradients are those of the convolution, so that they pass
through the operator.
"""

import json
from pathlib import Path

import torch
from torch.nn import functional as F

torch.set_num_threads(1)


def floats(tensor):
    """The shape and the shortest decimals that are these f32."""
    values = [float(f"{x:.9g}") for x in tensor.detach().flatten().tolist()]
    return {"shape": list(tensor.shape), "values": values}


def halves(x):
    return x[:, :4], x[:, 4:]


def pool(x):
    return F.adaptive_avg_pool2d(x, 1)


def on_halves(function):
    return lambda x: function(*halves(x))


CASES = {
    "add_broadcast": on_halves(lambda a, b: a + pool(b)),
    "broadcast_add": on_halves(lambda a, b: pool(a) + b),
    "sub": on_halves(lambda a, b: a - b),
    "sub_broadcast": on_halves(lambda a, b: a - pool(b)),
    "broadcast_sub": on_halves(lambda a, b: pool(a) - b),
    "mul": on_halves(lambda a, b: a * b),
    "mul_broadcast": on_halves(lambda a, b: a * pool(b)),
    "div": on_halves(lambda a, b: a / torch.sigmoid(b)),
    "div_broadcast": on_halves(lambda a, b: a / pool(torch.sigmoid(b))),
    "broadcast_div": on_halves(lambda a, b: pool(a) / torch.sigmoid(b)),
    "cat_channels": on_halves(lambda a, b: torch.cat([b, a[:, 1:3]], 1)),
    "cat_rows": on_halves(lambda a, b: torch.cat([a, b], 2)),
    "slice_channels": lambda x: x[:, 1:8:3],
    "slice_columns": lambda x: x[:, :, :, 1:4:2],
    "channel_shuffle": lambda x: torch.nn.ChannelShuffle(4)(x),
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "relu": F.relu,
    "relu6": F.relu6,
}


def case(function, images, labels, conv, fc):
    for layer in (conv, fc):
        layer.zero_grad()
    output = function(conv(images))
    logits = F.linear(output.mean((2, 3)), fc.weight[:, : output.shape[1]], fc.bias)
    F.cross_entropy(logits, labels).backward()
    return {"output": floats(output), "logits": floats(logits),
            "gradients": {f"conv.{name}": floats(parameter.grad)
                          for name, parameter in conv.named_parameters()}}


def main():
    torch.manual_seed(20261126)
    images = (torch.randn(2, 3, 3, 4) * 32).round() / 16
    labels = torch.tensor([1, 3])
    conv, fc = torch.nn.Conv2d(3, 8, 1), torch.nn.Linear(8, 4)
    with torch.no_grad():
        for parameter in [*conv.parameters(), *fc.parameters()]:
            parameter.copy_((torch.randn(parameter.shape) * 32).round() / 16)
    found = {name: case(function, images, labels, conv, fc) for name, function in CASES.items()}
    goldens = {"images": floats(images), "labels": labels.tolist(),
               "state": {"conv.weight": floats(conv.weight), "conv.bias": floats(conv.bias),
                         "fc.weight": floats(fc.weight), "fc.bias": floats(fc.bias)},
               "cases": found}
    Path(__file__).with_name("goldens.json").write_text(json.dumps(goldens, indent=None) + "\n")


main()
