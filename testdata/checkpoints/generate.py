#!/usr/bin/env python3
"""Writes the checkpoints of this folder with real PyTorch, safetensors and Python's pickle.

    pip install torch numpy safetensors && python generate.py

The tests in crates/posterize/tests/checkpoint.rs compute the expected values by the formulas used
here. Hostile files are written, never loaded.
"""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

HERE = Path(__file__).parent


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 2, bias=False)
        self.bn = nn.BatchNorm2d(2)


class Bare(nn.Module):
    """No layer of PyTorch's: the legacy format would put its source into the file."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))


def net():
    """conv.weight counts from -1 in eighths; the batch norm was trained for 7 steps."""
    model = Net()
    state = OrderedDict()
    state["conv.weight"] = torch.arange(24).reshape(2, 3, 2, 2) / 8 - 1
    state["bn.weight"] = torch.tensor([1.5, -0.0])
    state["bn.bias"] = torch.tensor([1e-45, -3.4028234663852886e38])
    state["bn.running_mean"] = torch.tensor([0.1, 0.2])
    state["bn.running_var"] = torch.tensor([0.3, 0.4])
    state["bn.num_batches_tracked"] = torch.tensor(7)
    model.load_state_dict(state)
    return model


def legacy(obj, name, **kwargs):
    torch.save(obj, HERE / name, _use_new_zipfile_serialization=False, **kwargs)


class Hostile:
    def __reduce__(self):
        return os.system, ("echo this must never be printed",)


def deflate(source, target):
    with zipfile.ZipFile(source) as stored, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
        for name in stored.namelist():
            out.writestr(zipfile.ZipInfo(name), stored.read(name), zipfile.ZIP_DEFLATED)


def main():
    model = net()
    state = model.state_dict()
    torch.save(state, HERE / "zip.pth")
    torch.save(state, HERE / "zip_protocol4.pth", pickle_protocol=4)
    legacy(state, "legacy.pth")
    legacy(state, "legacy_protocol4.pth", pickle_protocol=4)
    save_file(state, HERE / "weights.safetensors")
    deflate(HERE / "zip.pth", HERE / "deflated.pth")
    torch.serialization.set_crc32_options(False)
    torch.save(state, HERE / "no_checksums.pth")
    torch.serialization.set_crc32_options(True)

    # Wrappers: of modules and of training scripts.
    parallel = nn.DataParallel(model).state_dict()
    torch.save(parallel, HERE / "data_parallel.pth")
    optimizer = torch.optim.Adam(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    model.load_state_dict(net().state_dict())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3])
    training = {
        "epoch": 3,
        "arch": "net",
        "best_acc1": torch.tensor(71.5),
        "classes": ["cat", "dog"],
        "size": torch.Size([224, 224]),
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "tags": {"a", "b"},
        "blob": b"\x00\xff",
        "state_dict": parallel,
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
    }
    torch.save(training, HERE / "training.pth")
    legacy(training, "training_legacy.pth")
    average = torch.optim.swa_utils.AveragedModel(model).state_dict()
    other = {name: torch.zeros_like(value) for name, value in state.items()}
    torch.save({"model_ema": other, "model": state}, HERE / "model_and_ema.pth")
    torch.save({"model_ema": average, "epoch": 1}, HERE / "ema.pth")
    torch.save({"ema": {"module": {"model_state_dict": state}}}, HERE / "nested.pth")
    torch.save({"generator": {"w": torch.ones(1)}, "steps": 5}, HERE / "unknown_wrapper.pth")
    beside = {"model_weights": {"w": torch.ones(1)}, "mean": torch.ones(3)}
    torch.save(beside, HERE / "tensor_beside_unknown_key.pth")

    # Element types.
    floats = torch.tensor([0.0, -1.5, 65504.0, 6e-8, float("inf"), float("-inf"), float("nan"), 0.1])
    numbers = torch.tensor([0, 1, -2, 127])
    types = {
        "f16": floats.half(),
        "bf16": floats.bfloat16(),
        "f32": floats,
        "f64": floats.double() / 3,
        "i8": numbers.to(torch.int8),
        "i16": (numbers * 256).to(torch.int16),
        "i32": (numbers << 24).to(torch.int32),
        "i64": numbers << 56,
        "u8": torch.tensor([0, 1, 128, 255], dtype=torch.uint8),
        "u16": torch.tensor([0, 1, 65535], dtype=torch.uint16),
        "u32": torch.tensor([0, 1, 4294967295], dtype=torch.uint32),
        "u64": torch.tensor([0, 1, 9223372036854775807], dtype=torch.uint64),
        "bool": torch.tensor([True, False, True]),
    }
    torch.save(types, HERE / "types.pth")
    save_file(types, HERE / "types.safetensors")
    types.pop("u16"), types.pop("u32"), types.pop("u64")
    legacy(types, "types_legacy.pth")
    torch.save({"x": torch.ones(2, dtype=torch.complex64)}, HERE / "complex.pth")

    # Views of one storage that counts from 0, and tensors of odd shapes.
    count = torch.arange(120.0)
    tied = torch.arange(6.0)
    views = {
        "all": count,
        "transposed": count[:12].reshape(3, 4).t(),
        "slice": count.reshape(10, 12)[1::3, 2:9:2],
        "channels_last": count.reshape(2, 5, 4, 3).permute(0, 3, 1, 2),
        "legacy_conv": count[:24].reshape(2, 2, 3, 2).permute(3, 2, 0, 1),
        "pointwise": count[:12].reshape(4, 3).t().reshape(3, 4, 1, 1),
        "offset": count[7:9],
        "expanded": count[5:7].reshape(2, 1).expand(2, 3),
        "scalar": count[11],
        "empty": torch.empty(0, 3),
        "tied.a": tied,
        "tied.b": tied,
    }
    torch.save(views, HERE / "views.pth")
    legacy(views, "views_legacy.pth")

    # nn.Parameter itself, plain and with an attribute of its own.
    plain = nn.Parameter(torch.tensor([1.0, 2.0]))
    marked = nn.Parameter(torch.tensor([3.0]))
    marked.mark = "decay"
    attributed = torch.tensor([4.0])
    attributed.mark = [1, 2]
    parameters = {"plain": plain, "marked": marked, "attributed": attributed}
    torch.save(parameters, HERE / "parameters.pth")
    legacy(parameters, "parameters_legacy.pth")

    # What is refused.
    torch.save(model, HERE / "whole_model.pth")
    legacy(Bare(), "whole_model_legacy.pth")
    quantized = torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8)
    torch.save({"x": quantized}, HERE / "quantized.pth")
    torch.save({"state_dict": state, "extra": Hostile()}, HERE / "hostile.pth")
    legacy({"state_dict": state, "extra": Hostile()}, "hostile_legacy.pth")
    (HERE / "hostile_protocol0.pth").write_bytes(pickle.dumps(Hostile(), protocol=0))
    (HERE / "hostile_protocol5.pth").write_bytes(pickle.dumps(Hostile(), protocol=5))
    (HERE / "pickle_dump.pth").write_bytes(pickle.dumps(state))
    torch.save(torch.ones(2), HERE / "tensor.pth")
    torch.save(list(model.parameters()), HERE / "list.pth")
    torch.save(OrderedDict(), HERE / "empty.pth")


if __name__ == "__main__":
    main()
