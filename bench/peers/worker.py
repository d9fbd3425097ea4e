"""Runs one runtime in its own process.

Loads the file and prints a line of JSON with the runtime's version and logits. Then reads lines from
stdin: `run N` runs the network N times and prints the milliseconds of each as a line of JSON;
anything else ends the process.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np


def onnxruntime(file: Path, threads: int, x: np.ndarray):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_free_dimension_override_by_name("N", x.shape[0])
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return ort.__version__, lambda: session.run(None, {"input": x})[0]


def openvino(file: Path, threads: int, x: np.ndarray):
    import openvino as ov

    core = ov.Core()
    model = core.read_model(file)
    model.reshape(list(x.shape))
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run():
        request.infer([x], share_inputs=True, share_outputs=True)
        return request.get_output_tensor().data

    return ov.__version__.split("-")[0], run


def litert(file: Path, threads: int, x: np.ndarray):
    from importlib.metadata import version

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=threads)
    interpreter.allocate_tensors()
    (put,), (get,) = interpreter.get_input_details(), interpreter.get_output_details()
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    if put["dtype"] == np.int8:  # the input of quantized files is int8, so quantizing it is not timed
        scale, zero_point = put["quantization"]
        x = np.clip(np.rint(x / scale) + zero_point, -128, 127).astype(np.int8)
    scale, zero_point = get["quantization"] if get["dtype"] == np.int8 else (1, 0)

    def run():
        interpreter.set_tensor(put["index"], x)
        interpreter.invoke()
        return (interpreter.get_tensor(get["index"]).astype(np.float32) - zero_point) * scale

    return version("ai-edge-litert"), run


def pytorch(file: Path, threads: int, x: np.ndarray):
    import torch

    torch.set_num_threads(threads)
    torch.backends.quantized.engine = "x86"  # packs the weights for FBGEMM or oneDNN, whichever is faster
    model = torch.jit.load(str(file)).eval()
    picture = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)

    def run():
        with torch.inference_mode():
            return model(picture).numpy()

    return torch.__version__.split("+")[0], run


PEERS = {"onnxruntime": onnxruntime, "openvino": openvino, "litert": litert, "pytorch": pytorch}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("file", type=Path)
    parser.add_argument("--input", type=Path, required=True, help=".npy file of the input [N, 3, H, W]")
    parser.add_argument("--threads", type=int, required=True, help="number of threads")
    args = parser.parse_args()
    answers = sys.stdout
    sys.stdout = sys.stderr
    x = np.load(args.input)
    version, run = PEERS[args.peer](args.file, args.threads, x)
    logits = np.array(run(), dtype=np.float32)
    print(json.dumps({"version": version, "logits": logits.ravel().tolist()}), file=answers, flush=True)
    for line in sys.stdin:
        command, *count = line.split()
        if command != "run":
            break
        times = []
        for _ in range(int(count[0])):
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1e3)
        print(json.dumps(times), file=answers, flush=True)


if __name__ == "__main__":
    main()
