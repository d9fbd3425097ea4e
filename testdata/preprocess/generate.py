"""Makes awkward pictures and what Pillow and torchvision make of them.

    python testdata/preprocess/generate.py

writes pictures/ and expected.safetensors beside this file. A picture's tensor is the 8-bit crop,
[H, W, 3], of Resize(56) and CenterCrop(48); a suffix to the name says otherwise:
`@224` Resize(256) and CenterCrop(224), `@padded` Resize(24) and CenterCrop(33),
`@f32` the normalised values, `@part` and `@flipped` resized_crop and hflip.
Needs Pillow 13 or later (it changed the order of the resize passes) and torchvision.
"""

import io
import json
import pathlib
import struct
import zlib

import numpy as np
import torchvision.transforms as T
import torchvision.transforms.functional as F
from PIL import Image

HERE = pathlib.Path(__file__).parent
PICTURES = HERE / "pictures"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def scene(width, height, seed=0):
    """Smooth colours, hard edges and some grain, so that every stage has something to get wrong."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    u, v = x / max(width - 1, 1), y / max(height - 1, 1)
    rgb = np.stack([255 * u, 255 * v, 127 + 120 * np.sin(9 * u + 5 * v + seed)], axis=-1)
    rgb[(u - 0.6) ** 2 + (v - 0.4) ** 2 < 0.04] = [250, 10, 20]
    rgb[np.abs(u - v) < 0.03] = [0, 0, 255]
    rgb += np.random.default_rng(seed).normal(0, 4, rgb.shape)
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


def jpeg(image, **options):
    data = io.BytesIO()
    image.save(data, "JPEG", **{"quality": 80, **options})
    return data.getvalue()


def png(image, **options):
    data = io.BytesIO()
    image.save(data, "PNG", **options)
    return data.getvalue()


def saved(image, kind, **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def segments(data):
    """The segments of a JPEG up to its first scan, and the rest."""
    at, found = 2, []
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found.append(data[at:end])
        at = end
    return found, data[at:]


def patched(data, change):
    """A JPEG whose header segments `change` turns into others (b"" drops one)."""
    head, rest = segments(data)
    return data[:2] + b"".join(change(bytearray(s)) for s in head) + rest


def adobe_transform(value):
    def change(segment):
        if segment[1] == 0xEE:
            segment[15] = value
        return segment

    return change


def without_adobe(segment):
    return b"" if segment[1] == 0xEE else segment


def luma_sampling(factors, size):
    """Reads the same blocks as another arrangement: Pillow writes no 4:1:1 and no 4:4:0 itself."""

    def change(segment):
        if segment[1] == 0xC0:
            segment[5:9] = struct.pack(">HH", size[1], size[0])
            segment[11] = factors
        return segment

    return change


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width, height, depth, color, rows, interlace=0):
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def interlaced_png(image):
    pixels = np.asarray(image)
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = [row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx] if row.size]
    return raw_png(image.width, image.height, 8, 2, rows, interlace=1)


def palette_png(width, height, colors, indices):
    """Indices may lie beyond the palette."""
    data = raw_png(width, height, 8, 3, [bytes(row) for row in indices])
    end_of_header = 8 + 12 + 13
    palette = chunk(b"PLTE", bytes(colors))
    return data[:end_of_header] + palette + data[end_of_header:]


def wide_png(image, color):
    """16 bits a channel: grey (0), RGB (2), grey and alpha (4)."""
    values = np.asarray(image).astype(np.uint16) * 257 ^ 0x55
    values = {0: values[..., :1] // 200, 2: values, 4: values[..., :2]}[color]
    rows = [row.astype(">u2").tobytes() for row in values]
    return raw_png(image.width, image.height, 16, color, rows)


def pictures():
    base = scene(97, 75)
    with_alpha = scene(61, 59)
    with_alpha.putalpha(with_alpha.getchannel("R"))
    palette = base.quantize(200)
    exif = Image.Exif()
    exif[0x0112] = 6
    cmyk = jpeg(base.convert("CMYK"))
    blocks = scene(96, 96, 3)

    yield "tall.png", png(scene(31, 231))
    yield "tall_barely.png", png(scene(60, 131))
    yield "wide.jpg", jpeg(scene(401, 48))
    yield "one_pixel.png", png(scene(1, 1, 5))
    yield "five_by_three.jpg", jpeg(scene(5, 3))
    yield "one_row.png", png(scene(64, 1))
    yield "exact_size.png", png(scene(70, 56))
    yield "large.jpg", jpeg(scene(300, 411), quality=60)
    yield "grey.jpg", jpeg(base.convert("L"))
    yield "cmyk_adobe.jpg", cmyk
    yield "cmyk_plain.jpg", patched(cmyk, without_adobe)
    yield "ycck.jpg", patched(cmyk, adobe_transform(2))
    yield "rgb.jpg", jpeg(base, keep_rgb=True)
    yield "exif_rotated.jpg", jpeg(base, exif=exif)
    yield "progressive.jpg", jpeg(base, progressive=True)
    yield "progressive_grey.jpg", jpeg(base.convert("L"), progressive=True)
    yield "restarts.jpg", jpeg(base, restart_marker_blocks=3)
    yield "subsampled_444.jpg", jpeg(scene(61, 47), subsampling="4:4:4")
    yield "subsampled_422.jpg", jpeg(scene(61, 47), subsampling="4:2:2")
    yield "subsampled_420.jpg", jpeg(scene(61, 47), subsampling="4:2:0")
    yield "subsampled_440.jpg", patched(jpeg(blocks, subsampling="4:2:2"), luma_sampling(0x12, (95, 93)))
    yield "subsampled_411.jpg", patched(jpeg(blocks, subsampling="4:2:0"), luma_sampling(0x41, (190, 45)))
    yield "palette.png", png(palette)
    yield "palette_16.png", png(base.quantize(16), bits=4)
    yield "palette_transparent.png", png(palette, transparency=7)
    beyond = [[(x + y) % 5 for x in range(12)] for y in range(9)]
    yield "palette_beyond.png", palette_png(12, 9, [10, 20, 30, 200, 150, 100, 5, 250, 90], beyond)
    few_greys = [bytes((37 * x + 11 * y) % 256 for x in range(4)) for y in range(13)]
    yield "grey_2bit.png", raw_png(15, 13, 2, 0, few_greys)
    yield "grey_4bit.png", raw_png(8, 13, 4, 0, few_greys)
    yield "rgb_transparent_color.png", png(scene(20, 30), transparency=(0, 0, 255))
    yield "rgba.png", png(with_alpha)
    yield "grey_alpha.png", png(with_alpha.convert("LA"))
    yield "bilevel.png", png(base.convert("1"))
    yield "grey_16bit.png", wide_png(base, 0)
    yield "rgb_16bit.png", wide_png(scene(41, 31), 2)
    yield "grey_alpha_16bit.png", wide_png(scene(41, 31), 4)
    yield "interlaced.png", interlaced_png(scene(43, 29))
    yield "true_color.bmp", saved(scene(45, 33), "BMP")
    yield "palette.bmp", saved(scene(45, 33).quantize(30), "BMP")
    yield "true_color.ppm", saved(scene(33, 25), "PPM")
    yield "grey.pgm", saved(scene(33, 25).convert("L"), "PPM")
    yield "lossless.webp", saved(scene(41, 31), "WEBP", lossless=True)
    yield "lossy.webp", saved(base, "WEBP", quality=80)
    yield "png_inside.jpg", png(scene(20, 30))


def preprocess(image, resize, crop):
    return T.CenterCrop(crop)(T.Resize(resize)(image))


def expected(data_of):
    def opened(name):
        return Image.open(io.BytesIO(data_of[name])).convert("RGB")

    for name in data_of:
        yield name, np.asarray(preprocess(opened(name), 56, 48))
    yield "large.jpg@224", np.asarray(preprocess(opened("large.jpg"), 256, 224))
    yield "wide.jpg@padded", np.asarray(preprocess(opened("wide.jpg"), 24, 33))
    crop = preprocess(opened("rgba.png"), 56, 48)
    values = T.Normalize(MEAN, STD)(T.ToTensor()(crop))
    yield "rgba.png@f32", values.permute(1, 2, 0).contiguous().numpy()
    part = F.resized_crop(opened("large.jpg"), top=41, left=13, height=250, width=199, size=[48, 48])
    yield "large.jpg@part", np.asarray(part)
    yield "large.jpg@flipped", np.asarray(F.hflip(part))


def write_safetensors(path, tensors):
    header, body = {}, b""
    # Four-byte values first, so that they lie on four-byte boundaries without gaps.
    for name, values in sorted(tensors, key=lambda tensor: -tensor[1].itemsize):
        data = np.ascontiguousarray(values).tobytes()
        kind = {"uint8": "U8", "float32": "F32"}[values.dtype.name]
        header[name] = {
            "dtype": kind,
            "shape": list(values.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def main():
    PICTURES.mkdir(exist_ok=True)
    data_of = dict(pictures())
    for name, data in data_of.items():
        (PICTURES / name).write_bytes(data)
    write_safetensors(HERE / "expected.safetensors", expected(data_of))


if __name__ == "__main__":
    main()
