"""Writes network.json: gradients, running estimates and 20 steps of SGD of small networks, in float
and with fake quantization.

    python testdata/training/network.py        # any PyTorch 2.15 with CPU support

The random numbers are chosen so that none of it hangs on the last bits of an f32: seeds are tried
until two ways to compute the same thing (oneDNN and PyTorch's own kernels) agree.
"""

import itertools
import json
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.ao.nn.intrinsic.qat import freeze_bn_stats
from torch.ao.quantization import (
    DeQuantStub,
    FakeQuantize,
    QuantStub,
    disable_observer,
    fuse_modules_qat,
    get_default_qat_qconfig,
    prepare_qat,
)

warnings.filterwarnings("ignore")
torch.set_num_threads(1)

STEPS, FREEZE, LR, MOMENTUM, DECAY, SMOOTHING = 20, 10, 0.02, 0.9, 1e-3, 0.1
# In the cases whose names begin with "frozen".
FROZEN, FACTORED, FACTOR = ["stem", "block.3", "block.4"], "classifier", 3.0


class Small(nn.Module):
    """A stem, an inverted residual with a bias before a batch norm, a classifier."""

    def __init__(self, activation):
        super().__init__()
        self.quant, self.dequant = QuantStub(), DeQuantStub()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4), activation()
        )
        self.block = nn.Sequential(
            nn.Conv2d(4, 8, 1, bias=False), nn.BatchNorm2d(8, eps=1e-3, momentum=0.2), activation(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), activation(),
            nn.Conv2d(8, 4, 1, bias=True), nn.BatchNorm2d(4),
        )
        self.skip_add = nn.quantized.FloatFunctional()
        self.classifier = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(self.quant(x))
        x = self.skip_add.add(x, self.block(x))
        x = x.mean([2, 3])
        # The int8 mean rounds to the scale of what it averages; eager mode leaves that out.
        rounds = self.skip_add.activation_post_process
        if hasattr(rounds, "scale"):
            x = torch.fake_quantize_per_tensor_affine(
                x, rounds.scale, rounds.zero_point, rounds.quant_min, rounds.quant_max
            )
        return self.dequant(self.classifier(x))


class Edges(nn.Module):
    """Batch norms that are hard to compute: far from zero, constant, without a convolution."""

    def __init__(self, _):
        super().__init__()
        self.first = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 4, 3, stride=2, dilation=2, padding=2, groups=1)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2, stride=1)
        self.relu = nn.ReLU6()
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(4 * 2 * 2, 5)
        self.last = nn.BatchNorm1d(5)
        self.classifier = nn.Linear(5, 3)

    def forward(self, x):
        x = self.relu(self.pool(self.norm(self.conv(self.first(x)))))
        return self.classifier(self.last(self.linear(self.flatten(x))))


def prepared(case, seed):
    torch.manual_seed(seed)
    net = {"edges": Edges}.get(case, Small)(nn.ReLU if "qat" in case else nn.ReLU6)
    for name, tensor in net.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0)
        elif "classifier" not in name and tensor.dtype == torch.float32:
            tensor.add_(torch.randn_like(tensor) * 0.3)
    images = torch.randn(4, 3, 6, 6)
    if case == "edges":
        images[:, 0] = images[:, 0] * 0.01 + 10
        with torch.no_grad():
            net.conv.weight[1] = 0
            net.conv.bias[2] = 30
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.train()
    if "qat" in case:
        parts = ["stem.0 stem.1 stem.2", "block.0 block.1 block.2", "block.3 block.4 block.5",
                 "block.6 block.7"]
        net = fuse_modules_qat(net, [part.split() for part in parts])
        # Version 0 is FakeQuantize itself; version 1 fuses it with its observer.
        qconfig = get_default_qat_qconfig("fbgemm", version=0)
        if case == "default_qat":
            qconfig = torch.ao.quantization.default_qat_qconfig
        net.qconfig = qconfig
        net = prepare_qat(net)
    return net, images, torch.tensor([0, 1, 2, 1]), state


def plain(name):
    """The name that a tensor has before fusion."""
    norms = {"stem.0.bn": "stem.1", "block.0.bn": "block.1", "block.3.bn": "block.4",
             "block.6.bn": "block.7"}
    layer, last = name.rsplit(".", 1)
    return f"{norms.get(layer, layer)}.{last}"


def running(net):
    buffers = net.named_buffers()
    return {plain(name): b.clone() for name, b in buffers if name.split(".")[-1].startswith("running")}


def freeze(net, qat):
    """Freezes modules, and returns groups of the other parameters with their learning rates."""
    groups = [dict(params=[], lr=LR), dict(params=[], lr=LR * FACTOR)]
    for name, parameter in net.named_parameters():
        if any(plain(name).startswith(module + ".") for module in FROZEN):
            parameter.requires_grad = False
        else:
            groups[plain(name).startswith(FACTORED + ".")]["params"].append(parameter)
    for norm, fused in [(net.stem[1], net.stem[0]), (net.block[4], net.block[3])]:
        freeze_bn_stats(fused) if qat else norm.eval()
    return groups


def train(case, seed):
    net, images, labels, state = prepared(case, seed)
    criterion = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    groups = [dict(params=net.parameters())]
    if case.startswith("frozen"):
        groups = freeze(net, "qat" in case)
    optimizer = torch.optim.SGD(groups, lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    losses, first = [], None
    for step in range(STEPS):
        if "qat" in case and step == FREEZE:
            net.apply(disable_observer)
            net.apply(freeze_bn_stats)
        optimizer.zero_grad()
        # Each step sees the pictures moved on by some pixels.
        loss = criterion(net(images.roll(step, 3)), labels)
        loss.backward()
        if step == 0:
            parameters = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
            gradients = {plain(name): p.grad.clone() for name, p in parameters}
            first = dict(gradients=gradients, running=running(net))
        optimizer.step()
        losses.append(loss.item())
    final = {plain(name): p.detach().clone() for name, p in net.named_parameters()}
    final |= running(net)
    net.eval()
    net.apply(disable_observer)
    net.apply(keep_8_bits)
    logits = net(images).detach()
    return dict(images=images, labels=labels, state=state, losses=torch.tensor(losses), **first,
                final=final, logits=logits)


def keep_8_bits(module):
    """Values of 8 bits, as they are in int8 once PyTorch has converted the network, whatever the range
    they were trained in."""
    if isinstance(module, FakeQuantize) and module.dtype == torch.quint8:
        observer = module.activation_post_process
        observer.quant_min, observer.quant_max = 0, 255


def distance(a, b):
    """The largest difference, relative to the largest value of its tensor (or to a thousandth: some
    gradients are zero but for rounding)."""
    if isinstance(a, dict):
        return max(distance(a[name], b[name]) for name in a)
    if a.dtype != torch.float32:
        return 0.0
    return ((a - b).abs().max() / a.abs().max().clamp(min=1e-3)).item()


def stable(case):
    for seed in itertools.count(20261123):
        ours = train(case, seed)
        with torch.backends.mkldnn.flags(enabled=False):
            theirs = train(case, seed)
        found = distance(ours, theirs)
        print(f"{case} {seed}: {found:.1e}", flush=True)
        if found < 2e-5:
            return ours


def saved(value):
    if isinstance(value, dict):
        return {name: saved(v) for name, v in value.items() if "num_batches" not in name}
    if value.dtype == torch.int64:
        return value.tolist()
    return dict(shape=list(value.shape), values=[float(f"{x:.9g}") for x in value.flatten().tolist()])


def main():
    settings = dict(steps=STEPS, freeze=FREEZE, lr=LR, momentum=MOMENTUM, weight_decay=DECAY,
                    label_smoothing=SMOOTHING, frozen=FROZEN, factored=FACTORED, factor=FACTOR)
    names = ["float", "edges", "fbgemm_qat", "default_qat", "frozen", "frozen_fbgemm_qat"]
    cases = {case: saved(stable(case)) for case in names}
    path = Path(__file__).parent / "network.json"
    path.write_text(json.dumps(dict(settings=settings, cases=cases), separators=(",", ":")) + "\n")
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
