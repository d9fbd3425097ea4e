"""Measures top-1 and top-5 on a folder of pictures with torchvision and PyTorch, and the time in seconds.

For comparison with `posterize evaluate`: decoding, resizing and the network, on the same cores. The
time is measured from opening the first file to the last result, without importing modules and
loading the network, as `seconds` of `posterize evaluate --json`.

    python evaluate_torchvision.py tf_mobilenet_v2 --weights W.pth --data imagenet_1k/val --sweep
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

import networks
from pictures import Pictures


def evaluate(model, data: Pictures, batch_size: int, threads: int, workers: int) -> dict:
    """Runs once over `data`, with `threads` for the network and `workers` processes that decode (0: none)."""
    torch.set_num_threads(threads)
    loader = torch.utils.data.DataLoader(data, batch_size, num_workers=workers)
    start = time.perf_counter()
    in_model, top1, top5 = 0.0, 0, 0
    with torch.inference_mode():
        for images, labels in loader:
            began = time.perf_counter()
            logits = model(images.contiguous(memory_format=torch.channels_last))
            in_model += time.perf_counter() - began
            hits = logits.topk(5).indices == labels[:, None]
            top1 += int(hits[:, 0].sum())
            top5 += int(hits.sum())
    seconds = time.perf_counter() - start
    return {
        "workers": workers, "threads": threads, "batch_size": batch_size, "images": len(data), "seconds": seconds,
        "ms_per_image": in_model * 1e3 / len(data), "top1": top1 * 100 / len(data), "top5": top5 * 100 / len(data),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=sorted(networks.NETWORKS))
    parser.add_argument("--weights", type=Path, required=True, help="checkpoint with a state dict")
    parser.add_argument("--relu", action="store_true", help="use ReLU instead of ReLU6 (the MobileNets)")
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures, with one folder in it for each class")
    parser.add_argument("--classes", type=Path, help="file with one line for each class [default: the sorted folders]")
    parser.add_argument("--limit", type=int, help="evaluate only the first pictures")
    parser.add_argument("--batch-size", type=int, default=30, help="number of pictures in a batch")
    parser.add_argument("--threads", type=int, default=2, help="number of threads of the network")
    parser.add_argument("--workers", type=int, default=2, help="number of processes that decode; 0 to decode in this one")
    parser.add_argument("--sweep", action="store_true", help="try several numbers of workers and threads, and print the fastest last")
    parser.add_argument("--no-fold", action="store_true", help="do not fold batch norms into convolutions")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    data = Pictures(args.data, networks.preprocessing(args.network), args.classes, args.limit)
    model = networks.build(args.network, args.weights, args.relu)
    if not args.no_fold:
        size = networks.preprocessing(args.network).size
        model = networks.fold_batch_norms(networks.with_explicit_padding(model, size))
    model = model.to(memory_format=torch.channels_last)
    settings = [(0, 2), (1, 1), (1, 2), (2, 1), (2, 2)] if args.sweep else [(args.workers, args.threads)]
    results = []
    for workers, threads in settings:
        results.append(evaluate(model, data, args.batch_size, threads, workers))
        if not args.json:
            print("  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in results[-1].items()), flush=True)
    best = min(results, key=lambda r: r["seconds"])
    if args.json:
        print(json.dumps(best))
    elif len(results) > 1:
        print(f"fastest: {best['seconds']:.2f} s with {best['workers']} workers, {best['threads']} threads")


if __name__ == "__main__":
    main()
