"""Resizes pictures with the filters of torchvision's InterpolationMode.

    python testdata/preprocess/interpolation.py

reads pictures/ and writes interpolation.safetensors beside this file. The tensor `NAME@FILTER@RESIZE`
is the 8-bit centre crop, [24, 24, 3], of the picture whose shorter side was resized to RESIZE, as
torchvision's Resize(RESIZE, FILTER) and CenterCrop(24) make it of a Pillow image.
Needs Pillow 13 or later.
"""

import json
import pathlib
import struct

import PIL
from PIL import Image

HERE = pathlib.Path(__file__).parent
NAMES = ["tall.png", "tall_barely.png", "large.jpg"]
SIZES = [25, 56, 150]
FILTERS = ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
CROP = 24


def crop(image, resize, resample):
    width, height = image.size
    short, long = min(width, height), max(width, height)
    long = int(resize * long / short)
    size = (resize, long) if width <= height else (long, resize)
    image = image.resize(size, resample)
    left, top = (int(round((side - CROP) / 2.0)) for side in size)
    return image.crop((left, top, left + CROP, top + CROP))


def main():
    assert int(PIL.__version__.split(".")[0]) >= 13, PIL.__version__
    header, body = {}, b""
    for name in NAMES:
        image = Image.open(HERE / "pictures" / name).convert("RGB")
        for filter in FILTERS:
            resample = Image.Resampling[filter.upper()]
            for resize in SIZES:
                data = crop(image, resize, resample).tobytes()
                header[f"{name}@{filter}@{resize}"] = {
                    "dtype": "U8",
                    "shape": [CROP, CROP, 3],
                    "data_offsets": [len(body), len(body) + len(data)],
                }
                body += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    (HERE / "interpolation.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)


if __name__ == "__main__":
    main()
