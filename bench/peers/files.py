"""Creates the files that each runtime runs, and keeps them in a folder: ONNX, OpenVINO IR, TFLite, TorchScript."""

import hashlib
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

import networks
import pictures

CALIBRATION_PICTURES = 200


class Files:
    """Creates the files of one network when they are needed.

    Networks are quantized with each runtime's recommended settings for this kind of CPU, with
    per-channel weights and the same 200 calibration pictures: ONNX Runtime static QDQ with MinMax,
    NNCF's mixed preset with fast bias correction, PyTorch's 'fbgemm' qconfig in FX graph mode,
    LiteRT's static int8 recipe.
    """

    def __init__(self, name: str, weights: Path | None, train: Path | None, folder: Path, relu: bool = False):
        self.name, self.weights, self.train, self.relu = name, weights, train, relu
        key = [name, "relu" if relu else "default", weights.read_bytes() if weights else b"random", str(train)]
        digest = hashlib.sha256(b"\0".join(k if isinstance(k, bytes) else k.encode() for k in key))
        self.folder = folder / f"{name}-{digest.hexdigest()[:12]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pre = networks.preprocessing(name)

    def model(self) -> torch.nn.Module:
        return networks.build(self.name, self.weights, self.relu)

    def _make(self, file: str, make) -> Path:
        path = self.folder / file
        if not path.exists():
            print(f"  creating {path}", flush=True)
            temporary = path.with_name("new-" + path.name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # many deprecation warnings
                logging.getLogger("nncf").setLevel(logging.ERROR)
                make(temporary)
            if path.suffix == ".xml":
                os.replace(temporary.with_suffix(".bin"), path.with_suffix(".bin"))
            os.replace(temporary, path)
        return path

    def input(self, batch: int) -> np.ndarray:
        """Returns the input that is measured: calibration pictures, or noise if there are none."""
        if self.train is None:
            shape = (batch, 3, self.pre.size, self.pre.size)
            return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
        return self.calibration()[:batch]

    def calibration(self) -> np.ndarray:
        def make(path):
            if self.train is not None:
                data = pictures.calibration(self.train, self.pre, CALIBRATION_PICTURES)
            else:
                data = np.random.default_rng(1).standard_normal((32, 3, self.pre.size, self.pre.size), dtype=np.float32)
            with path.open("wb") as out:
                np.save(out, data)

        return np.load(self._make("calibration.npy", make), mmap_mode="r")

    def onnx(self, precision: str) -> Path:
        f32 = self._make("f32.onnx", lambda path: networks.export_onnx(self.model(), self.name, path))
        return f32 if precision == "f32" else self._make("int8.onnx", lambda path: self._onnx_int8(f32, path))

    def _onnx_int8(self, f32: Path, path: Path) -> None:
        from onnxruntime import quantization as q

        class Reader(q.CalibrationDataReader):
            def __init__(self, data):
                self.batches = iter(data)

            def get_next(self):
                picture = next(self.batches, None)
                return None if picture is None else {"input": picture[None]}

        q.quantize_static(
            str(f32),
            str(path),
            Reader(self.calibration()),
            quant_format=q.QuantFormat.QDQ,
            per_channel=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            calibrate_method=q.CalibrationMethod.MinMax,
        )

    def openvino(self, precision: str) -> Path:
        f32 = self.onnx("f32")
        return f32 if precision == "f32" else self._make("int8.xml", lambda path: self._openvino_int8(f32, path))

    def _openvino_int8(self, f32: Path, path: Path) -> None:
        import nncf
        import openvino

        data = self.calibration()
        quantized = nncf.quantize(
            openvino.Core().read_model(f32),
            nncf.Dataset([picture[None] for picture in data]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(data),
        )
        openvino.save_model(quantized, path, compress_to_fp16=False)

    def torch(self, precision: str) -> Path:
        return self._make(f"{precision}.torchscript", lambda path: self._torch(precision, path))

    def _torch(self, precision: str, path: Path) -> None:
        model = networks.with_explicit_padding(self.model(), self.pre.size)
        example = torch.zeros(1, 3, self.pre.size, self.pre.size)
        if precision == "f32":
            model = networks.fold_batch_norms(model).to(memory_format=torch.channels_last)
        else:
            from torch.ao.quantization import get_default_qconfig_mapping, quantize_fx

            torch.backends.quantized.engine = "fbgemm"
            observed = quantize_fx.prepare_fx(model, get_default_qconfig_mapping("fbgemm"), (example,))
            with torch.inference_mode():
                for batch in np.array_split(self.calibration(), 10):
                    observed(torch.from_numpy(np.array(batch)))
            model = quantize_fx.convert_fx(observed)
        with torch.inference_mode():
            torch.jit.freeze(torch.jit.trace(model, example.to(memory_format=torch.channels_last))).save(str(path))

    def torch_logits(self, x: np.ndarray) -> np.ndarray:
        """Returns the logits of PyTorch's float model for `x`, with which all runtimes are compared."""
        with torch.inference_mode():
            return self.model()(torch.from_numpy(x)).numpy().ravel()

    def tflite(self, precision: str, batch: int) -> Path:
        """Returns the TFLite file. Needs the second environment that `setup --tflite` creates, at
        POSTERIZE_TFLITE_PYTHON or beside this one."""
        python = tflite_python()
        if python is None:
            raise FileNotFoundError("found no environment with the LiteRT converter; run ./setup --tflite")

        def make(path):
            command = [python, Path(__file__).with_name("convert_tflite.py"), self.name, path, "--batch", batch]
            command += ["--weights", self.weights] if self.weights else []
            command += ["--relu"] if self.relu else []
            if precision == "int8":
                self.calibration()
                command += ["--calibration", self.folder / "calibration.npy"]
            done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
            if done.returncode != 0 or not path.exists():
                raise RuntimeError("convert_tflite.py failed:\n" + done.stderr[-2000:])

        return self._make(f"{precision}-batch{batch}.tflite", make)


def tflite_python() -> Path | None:
    """Returns the Python of the environment that can convert to TFLite, if there is one."""
    named = os.environ.get("POSTERIZE_TFLITE_PYTHON")
    beside = Path(sys.prefix).with_name(Path(sys.prefix).name + "-tflite") / "bin" / "python"
    found = Path(named) if named else beside
    return found if found.exists() else None
