"""Makes pictures with an orientation, and what Pillow's ImageOps.exif_transpose makes of them.

    python testdata/exif/generate.py

writes pictures/ and expected.txt beside this file. A line of expected.txt is a picture's name, the width,
the height and the CRC-32 of its red, green and blue after exif_transpose, and the same three without it.
Needs Pillow 13 or later and numpy.
"""

import io
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent
PICTURES = HERE / "pictures"
ORIENTATION = 0x0112
SHORT, LONG, SIGNED, BYTE = 3, 4, 8, 1


def scene(width=21, height=13):
    """A picture that differs from each of its reflections and rotations."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([12 * x, 19 * y, 255 - 6 * (x + y)], axis=-1)
    rgb[:4, :6] = [255, 0, 0]
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


def tiff(entries, order="<"):
    """A directory of entries (tag, type, count, value), as EXIF has it."""
    data = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, len(entries))
    for tag, kind, count, value in entries:
        letter = {SHORT: "H", SIGNED: "h", BYTE: "B", LONG: "I"}[kind]
        data += struct.pack(order + "HHI", tag, kind, count) + struct.pack(order + letter, value).ljust(4, b"\0")
    return data + bytes(4)


def exif(orientation, order="<", kind=SHORT, count=1):
    return tiff([(0x010F, LONG, 1, 7), (ORIENTATION, kind, count, orientation), (0x0213, SHORT, 1, 1)], order)


def jpeg(*segments):
    """A JPEG with APP1 segments behind its first two bytes."""
    data = io.BytesIO()
    scene().save(data, "JPEG", quality=90)
    data = data.getvalue()
    app1 = b"".join(b"\xff\xe1" + struct.pack(">H", len(s) + 2) + s for s in segments)
    return data[:2] + app1 + data[2:]


def png(data, last=False):
    """A PNG with an eXIf chunk, before or behind the pixels."""
    picture = io.BytesIO()
    scene().save(picture, "PNG")
    picture = picture.getvalue()
    chunk = b"eXIf" + data
    chunk = struct.pack(">I", len(data)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    at = picture.index(b"IEND") - 4 if last else picture.index(b"IDAT") - 4
    return picture[:at] + chunk + picture[at:]


def webp(**options):
    picture = io.BytesIO()
    scene().save(picture, "WEBP", lossless=True, **options)
    return picture.getvalue()


def tiff_picture(**options):
    picture = io.BytesIO()
    scene().save(picture, "TIFF", **options)
    return picture.getvalue()


def xmp(orientation, text='<x tiff:Orientation="{}"/>'):
    return b"http://ns.adobe.com/xap/1.0/\0" + text.format(orientation).encode()


def pictures():
    head = b"Exif\0\0"
    for orientation in range(1, 9):
        yield f"jpeg_{orientation}.jpg", jpeg(head + exif(orientation))
        yield f"big_endian_{orientation}.jpg", jpeg(head + exif(orientation, ">"))
        yield f"png_{orientation}.png", png(exif(orientation))
        yield f"webp_{orientation}.webp", webp(exif=exif(orientation))
    for orientation in (0, 9, 65535):
        yield f"unknown_{orientation}.jpg", jpeg(head + exif(orientation))
    yield "none.jpg", jpeg()
    yield "no_tag.jpg", jpeg(head + tiff([(0x010F, LONG, 1, 7)]))
    yield "long.jpg", jpeg(head + exif(6, kind=LONG))
    yield "signed.jpg", jpeg(head + exif(6, kind=SIGNED))
    yield "byte.jpg", jpeg(head + exif(6, kind=BYTE))
    yield "two_values.jpg", jpeg(head + exif(6, count=2))
    yield "two_tags.jpg", jpeg(head + tiff([(ORIENTATION, SHORT, 1, 6), (ORIENTATION, SHORT, 1, 3)]))
    yield "cut.jpg", jpeg(head + exif(6)[:-10])
    yield "cut_tag.jpg", jpeg(head + exif(6)[:-18])
    yield "many_values.jpg", jpeg(head + tiff([(ORIENTATION, SHORT, 3, 26)]) + struct.pack("<3H", 8, 1, 1))
    yield "values_outside.jpg", jpeg(head + tiff([(ORIENTATION, SHORT, 3, 1000)]))
    yield "no_values.jpg", jpeg(head + exif(6, count=0))
    yield "two_heads.jpg", jpeg(head + head + exif(6))
    yield "two_parts.jpg", jpeg(head + exif(6)[:15], head + exif(6)[15:])
    yield "behind_other_app1.jpg", jpeg(b"other", head + exif(6))
    yield "xmp.jpg", jpeg(xmp(6))
    yield "xmp_element.jpg", jpeg(xmp(8, "<tiff:Orientation>{}</tiff:Orientation>"))
    yield "xmp_and_exif.jpg", jpeg(head + exif(3), xmp(6))
    yield "xmp_and_no_tag.jpg", jpeg(head + tiff([(0x010F, LONG, 1, 7)]), xmp(6))
    yield "xmp.webp", webp(xmp=xmp(6).split(b"\0")[1])
    yield "last.png", png(exif(6), last=True)
    yield "head.png", png(head + exif(6))
    yield "head.webp", webp(exif=head + exif(6))
    yield "tiff_2.tif", tiff_picture(tiffinfo={ORIENTATION: 2})
    yield "tiff_6.tif", tiff_picture(tiffinfo={ORIENTATION: 6}, compression="tiff_lzw")
    yield "tiff_8.tif", tiff_picture(tiffinfo={ORIENTATION: 8}, big_tiff=True)
    yield "xmp.tif", tiff_picture(tiffinfo={700: xmp(5).split(b"\0")[1]})
    yield "xmp_and_tag.tif", tiff_picture(tiffinfo={700: xmp(5).split(b"\0")[1], ORIENTATION: 4})


def described(image):
    image = image.convert("RGB")
    return f"{image.width} {image.height} {zlib.crc32(image.tobytes()):08x}"


def main():
    PICTURES.mkdir(exist_ok=True)
    lines = []
    for name, data in pictures():
        (PICTURES / name).write_bytes(data)
        image = Image.open(io.BytesIO(data))
        # As users write it: transposed, then converted.
        upright = described(ImageOps.exif_transpose(image))
        lines.append(f"{name} {upright} {described(Image.open(io.BytesIO(data)))}\n")
    (HERE / "expected.txt").write_text("".join(lines))
    print(f"{len(lines)} pictures")


main()
