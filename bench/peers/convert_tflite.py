"""Converts a network to TFLite with litert-torch.

It runs in its own environment, because litert-torch pins another version of torch. The input is
channels-last, as XNNPACK needs it. --calibration quantizes to int8 with the static recipe of
ai-edge-quantizer (int8 activations, per-channel int8 weights).
"""

import argparse
from pathlib import Path

import litert_torch
import numpy as np
import torch

import networks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=sorted(networks.NETWORKS))
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--weights", type=Path, help="checkpoint with a state dict [default: random weights]")
    parser.add_argument("--relu", action="store_true", help="use ReLU instead of ReLU6 (the MobileNets)")
    parser.add_argument("--batch", type=int, default=1, help="number of pictures in a batch")
    parser.add_argument("--calibration", type=Path, help=".npy file of calibration pictures [N, 3, H, W]; quantizes to int8")
    args = parser.parse_args()
    size = networks.preprocessing(args.network).size
    model = networks.with_explicit_padding(networks.build(args.network, args.weights, args.relu), size)
    example = (torch.zeros(args.batch, size, size, 3),)
    converted = litert_torch.convert(litert_torch.to_channel_last_io(model, args=[0]).eval(), example)
    if args.calibration is None:
        converted.export(str(args.out))
        return
    f32 = args.out.with_suffix(".f32.tflite")
    converted.export(str(f32))

    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    runner = Interpreter(model_path=str(f32))
    (key,) = runner.get_signature_list()
    (name,) = runner.get_signature_list()[key]["inputs"]
    data = np.load(args.calibration, mmap_mode="r").transpose(0, 2, 3, 1)
    batches = [np.ascontiguousarray(np.resize(data[i : i + args.batch], (args.batch, size, size, 3)))
               for i in range(0, len(data), args.batch)]
    quantize = quantizer.Quantizer(str(f32), recipe.static_wi8_ai8())
    result = quantize.calibrate({key: [{name: batch} for batch in batches]})
    quantize.quantize(result).export_model(str(args.out))
    f32.unlink()


if __name__ == "__main__":
    main()
