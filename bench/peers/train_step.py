"""Times one training step of MobileNetV2, ours and PyTorch's, in turns in one run.

Quantization-aware training: PyTorch's eager mode (torchvision's quantizable MobileNetV2 with ReLU,
fused for QAT, `get_default_qat_qconfig("fbgemm")`) against ours with the same qconfig. Float
training: torchvision's MobileNetV2 with ReLU6 in channels-last memory format against ours. SGD, a
batch of 224x224 pictures.

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
    """A function that runs one step."""
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
    """The same conversation as the example `train_step`'s."""
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
        # Threads that spin while they wait would slow whoever is measured next.
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
    parser.add_argument("--batch", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", choices=["qat", "float"], default=["qat", "float"])
    parser.add_argument("--model", default="tf_mobilenet_v2", help="ours")
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
            worker.ask("run 1")  # memory is laid out
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
