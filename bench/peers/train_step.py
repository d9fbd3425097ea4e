"""Measures one training step of MobileNetV2 in posterize and PyTorch, alternately.

Quantization-aware training compares PyTorch's eager mode (torchvision's quantizable MobileNetV2 with
ReLU, fused for QAT, `get_default_qat_qconfig("fbgemm")`) with posterize and the same qconfig. Float
training compares torchvision's MobileNetV2 with ReLU6 in channels-last memory format with posterize.
Both use SGD and a batch of 224x224 pictures.

    cargo build --release -p posterize --example train_step
    python bench/peers/train_step.py [--batch 30] [--threads 2] [--rounds 5]
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def pytorch(kind: str, batch: int, threads: int):
    """Returns a function that runs one step in PyTorch."""
    import warnings

    import torch
    import torchvision
    from torch.ao import quantization

    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x = torch.randn(batch, 3, 224, 224)
    y = torch.arange(batch)
    if kind == "qat":
        model = torchvision.models.quantization.mobilenet_v2(weights=None, quantize=False).train()
        model.fuse_model(is_qat=True)
        model.qconfig = quantization.get_default_qat_qconfig("fbgemm")
        quantization.prepare_qat(model, inplace=True)
    else:
        model = torchvision.models.mobilenet_v2(weights=None).train()
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    loss = torch.nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()

    return step


def work(kind: str, batch: int, threads: int) -> None:
    """Reads commands from stdin and answers them, as posterize's example `train_step` does."""
    step = pytorch(kind, batch, threads)
    for line in sys.stdin:
        command, *count = line.split()
        if command == "memory":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)
        elif command == "run":
            times = []
            for _ in range(int(count[0])):
                start = time.perf_counter()
                step()
                times.append(round((time.perf_counter() - start) * 1e3, 1))
            print(json.dumps(times), flush=True)
        else:
            break


class Worker:
    def __init__(self, command: list[str]):
        # Threads that spin while they wait would slow down the process that is measured next.
        environment = dict(os.environ, OMP_WAIT_POLICY="passive")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, line: str):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=30, help="number of pictures in a batch")
    parser.add_argument("--threads", type=int, default=2, help="number of threads")
    parser.add_argument("--rounds", type=int, default=5, help="number of timed steps of each")
    parser.add_argument("--kinds", nargs="+", choices=["qat", "float"], default=["qat", "float"], help="kinds of training")
    parser.add_argument("--model", default="tf_mobilenet_v2", help="posterize's model")
    parser.add_argument("--worker", choices=["qat", "float"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.batch, args.threads)
        return
    binary = ROOT / "target/release/examples/train_step"
    numbers = [str(args.batch), str(args.threads)]
    for kind in args.kinds:
        theirs = [sys.executable, __file__, "--worker", kind, "--batch", numbers[0], "--threads", numbers[1]]
        workers = {
            "posterize": Worker([str(binary), args.model, kind, *numbers]),
            "pytorch": Worker(theirs),
        }
        for worker in workers.values():
            worker.ask("run 1")  # the first step allocates memory
        times = {name: [] for name in workers}
        for _ in range(args.rounds):
            for name, worker in workers.items():
                times[name] += worker.ask("run 1")
        medians = {name: statistics.median(some) for name, some in times.items()}
        result = {
            "step": kind,
            "batch": args.batch,
            "threads": args.threads,
            "milliseconds": medians,
            "least": {name: min(some) for name, some in times.items()},
            "ratio": round(medians["posterize"] / medians["pytorch"], 3),
            "peak_memory_mib": {name: worker.ask("memory") for name, worker in workers.items()},
        }
        print(json.dumps(result), flush=True)
        for worker in workers.values():
            worker.process.stdin.close()


if __name__ == "__main__":
    main()
