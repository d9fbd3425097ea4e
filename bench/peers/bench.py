"""Measures posterize, ONNX Runtime, OpenVINO, LiteRT and PyTorch alternately on the same network.

Each of the other runtimes ("peers") is a process that loads its file once. In every round each of
them runs for a moment while the others are stopped, and so does `posterize bench`. Ratios are
computed within a round, so that a slow moment of the machine affects both times. Times are
milliseconds per picture.

    python bench.py --network tf_mobilenet_v2 --weights W.pth --threads 1 --batch 1
    python bench.py --network tf_mobilenet_v2 --weights W.pth --precision int8 \\
        --calibrate imagenet_1k/train --posterize-file mobilenet.int8.safetensors
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import networks
from files import Files
from worker import PEERS

ROOT = Path(__file__).resolve().parents[2]
LABELS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "litert": "LiteRT", "pytorch": "PyTorch"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=sorted(networks.NETWORKS), default="tf_mobilenet_v2")
    parser.add_argument("--weights", type=Path, help="checkpoint with a state dict [default: random weights]")
    parser.add_argument("--precision", choices=["f32", "int8"], default="f32")
    parser.add_argument("--threads", type=int, default=1, help="number of threads of each runtime")
    parser.add_argument("--batch", type=int, default=1, help="number of pictures in a batch")
    parser.add_argument("--calibrate", type=Path, help="folder of calibration pictures for int8 [default: noise]")
    parser.add_argument("--posterize", type=Path, default=ROOT / "target/release/posterize", help="posterize's binary")
    parser.add_argument("--posterize-file", type=Path, help="file that `posterize quantize` wrote; needed for int8")
    parser.add_argument("--peers", default=",".join(PEERS), help="other runtimes to measure [default: %(default)s]")
    parser.add_argument("--onednn-isa", metavar="ISA", help="instruction set of OpenVINO and PyTorch: AVX2 or AVX512_CORE_VNNI [default: the best, including AMX]")
    parser.add_argument("--rounds", type=int, default=7, help="number of rounds")
    parser.add_argument("--seconds", type=float, default=0.4, help="time of each runtime in each round")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "posterize-peers", help="folder for the models' files")
    parser.add_argument("--prepare", action="store_true", help="only create the models' files")
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    return parser.parse_args()


def peer_file(files: Files, peer: str, precision: str, batch: int) -> Path:
    """Returns the file that a peer runs, and creates it if it does not exist."""
    if peer == "onnxruntime":
        return files.onnx(precision)
    if peer == "openvino":
        return files.openvino(precision)
    if peer == "litert":
        return files.tflite(precision, batch)
    return files.torch(precision)


class Worker:
    """The process of a peer, which is stopped except during its turn."""

    def __init__(self, peer: str, file: Path, picture: Path, args: argparse.Namespace):
        self.label = LABELS[peer]
        environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "OMP_WAIT_POLICY": "passive"}
        if args.onednn_isa:
            environment["ONEDNN_MAX_CPU_ISA"] = args.onednn_isa
        command = [sys.executable, Path(__file__).with_name("worker.py"), peer, file, "--input", picture]
        self.process = subprocess.Popen(
            [str(c) for c in command] + ["--threads", str(args.threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.process.stderr.read()[-800:])
        first = json.loads(line)
        self.version, self.logits = first["version"], np.array(first["logits"])
        self.batch = args.batch
        self.rounds = []
        times = self.ask(3)
        self.count = max(3, round(args.seconds * 1e3 / statistics.median(times)))
        self.ask(self.count)
        self.stop()

    def ask(self, count: int) -> list[float]:
        self.process.stdin.write(f"run {count}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def turn(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.ask(2)
        self.rounds.append([t / self.batch for t in self.ask(self.count)])
        self.stop()

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()

    def summary(self) -> dict:
        every = [t for r in self.rounds for t in r]
        medians = [statistics.median(r) for r in self.rounds]
        return {"name": self.label, "version": self.version, "median_ms": statistics.median(medians),
                "min_ms": min(every), "rounds_ms": medians}


class Posterize:
    """Runs `posterize bench`, as a new process in every round."""

    label = "posterize"

    def __init__(self, args: argparse.Namespace):
        self.command = [args.posterize, "bench"]
        if args.precision == "int8":
            self.command += [args.posterize_file]
        else:
            self.command += [args.network]
            self.command += ["--weights", args.weights] if args.weights else []
        self.command += ["--threads", args.threads, "--batch", args.batch, "--json"]
        version = subprocess.run([args.posterize, "--version"], capture_output=True, text=True).stdout.split()
        if not version:
            raise RuntimeError(f"{args.posterize} --version prints nothing; expected a posterize binary")
        self.version = version[-1]
        self.rounds = []
        self.minimum = float("inf")
        per_run = self.once(10)["median_ms"] * args.batch
        self.count = max(10, round(args.seconds * 1e3 / per_run))

    def once(self, runs: int) -> dict:
        command = [str(c) for c in self.command] + ["--runs", str(runs)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-800:]}")
        return json.loads(done.stdout)

    def turn(self) -> None:
        result = self.once(self.count)
        self.rounds.append(result["median_ms"])
        self.minimum = min(self.minimum, result["min_ms"])

    def end(self) -> None:
        pass

    def summary(self) -> dict:
        return {"name": self.label, "version": self.version, "median_ms": statistics.median(self.rounds),
                "min_ms": self.minimum, "rounds_ms": self.rounds}


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def cpu() -> str:
    """Returns the processor's name and those of its extensions that are relevant for int8."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    extensions = [e for e in ("amx_int8", "avx512_vnni", "avx_vnni", "avx2") if e in facts.get("flags", "").split()]
    return " ".join([facts.get("model name", platform.processor()), *extensions])


def main() -> None:
    args = arguments()
    files = Files(args.network, args.weights, args.calibrate, args.cache)
    prepared, absent = {}, {}
    for peer in args.peers.split(","):
        try:
            prepared[peer] = peer_file(files, peer, args.precision, args.batch)
        except (FileNotFoundError, RuntimeError) as problem:
            absent[LABELS[peer]] = str(problem).strip()
    picture = files.folder / f"input-batch{args.batch}.npy"
    np.save(picture, files.input(args.batch))
    if args.prepare:
        for name, why in absent.items():
            print(f"{name}: not available: {why}")
        return

    sides = []
    try:
        for peer, file in prepared.items():
            try:
                sides.append(Worker(peer, file, picture, args))
            except RuntimeError as problem:
                absent[LABELS[peer]] = str(problem).strip()
        if shutil.which(args.posterize) is None:
            absent["posterize"] = f"{args.posterize} does not exist; run `cargo build --release`"
        elif args.precision == "int8" and args.posterize_file is None:
            absent["posterize"] = "int8 needs --posterize-file FILE, which `posterize quantize` writes"
        else:
            try:
                sides.append(Posterize(args))
            except RuntimeError as problem:
                absent["posterize"] = str(problem).strip()
        for round_number in range(args.rounds):
            for side in sides if round_number % 2 == 0 else reversed(sides):
                side.turn()
    finally:
        for side in sides:
            side.end()

    reference = files.torch_logits(np.load(picture))
    rows = []
    ours = next((s for s in sides if isinstance(s, Posterize)), None)
    ours = ours.summary() if ours else None
    for side in sides:
        row = side.summary()
        if isinstance(side, Worker):
            row["cosine"] = cosine(side.logits, reference)
            if ours:
                row["ours_over_theirs"] = statistics.median(a / b for a, b in zip(ours["rounds_ms"], row["rounds_ms"]))
        rows.append(row)
    result = {
        "network": args.network, "precision": args.precision, "threads": args.threads, "batch": args.batch,
        "cpu": cpu(), "onednn_isa": args.onednn_isa, "rounds": args.rounds, "results": sorted(rows, key=lambda r: r["median_ms"]), "not_available": absent,
    }

    print(f"{args.network}, {args.precision}, {args.threads} thread(s), batch {args.batch}, {result['cpu']}")
    if args.onednn_isa:
        print(f"OpenVINO and PyTorch are restricted to {args.onednn_isa}")
    print(f"{'':13} {'version':>10} {'median ms':>10} {'min ms':>8} {'posterize/it':>13} {'cosine':>8}")
    for row in result["results"]:
        ratio = f"{row['ours_over_theirs']:.2f}" if "ours_over_theirs" in row else "-"
        similarity = f"{row['cosine']:.4f}" if "cosine" in row else "-"
        print(f"{row['name']:13} {row['version']:>10} {row['median_ms']:10.3f} {row['min_ms']:8.3f} {ratio:>13} {similarity:>8}")
    for name, why in absent.items():
        print(f"{name}: not available: {why.splitlines()[-1]}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
