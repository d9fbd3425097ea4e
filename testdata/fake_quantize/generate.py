"""Writes goldens.json: what PyTorch's FakeQuantize does, step by step.

    python testdata/fake_quantize/generate.py        # any PyTorch 2.15 with CPU support
"""

import json
import warnings
from pathlib import Path

import torch
from torch.ao.quantization import observer as ao
from torch.ao.quantization.fake_quantize import FakeQuantize

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
torch.manual_seed(20261123)


def floats(tensor):
    """The shortest decimals that are these f32."""
    return [float(f"{x:.9g}") for x in tensor.flatten().tolist()]


def functional():
    """One call each of fake_quantize_per_tensor_affine and _per_channel_affine, with gradients."""
    cases = []
    for scale, zero_point, quant_min, quant_max in [
        (0.5, 0, 0, 255),
        (0.25, 3, 0, 255),
        (0.1, 128, 0, 255),
        (0.007, 64, 0, 127),
        (0.3, 0, -128, 127),
        (1e-6, -5, -64, 63),
        (12345.678, 0, -127, 127),
        (0.00214854861, 0, 0, 255),
    ]:
        q = torch.arange(-6, 6)
        x = torch.cat([
            torch.randn(24) * (quant_max - quant_min) * scale,
            (q + 0.5) * scale,  # halfway
            (torch.tensor([quant_min, quant_max]).repeat(3) - zero_point + torch.tensor([0, 0, 0.5, 0.5, -0.5, -0.5])) * scale,
            torch.tensor([0.0, 1e30, -1e30, 1e10, -1e10, 0.273939937]),
        ])
        x.requires_grad_(True)
        y = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, quant_min, quant_max)
        y.sum().backward()
        cases.append(dict(
            scales=floats(torch.tensor([scale])), zero_points=[zero_point], axis=None,
            quant_range=[quant_min, quant_max], shape=list(x.shape),
            x=floats(x), y=floats(y), mask=x.grad.int().tolist(),
        ))
    for shape, axis in [((3, 4, 2), 0), ((3, 4, 2), 1), ((5, 3), 1), ((2, 2, 2, 3), 3)]:
        channels = shape[axis]
        scale = torch.rand(channels) * 0.1 + 0.01
        zero_point = torch.randint(-20, 20, (channels,), dtype=torch.int32)
        x = (torch.randn(shape) * 4).requires_grad_(True)
        y = torch.fake_quantize_per_channel_affine(x, scale, zero_point, axis, -128, 127)
        y.sum().backward()
        cases.append(dict(
            scales=floats(scale), zero_points=zero_point.tolist(), axis=axis,
            quant_range=[-128, 127], shape=list(shape),
            x=floats(x), y=floats(y), mask=x.grad.int().flatten().tolist(),
        ))
    return cases


def modules():
    """FakeQuantize over seven batches, its switches thrown on the way."""
    cases = []
    affine = dict(observer=ao.MovingAverageMinMaxObserver, quant_min=0, quant_max=255, dtype=torch.quint8)
    weight = dict(quant_min=-128, quant_max=127, dtype=torch.qint8)
    for name, arguments, spec in [
        ("fbgemm activation", dict(affine, reduce_range=True),
         dict(kind="moving_average_min_max", dtype="quint8", qscheme="per_tensor_affine", quant_range=[0, 255], reduce_range=True)),
        ("8-bit activation", affine,
         dict(kind="moving_average_min_max", dtype="quint8", qscheme="per_tensor_affine")),
        ("min max", dict(observer=ao.MinMaxObserver, dtype=torch.quint8),
         dict(kind="min_max", dtype="quint8", qscheme="per_tensor_affine")),
        ("per-tensor weight", dict(weight, observer=ao.MovingAverageMinMaxObserver, qscheme=torch.per_tensor_symmetric),
         dict(kind="moving_average_min_max", dtype="qint8", qscheme="per_tensor_symmetric")),
        ("per-channel weight", dict(weight, observer=ao.MovingAveragePerChannelMinMaxObserver, qscheme=torch.per_channel_symmetric, ch_axis=0),
         dict(kind="moving_average_per_channel_min_max", dtype="qint8", qscheme="per_channel_symmetric")),
    ]:
        module, steps = FakeQuantize(**arguments), []
        for step in range(7):
            module.enable_observer(step not in (3, 6))
            module.enable_fake_quant(step not in (0, 4))
            x = (torch.randn(3, 6) * (1 + step) + 0.3 * step).requires_grad_(True)
            y = module(x)
            y.sum().backward()
            steps.append(dict(
                observer_enabled=bool(module.observer_enabled[0]),
                fake_quant_enabled=bool(module.fake_quant_enabled[0]),
                x=floats(x), y=floats(y), mask=x.grad.int().flatten().tolist(),
                scales=floats(module.scale), zero_points=module.zero_point.tolist(),
            ))
        cases.append(dict(name=name, spec=spec, shape=[3, 6], steps=steps))
    return cases


def lines(cases):
    return ",\n".join(json.dumps(case) for case in cases)


path = Path(__file__).with_name("goldens.json")
path.write_text(f'{{"torch": "{torch.__version__}",\n"functional": [\n{lines(functional())}],\n"modules": [\n{lines(modules())}]}}\n')
