"""Draws TIFFs of every kind for generate.py."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

SHORT, LONG, LONG8 = 3, 4, 16
FORMATS = {1: "B", 2: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}


def lzw(data, rng, is_terminated=True):
    """TIFF's LZW: the highest bits are first, and codes get wider one code earlier than in GIF."""
    table, width, known, before = {}, 9, 258, None
    value, at = 0, 0

    def put(code):
        nonlocal value, at, width, known, before
        value = value << width | code
        at += width
        if code == 256:
            table.clear()
            width, known, before = 9, 258, None
            return
        if before is not None:
            known += 1
            if known == (1 << width) - 1 and width < 12:
                width += 1
        before = code

    put(256)
    string = b""
    for byte in data:
        longer = string + bytes([byte])
        if len(longer) == 1 or longer in table:
            string = longer
            continue
        put(string[0] if len(string) == 1 else table[string])
        table[longer] = known
        string = bytes([byte])
        if known >= 4093:
            put(string[0])
            put(256)
            string = b""
    if string:
        put(string[0] if len(string) == 1 else table[string])
    if is_terminated:
        put(257)
    return (value << -at % 8).to_bytes((at + 7) // 8, "big")


def pack_bits(data, rng):
    out, at = b"", 0
    while at < len(data):
        run = 1
        while run < 128 and data[at : at + 1] * (run + 1) == data[at : at + run + 1]:
            run += 1
        if run > 2 or rng.random() < 0.05 and run > 1:
            out += bytes([257 - run, data[at]])
            at += run
        else:
            some = data[at : at + rng.randint(1, 128)]
            out += bytes([len(some) - 1]) + some
            at += len(some)
        if rng.random() < 0.05:
            out += b"\x80"
    return out


def flipped(data):
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)


def rows_of(samples, bits, is_big, predictor):
    """The bytes of an array `[rows, columns, samples of a pixel]`; each row begins with a byte."""
    if predictor:
        samples = samples.copy()
        samples[:, 1:] = (samples[:, 1:] - samples[:, :-1]) % (1 << bits)
    rows = samples.reshape(samples.shape[0], -1)
    if bits >= 8:
        return rows.astype({8: "u1", 16: ">u2" if is_big else "<u2", 32: ">u4" if is_big else "<u4"}[bits]).tobytes()
    shifts = np.arange(bits)[::-1]
    return np.packbits((rows[..., None] >> shifts & 1).astype(np.uint8).reshape(len(rows), -1), axis=1).tobytes()


COMPRESSIONS = {"none": 1, "lzw": 5, "deflate": 8, "old deflate": 32946, "packbits": 32773}


def directory(order, is_big_tiff, tags, start, rest):
    """A directory at `start` and the values behind it; `tags` are (number, type, values)."""
    head, size, wide = ("Q", 20, 8) if is_big_tiff else ("H", 12, 4)
    out = struct.pack(order + head, len(tags))
    behind_at = start + len(out) + size * len(tags) + wide
    behind = b""
    for number, kind, values in tags:
        raw = values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{FORMATS[kind]}", *values)
        out += struct.pack(order + "HH" + ("Q" if is_big_tiff else "I"), number, kind, len(raw) // struct.calcsize(FORMATS[kind]))
        if len(raw) <= wide:
            out += raw.ljust(wide, b"\0")
        else:
            out += struct.pack(order + ("Q" if is_big_tiff else "I"), behind_at + len(behind))
            behind += raw + b"\0" * (len(raw) % 2)
    return out + struct.pack(order + ("Q" if is_big_tiff else "I"), rest) + behind


KINDS = {
    # name: photometric, samples of colours, bits
    "white is zero": (0, 1, [1, 1, 2, 4, 8, 16]),
    "grey": (1, 1, [1, 2, 4, 8, 8, 16]),
    "rgb": (2, 3, [8, 8, 8, 16]),
    "palette": (3, 1, [1, 2, 4, 8, 8]),
    "cmyk": (5, 4, [8, 8, 16]),
    "ycbcr": (6, 3, [8]),
    "lab": (8, 3, [8]),
}
EXTRAS = {
    # The extra samples that Pillow reads.
    ("grey", 8): [(0,), (2,)],
    ("palette", 8): [(0,), (2,)],
    ("rgb", 8): [(2,), (2,), (1,), (0,), (0, 0), (2, 0), (1, 0), (0, 0, 0), (1, 0, 0), (999,)],
    ("rgb", 16): [(0,), (1,), (2,)],
    ("cmyk", 8): [(0,), (0, 0)],
}


def draw(rng, picture, sides):
    """One TIFF: what it is, in words, and its bytes."""
    if rng.random() < 0.12:
        return saved(rng, picture, sides)
    order = rng.choice("<<>")
    is_big_tiff = rng.random() < 0.15
    name = rng.choice(["white is zero"] + ["grey"] * 3 + ["rgb"] * 6 + ["palette"] * 2 + ["cmyk"] * 2 + (["ycbcr", "lab"] if rng.random() < 0.2 else []))
    photometric, colors, some_bits = KINDS[name]
    bits = rng.choice(some_bits)
    extras = ()
    if (name, bits) in EXTRAS and rng.random() < 0.5:
        extras = rng.choice(EXTRAS[name, bits])
    elif rng.random() < 0.04:
        extras = rng.choice([(2,), (1,), (0,), (2, 2), (0, 0, 0, 0)])
    has_extras = rng.random() < 0.9 if extras == (2,) else True
    count = colors + len(extras)
    width, height = rng.choice(sides), rng.choice(sides)
    top = (1 << bits) - 1
    values = np.stack([picture(width, height) for _ in range(count)], axis=-1)
    samples = np.round(values * top).astype(np.int64)
    if bits == 16 and colors == 1 and rng.random() < 0.7:
        samples //= rng.choice([1, 100, 300])
    planar = rng.random() < (0.25 if count > 1 else 0.05)
    compression = rng.choice(["none"] * 4 + ["lzw"] * 3 + ["deflate"] * 3 + ["old deflate", "packbits", "packbits"])
    predictor = compression in ["lzw", "deflate"] and rng.random() < (0.4 if bits >= 8 else 0.02)
    fill = 2 if rng.random() < 0.1 else 1
    tiled = rng.random() < 0.35
    words = ["tiff", "MM" if order == ">" else "II", "big" if is_big_tiff else "", name, f"{bits} bits", f"extra {extras if has_extras else 'none said'}"]
    words += [f"{width}x{height}", "planar" if planar else "", compression, "predictor" if predictor else "", f"fill {fill}"]

    if tiled:
        across, down = rng.choice([16, 16, 32, 64, 48]), rng.choice([16, 16, 32, 64])
        if rng.random() < 0.05:
            across = rng.choice([8, 10, 20, width])
        words.append(f"tiles {across}x{down}")
    else:
        across, down = width, rng.choice([height, height, 1, 2, 5, 8, 16, height + 3, (1 << 32) - 1])
        words.append(f"strips of {down}")
    parts = []
    planes = [samples[..., c : c + 1] for c in range(count)] if planar else [samples]
    for plane in planes:
        for y in range(0, height, down):
            for x in range(0, width, across):
                part = plane[y : y + down, x : x + across]
                if tiled:
                    part = np.pad(part, ((0, down - part.shape[0]), (0, across - part.shape[1]), (0, 0)), mode="edge")
                raw = rows_of(part, bits, order == ">", predictor and bits >= 8)
                if compression == "lzw":
                    raw = lzw(raw, rng, rng.random() < 0.9)
                elif "deflate" in compression:
                    raw = zlib.compress(raw, rng.choice([0, 1, 6, 9]))
                elif compression == "packbits":
                    raw = pack_bits(raw, rng)
                parts.append(flipped(raw) if fill == 2 else raw)

    integer = LONG8 if is_big_tiff and rng.random() < 0.5 else LONG
    side = rng.choice([SHORT, LONG])
    tags = {
        256: (side, [width]),
        257: (side, [height]),
        258: (SHORT, [bits] * (1 if rng.random() < 0.05 else count)),
        259: (SHORT, [COMPRESSIONS[compression]]),
        262: (SHORT, [photometric]),
        277: (SHORT, [count]),
    }
    if fill == 2 or rng.random() < 0.1:
        tags[266] = (SHORT, [fill])
    if planar or rng.random() < 0.5:
        tags[284] = (SHORT, [2 if planar else 1])
    if predictor or rng.random() < 0.1:
        tags[317] = (SHORT, [2 if predictor else 1])
    if extras and has_extras:
        tags[338] = (SHORT, list(extras))
    if name == "palette":
        tags[320] = (SHORT, [rng.randrange(1 << 16) for _ in range(3 << bits)])
    if rng.random() < 0.2:
        tags[339] = (SHORT, [1] * count)
    if rng.random() < 0.3:
        tags[274] = (SHORT, [rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 0])])
        words.append(f"orientation {tags[274][1][0]}")
    if rng.random() < 0.08:
        turn = rng.randint(1, 8)
        tags[700] = (rng.choice([1, 7]), f'<x tiff:Orientation="{turn}"/>'.encode())
        words.append(f"xmp {turn}")
    if rng.random() < 0.3:
        tags[305] = (2, b"some program\0")
    if tiled:
        tags[322], tags[323] = (side, [across]), (side, [down])
    elif down < (1 << 32) - 1 or rng.random() < 0.5:
        tags[278] = (LONG, [down])
    lengths = [len(part) for part in parts]
    tags[325 if tiled else 279] = (integer if max(lengths) > 65535 or rng.random() < 0.7 else SHORT, lengths)
    if rng.random() < 0.05:
        lengths.pop() if rng.random() < 0.5 else lengths.append(7)
        words.append("a wrong number of lengths")
    odd = rng.choice([""] * 40 + ["no photometric", "no compression", "no samples", "no bits", "float", "signed", "no lengths", "two widths", "predictor 3", "no size", "zero lengths", "byte type", "32 bits"])
    if odd:
        words.append(odd)
    for what, number in [("no photometric", 262), ("no compression", 259), ("no samples", 277), ("no bits", 258), ("no size", 257), ("no lengths", 279)]:
        if odd == what:
            tags.pop(number, None)
    if odd in ["float", "signed"]:
        tags[339] = (SHORT, [3 if odd == "float" else 2] * count)
    if odd == "predictor 3":
        tags[317] = (SHORT, [3])
    if odd == "zero lengths":
        tags[325 if tiled else 279] = (LONG, [0] * len(parts))
    if odd == "byte type":
        number = rng.choice([256, 258, 259, 262, 277])
        tags[number] = (1, [value & 255 for value in tags[number][1]])
    if odd == "32 bits":
        tags[258] = (SHORT, [32] * count)

    head = 16 if is_big_tiff else 8
    pages = rng.choice([1, 1, 1, 1, 2, 3])
    offsets_tag = 324 if tiled else 273
    list_of = lambda offsets: sorted(
        [(number, kind, values) for number, (kind, values) in tags.items()]
        + [(offsets_tag, integer, offsets)]
        + ([(256, SHORT, [width + 1])] if odd == "two widths" else []),
        key=lambda tag: tag[0],
    )
    body = b"".join(parts)
    if rng.random() < 0.4:
        # The directory is before the pixels.
        length = len(directory(order, is_big_tiff, list_of([0] * len(parts)), head, 0))
        at, first = head, head + length
    else:
        at, first = head + len(body) + len(body) % 2, head
    offsets = [first + sum(len(part) for part in parts[:number]) for number in range(len(parts))]
    if rng.random() < 0.03:
        offsets.pop() if rng.random() < 0.5 else offsets.append(offsets[0])
        words.append("a wrong number of places")
    rest = 0
    if pages > 1:
        words.append("pages")
        rest = at
    table = directory(order, is_big_tiff, list_of(offsets), at, rest)
    number = 43 if is_big_tiff else 42
    mark = struct.pack(order + "H", number)
    if rng.random() < 0.02 and not is_big_tiff:
        mark = mark[::-1]
        words.append("wrong mark")
    out = (b"MM" if order == ">" else b"II") + mark
    out += struct.pack(order + "HHQ", 8, 0, at) if is_big_tiff else struct.pack(order + "I", at)
    out += table + body if at == head else (body + b"\0" * (len(body) % 2) + table)
    if rng.random() < 0.1:
        out += rng.randbytes(30)
        words.append("noise behind")
    return words, out


def saved(rng, picture, sides):
    """A TIFF that Pillow writes."""
    mode = rng.choice(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "LAB"])
    width, height = rng.choice(sides), rng.choice(sides)
    grey = Image.fromarray((picture(width, height) * 255).astype(np.uint8))
    if mode == "I;16":
        image = Image.fromarray((picture(width, height) * rng.choice([255, 400, 65535])).astype(np.uint16))
    elif mode == "LAB":
        image = Image.merge("LAB", [grey] * 3)
    else:
        image = grey.convert("RGB").convert(mode) if mode != "I" and mode != "F" else grey.convert(mode)
    some = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "tiff_jpeg", "group3", "group4", "tiff_ccitt", "lzma", "zstd", "webp"]
    options = dict(compression=rng.choice(some))
    if rng.random() < 0.3:
        options["tiffinfo"] = {274: rng.randint(1, 8)}
    if rng.random() < 0.2:
        options["big_tiff"] = True
    out = io.BytesIO()
    try:
        image.save(out, "TIFF", **options)
    except OSError:
        # Most compressions are for some kinds of pixels.
        options["compression"], out = "tiff_lzw", io.BytesIO()
        image.save(out, "TIFF", **options)
    return ["tiff", "by Pillow", mode, f"{width}x{height}", str(options)], out.getvalue()
