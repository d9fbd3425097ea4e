#!/usr/bin/env python3
"""A small network that PyTorch quantizes: `biased.safetensors` and `unbiased.safetensors`.

    python3 testdata/torch_converted/generate.py

Needs torch, safetensors and numpy, and a CPU with AVX-512 VNNI: elsewhere fbgemm multiplies with
vpmaddubsw. Eager-mode post-training quantization with the qconfig of fbgemm: fuse, prepare,
calibrate, convert.

Weights, batch norms and calibration pictures are small multiples of powers of two, and running_var + eps is a
power of four, so that every float sum is exact in any order: observers see the same values to the
bit wherever the network runs. The script checks that against float64 and fails otherwise. The
unbiased network has no biases, nor batch norms that shift.

Each file holds, by tensor:

    float.NAME             the float network's state_dict, before fusing
    calibration            batches of pictures [batches, N, C, H, W]
    images                 pictures to run
    weight.LAYER           int8 weight of the converted layer
    weight_scale.LAYER     its scale for each output channel, f32
    scale.NODE             scale of the output, f32 [1]
    zero_point.NODE        zero point of the output, u8 [1]
    output.NODE            u8 output for `images`, channels last
    rounded.NODE           the same after every bias was rounded to a whole number of accumulator
                           units, scale_x * scale_w (biased network only)
    logits                 the dequantized output for `images`

PyTorch's layers are checked here against PyTorch's formula, to the last value:
(f32(acc) + bias / (scale_x * scale_w)) * multiplier, rounded half to even.
"""

import pathlib
import warnings

import torch
from safetensors.torch import save_file
from torch import nn
from torch.ao import quantization as tq

HERE = pathlib.Path(__file__).parent
EPS = 2.0**-10
BATCHES, BATCH, SIDE = 3, 4, 16

warnings.filterwarnings("ignore")


class Net(nn.Module):
    def __init__(self, bias):
        super().__init__()

        def bn(channels):
            return nn.BatchNorm2d(channels, eps=EPS)

        self.quant = tq.QuantStub()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), bn(8), nn.ReLU()
        )
        self.block = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=bias),
            bn(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 1, bias=False),
            bn(8),
        )
        self.skip = nn.quantized.FloatFunctional()
        self.pool = nn.MaxPool2d(2)
        self.tail = nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=bias), nn.ReLU())
        if bias:
            self.average = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(12, 5, bias=bias)
        self.dequant = tq.DeQuantStub()
        self.seen = {}

    def see(self, name, x):
        self.seen[name] = x
        return x

    def forward(self, x):
        x = self.see("quant", self.quant(x))
        x = self.see("stem.0", self.stem(x))
        y = self.see("block.0", self.block[2](self.block[1](self.block[0](x))))
        y = self.see("block.3", self.block[4](self.block[3](y)))
        x = self.see("skip", self.skip.add(x, y))
        x = self.see("pool", self.pool(x))
        x = self.see("tail.0", self.tail(x))
        if hasattr(self, "average"):
            x = self.see("average", self.average(x)).flatten(1)
        else:
            x = self.see("mean", x.mean([2, 3]))
        x = self.see("fc", self.fc(x))
        return self.dequant(x)


def fill(model, generator, bias):
    """Random multiples of powers of two."""

    def draw(shape, largest):
        return torch.randint(-largest, largest + 1, shape, generator=generator).float()

    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            # Later layers have fewer bits left in the 24 of a float.
            largest, unit = {"block.0": (5, 4), "block.3": (3, 2), "tail.0": (1, 1), "fc": (5, 4)}.get(name, (7, 8))
            module.weight.data = draw(module.weight.shape, largest) / unit
            if module.bias is not None:
                module.bias.data = draw(module.bias.shape, 7) / 8
        elif isinstance(module, nn.BatchNorm2d):
            shape = module.weight.shape
            module.weight.data = 2.0 ** -torch.randint(2, shape, generator=generator).float()
            module.running_var.data = 4.0 ** torch.randint(2, shape, generator=generator) - EPS
            if bias:
                module.bias.data = draw(shape, 7) / 8
                module.running_mean.data = draw(shape, 7) / 8


# The layers with weights, and the values that they read.
LAYERS = {"stem.0": "quant", "block.0": "stem.0", "block.3": "block.0", "tail.0": "pool", "fc": None}


def integers(value):
    """The integers of a quantized tensor, channels last."""
    value = value.int_repr()
    return (value.permute(0, 2, 3, 1) if value.dim() == 4 else value).contiguous()


def unit(layer, scale):
    """What an accumulator unit of each output channel stands for."""
    return torch.tensor(scale) * layer.weight().q_per_channel_scales().float()


def check(model, key):
    """Asserts that the layer's outputs are what the formula gives, all of them."""
    layer, x, y = model.get_submodule(key), model.seen[LAYERS[key]], model.seen[key]
    values = (x.int_repr().double() - x.q_zero_point()).flatten(1 if key == "fc" else 3)
    weight, bias = layer.weight().int_repr().double(), layer.bias()
    if key == "fc":
        acc, shape = nn.functional.linear(values, weight), [-1]
    else:
        how = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}
        acc, shape = nn.functional.conv2d(values, weight, **how), [-1, 1, 1]
    units = unit(layer, x.q_scale())
    multiplier = (units / torch.tensor(y.q_scale())).reshape(shape)
    if bias is None:
        bias = torch.zeros_like(units)
    real = (acc.float() + (bias / units).reshape(shape)) * multiplier
    least = y.q_zero_point() if "ReLU" in type(layer).__name__ else 0
    expected = (real.round() + y.q_zero_point()).clamp(least, 255)
    assert torch.equal(expected, y.int_repr().float()), key


def round_bias(layer, scale):
    """Replaces the bias by the float nearest to a whole number of units."""
    units = unit(layer, scale)
    bias = (layer.bias().detach().double() / units.double()).round().float() * units
    layer.set_weight_bias(layer.weight(), bias)


def write(name, seed, bias):
    generator = torch.Generator().manual_seed(seed)
    model = Net(bias).eval()
    fill(model, generator, bias)

    def pictures(*batch):
        return torch.randint(-5, 6, (*batch, 3, SIDE, SIDE), generator=generator) / 4

    calibration = pictures(BATCHES, BATCH)
    # These meet integers only, so they may be any floats.
    images = torch.empty(8, 3, SIDE, SIDE).uniform_(-1.3, 1.3, generator=generator)
    tensors = {
        f"float.{key}": value.clone()
        for key, value in model.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    tensors |= {"calibration": calibration, "images": images}

    model.qconfig = tq.get_default_qconfig("fbgemm")
    tq.fuse_modules(
        model,
        [
            ["stem.0", "stem.1", "stem.2"],
            ["block.0", "block.1", "block.2"],
            ["block.3", "block.4"],
            ["tail.0", "tail.1"],
        ],
        inplace=True,
    )
    for batch in calibration:
        model.double()(batch.double())
        exact = dict(model.seen)
        model.float()(batch)
        for key, value in model.seen.items():
            assert torch.equal(value.double(), exact[key]), f"{key} is rounded in float"

    tq.prepare(model, inplace=True)
    for batch in calibration:
        model(batch)
    tq.convert(model, inplace=True)
    LAYERS["fc"] = "average" if bias else "mean"
    logits = model(images)

    tensors["logits"] = logits
    for key, value in model.seen.items():
        tensors[f"output.{key}"] = integers(value)
        tensors[f"scale.{key}"] = torch.tensor([value.q_scale()], dtype=torch.float64).float()
        tensors[f"zero_point.{key}"] = torch.tensor([value.q_zero_point()], dtype=torch.uint8)
    for key in LAYERS:
        weight = model.get_submodule(key).weight()
        assert not weight.q_per_channel_zero_points().any()
        tensors[f"weight.{key}"] = weight.int_repr().contiguous()
        tensors[f"weight_scale.{key}"] = weight.q_per_channel_scales().float()
        check(model, key)
    if bias:
        outputs = {key: integers(value) for key, value in model.seen.items()}
        for key, source in LAYERS.items():
            round_bias(model.get_submodule(key), model.seen[source].q_scale())
        model(images)
        for key, value in model.seen.items():
            tensors[f"rounded.{key}"] = integers(value)
            different = (tensors[f"rounded.{key}"] != outputs[key]).sum()
            print(f"{key}: rounding biases changes {different} of {outputs[key].numel()} values")
    metadata = {"torch": torch.__version__}
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, HERE / f"{name}.safetensors", metadata)


torch.backends.quantized.engine = "fbgemm"
with torch.no_grad():
    write("biased", 1, True)
    write("unbiased", 2, False)
