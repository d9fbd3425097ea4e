"""Makes JPEGs, PNGs, GIFs and TIFFs of every kind that the formats allow, to compare posterize's decoder
with Pillow's.

    python testdata/decode/generate.py compare FOLDER [--count 4000] [--seed 1] [--formats jpg,png,gif,tif]
        writes the pictures into FOLDER, decodes them with both, prints the differences and counts
    python testdata/decode/generate.py goldens
        writes pictures/ and expected.txt beside this file, which a test reads

A line of expected.txt is a picture's name, width, height and the CRC-32 of its red, green and blue,
or its name and `refused` where Pillow refuses it. Needs Pillow, numpy and libjpeg-turbo's jpegtran
(Debian's libjpeg-turbo-progs), named by the environment variable JPEGTRAN if it is not on the PATH.
`compare` asks the program of crates/posterize/examples/pixels.rs, built with
`cargo build --release -p posterize --example pixels` or named by PIXELS.
"""

import argparse
import collections
import io
import os
import pathlib
import random
import struct
import subprocess
import tempfile
import zlib

import numpy as np
from PIL import Image

import gifs
import tiffs

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
JPEGTRAN = os.environ.get("JPEGTRAN", "jpegtran")
PIXELS = os.environ.get("PIXELS", ROOT / "target/release/examples/pixels")

ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, (i // 8) if (i // 8 + i % 8) % 2 else (i % 8)))
DCT = np.array(
    [[np.sqrt((1 if u == 0 else 2) / 8) * np.cos((2 * x + 1) * u * np.pi / 16) for x in range(8)] for u in range(8)]
)

# The Huffman tables of T.81, annex K.3: how many codes each length has, and the symbols.
DC_TABLE = (bytes.fromhex("00010501010101010100000000000000"), bytes(range(12)))
AC_TABLE = (
    bytes.fromhex("0002010303020403050504040000017d"),
    bytes.fromhex(
        "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a"
        "3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a929394"
        "95969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8"
        "e9eaf1f2f3f4f5f6f7f8f9fa"
    ),
)


def codes(table):
    """Symbol to (code, length)."""
    found, code, at = {}, 0, 0
    for length, count in enumerate(table[0], 1):
        for symbol in table[1][at : at + count]:
            found[symbol] = (code, length)
            code += 1
        at += count
        code <<= 1
    return found


DC_CODES, AC_CODES = codes(DC_TABLE), codes(AC_TABLE)


class Bits:
    def __init__(self):
        self.value, self.length, self.out = 0, 0, bytearray()

    def put(self, value, length):
        self.value = self.value << length | value
        self.length += length
        while self.length >= 8:
            self.length -= 8
            byte = self.value >> self.length & 255
            self.value &= (1 << self.length) - 1
            self.out.append(byte)
            if byte == 255:
                self.out.append(0)

    def align(self):
        if self.length:
            self.put((1 << (8 - self.length)) - 1, 8 - self.length)


def put_value(bits, value):
    size = abs(value).bit_length()
    bits.put(value if value > 0 else value + (1 << size) - 1, size)


def put_block(bits, block, before):
    difference = int(block[0]) - before
    bits.put(*DC_CODES[abs(difference).bit_length()])
    if difference:
        put_value(bits, difference)
    run = 0
    for value in map(int, block[1:]):
        if value == 0:
            run += 1
            continue
        while run > 15:
            bits.put(*AC_CODES[0xF0])
            run -= 16
        bits.put(*AC_CODES[run << 4 | abs(value).bit_length()])
        put_value(bits, value)
        run = 0
    if run:
        bits.put(*AC_CODES[0])


Component = collections.namedtuple("Component", "id h v quant blocks")


def ceiling(a, b):
    return -(-a // b)


def segment(marker, payload):
    return struct.pack(">BBH", 255, marker, len(payload) + 2) + payload


def scan_data(width, height, components, chosen, restart):
    h_max, v_max = max(c.h for c in components), max(c.v for c in components)
    some = [components[i] for i in chosen]
    if len(some) == 1:
        (c,) = some
        columns, rows = ceiling(width * c.h, 8 * h_max), ceiling(height * c.v, 8 * v_max)
        units = [[(0, y, x)] for y in range(rows) for x in range(columns)]
    else:
        columns, rows = ceiling(width, 8 * h_max), ceiling(height, 8 * v_max)
        units = [
            [(k, my * c.v + y, mx * c.h + x) for k, c in enumerate(some) for y in range(c.v) for x in range(c.h)]
            for my in range(rows)
            for mx in range(columns)
        ]
    bits, before = Bits(), [0] * len(some)
    for number, unit in enumerate(units):
        if restart and number and number % restart == 0:
            bits.align()
            bits.out += bytes([255, 0xD0 + (number // restart - 1) % 8])
            before = [0] * len(some)
        for k, y, x in unit:
            block = some[k].blocks[y, x]
            put_block(bits, block, before[k])
            before[k] = int(block[0])
    bits.align()
    return bytes(bits.out)


def baseline(width, height, components, quants, scans=None, restart=0, extra=(), frame=0xC0, bits=8, ending=b"\xff\xd9"):
    """A sequential JPEG; `extra` are segments behind SOI, `scans` lists of component numbers."""
    out = b"\xff\xd8" + b"".join(extra)
    for number, quant in enumerate(quants):
        out += segment(0xDB, bytes([number]) + bytes(quant))
    header = struct.pack(">BHHB", bits, height, width, len(components))
    out += segment(frame, header + b"".join(bytes([c.id, c.h << 4 | c.v, c.quant]) for c in components))
    out += segment(0xC4, b"\0" + DC_TABLE[0] + DC_TABLE[1]) + segment(0xC4, b"\x10" + AC_TABLE[0] + AC_TABLE[1])
    if restart:
        out += segment(0xDD, struct.pack(">H", restart))
    for chosen in scans or [range(len(components))]:
        head = bytes([len(chosen)]) + b"".join(bytes([components[i].id, 0]) for i in chosen)
        out += segment(0xDA, head + bytes([0, 63, 0])) + scan_data(width, height, components, chosen, restart)
    return out + ending


def plane(width, height, seed):
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    u, v = x / max(width - 1, 1), y / max(height - 1, 1)
    draw = np.random.default_rng(seed)
    a, b, c = draw.uniform(-9, 9, 3)
    values = 127 + 110 * np.sin(a * u + b * v + c)
    values[(u - draw.random()) ** 2 + (v - draw.random()) ** 2 < 0.05] = draw.choice([0, 255])
    return (values + draw.normal(0, 6, values.shape)).clip(0, 255)


def blocks_of(values, rows, columns, quant):
    """Quantised coefficients in zigzag order, [rows, columns, 64]."""
    height, width = values.shape
    values = np.pad(values, ((0, rows * 8 - height), (0, columns * 8 - width)), mode="edge") - 128
    tiles = values.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3)
    coefficients = (DCT @ tiles @ DCT.T).reshape(rows, columns, 64)[..., ZIGZAG]
    return np.clip(np.round(coefficients / quant), -1023, 1023).astype(int)


def quant_table(rng):
    top = rng.choice([1, 8, 20, 60])
    return [min(255, 1 + top * (1 + k // 6) // 4) for k in range(64)]


def components_of(rng, width, height, sampling, ids, quants, content):
    h_max, v_max = max(h for h, _ in sampling), max(v for _, v in sampling)
    found = []
    for number, ((h, v), name) in enumerate(zip(sampling, ids)):
        quant = min(number, len(quants) - 1)
        rows, columns = ceiling(height, 8 * v_max) * v, ceiling(width, 8 * h_max) * h
        values = plane(ceiling(width * h, h_max), ceiling(height * v, v_max), rng.randrange(1 << 30))
        if content == "noise":
            values = np.random.default_rng(rng.randrange(1 << 30)).integers(0, 256, values.shape).astype(float)
        blocks = blocks_of(values, rows, columns, np.array(quants[quant]))
        if content == "extreme":
            draw = np.random.default_rng(rng.randrange(1 << 30))
            blocks[draw.random(blocks.shape) < 0.1] = draw.choice([-1023, 1023, 300, -77])
        found.append(Component(name, h, v, quant, blocks))
    return found


def app0():
    return segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def adobe(transform):
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


COMMON = [[(1, 1)] * 3, [(2, 1), (1, 1), (1, 1)], [(2, 2), (1, 1), (1, 1)], [(1, 2), (1, 1), (1, 1)]]
RARE = COMMON + [
    [(4, 1), (1, 1), (1, 1)],
    [(4, 2), (1, 1), (1, 1)],
    [(1, 4), (1, 1), (1, 1)],
    [(2, 4), (1, 1), (1, 1)],
    [(3, 1), (1, 1), (1, 1)],
    [(1, 3), (1, 1), (1, 1)],
    [(3, 3), (1, 1), (1, 1)][:1] + [(1, 1), (1, 1)],
    [(2, 1), (1, 2), (1, 1)],
    [(1, 2), (2, 1), (2, 2)],
    [(2, 2), (2, 1), (2, 1)],
    [(2, 2), (1, 2), (1, 2)],
    [(2, 2), (2, 1), (1, 2)],
    [(4, 1), (2, 1), (2, 1)],
    [(4, 2), (2, 1), (2, 1)],
    [(2, 2), (2, 2), (2, 2)],
    [(1, 1), (2, 2), (2, 2)],
    [(1, 1), (2, 1), (2, 1)],
    [(3, 2), (1, 1), (1, 1)],
    [(3, 1), (2, 1), (1, 1)],
]
FOUR = [
    [(1, 1)] * 4,
    [(2, 1), (1, 1), (1, 1), (1, 1)],
    [(2, 2), (1, 1), (1, 1), (1, 1)],
    [(2, 2), (1, 1), (1, 1), (2, 2)],
    [(2, 1), (1, 1), (1, 1), (2, 1)],
    [(1, 2), (1, 1), (1, 1), (1, 2)],
    [(1, 2), (1, 1), (1, 1), (1, 1)],
    [(4, 1), (1, 1), (1, 1), (4, 1)],
    [(1, 1), (1, 1), (1, 1), (2, 2)],
    [(3, 1), (1, 1), (1, 1), (1, 1)],
    [(2, 2), (2, 1), (1, 2), (1, 1)],
]
SIDES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 40, 47, 48, 49, 64, 65, 70, 90]


def sampling_of(rng, count):
    if count == 1:
        return [rng.choice([(1, 1)] * 4 + [(2, 2), (2, 1), (1, 2), (3, 1), (4, 4)])]
    choice = rng.random()
    if choice < 0.35:
        return list(rng.choice(COMMON if count == 3 else FOUR[:5]))
    if choice < 0.8:
        return list(rng.choice(RARE if count == 3 else FOUR))
    while True:
        drawn = [(rng.choice([1, 1, 2, 2, 3, 4]), rng.choice([1, 1, 2, 2, 3, 4])) for _ in range(count)]
        if sum(h * v for h, v in drawn) <= 10:
            return drawn


def partition(rng, count):
    order = list(range(count))
    if rng.random() < 0.5:
        rng.shuffle(order)
    scans, at = [], 0
    while at < count:
        size = rng.randint(1, count - at)
        scans.append(sorted(order[at : at + size]))
        at += size
    return scans


def progressive_script(rng, count, complete):
    """A scan script for jpegtran, in an order that progression allows."""
    lines, refinements = [], []
    low = rng.choice([0, 1, 2])
    groups = partition(rng, count) if rng.random() < 0.5 else [list(range(count))]
    for group in groups:
        lines.append(f"{','.join(map(str, group))}: 0-0, 0, {low};")
    for level in range(low, 0, -1):
        if complete or rng.random() < 0.5:
            refinements.append([f"{','.join(map(str, g))}: 0-0, {level}, {level - 1};" for g in groups])
        else:
            break
    for c in range(count):
        if not complete and rng.random() < 0.3:
            continue
        cuts = sorted(rng.sample(range(2, 64), rng.choice([0, 1, 2])))
        for first, behind in zip([1] + cuts, cuts + [64]):
            if not complete and rng.random() < 0.2:
                continue
            low = rng.choice([0, 1, 2, 3])
            lines.append(f"{c}: {first}-{behind - 1}, 0, {low};")
            for level in range(low, 0, -1):
                if complete or rng.random() < 0.6:
                    refinements.append([f"{c}: {first}-{behind - 1}, {level}, {level - 1};"])
                else:
                    break
    return "\n".join(lines + [line for lines in refinements for line in lines])


def jpegtran(data, *options, script=None):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        if script is not None:
            file.write(script)
            file.flush()
            options += ("-scans", file.name)
        done = subprocess.run([JPEGTRAN, "-copy", "all", *options], input=data, capture_output=True)
    if done.returncode not in [0, 2]:  # 2: with a warning
        raise ValueError(f"jpegtran {options}: {done.stderr.decode()} {script}")
    return done.stdout


def scan_end(data):
    """Where the end marker of a JPEG without a trailer stands."""
    assert data.endswith(b"\xff\xd9")
    return len(data) - 2


def damaged(rng, data):
    start = min(data.rindex(b"\xff\xda") + 14, len(data) - 3)
    restarts = [i for i in range(start, len(data) - 1) if data[i] == 255 and 0xD0 <= data[i + 1] <= 0xD7]
    at = rng.choice(restarts) if restarts else start
    other = bytes([rng.randrange(256)])
    place = rng.randrange(start, len(data) - 1)
    kinds = {
        "byte changed": lambda: data[:place] + other + data[place + 1 :],
        "bytes lost": lambda: data[:place] + data[place + rng.randint(1, 9) :],
    }
    if restarts:
        kinds |= {
            "restart lost": lambda: data[:at] + data[at + 2 :],
            "restart renumbered": lambda: data[: at + 1] + bytes([0xD0 + rng.randrange(8)]) + data[at + 2 :],
            "restart twice": lambda: data[:at] + data[at : at + 2] + data[at:],
            "lost between restarts": lambda: data[: min(at + 3, len(data) - 2)] + data[rng.choice(restarts + [len(data) - 2]) :],
        }
    name = rng.choice(list(kinds))
    return name, kinds[name]()


def trailed(rng, data):
    noise = rng.randbytes(rng.choice([10, 100, 3000]))
    plain = bytes(b for b in noise if b != 255)
    small = baseline(8, 8, components_of(rng, 8, 8, [(1, 1)], [1], [[9] * 64], "scene"), [[9] * 64])
    kinds = {
        "mp4 with FFDA": lambda: data + b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + b"\xff\xda\0\x08" + plain,
        "noise": lambda: data + noise,
        "another picture": lambda: data + small,
        "half a picture": lambda: data + small[: rng.randrange(2, len(small) - 2)],
        "zeros": lambda: data + bytes(rng.randrange(1, 40)),
        "FFD8": lambda: data + b"\xff\xd8",
        "no end": lambda: data[:-2],
        "no end, then text": lambda: data[:-2] + b"\0\0\1\n\x0e\0\0\0Image_UTC_Data1234567890123SEFH" + bytes(20) + b"SEFT",
        "no end, then noise": lambda: data[:-2] + plain,
        "no end, then another picture": lambda: data[:-2] + small,
        "no end, a few bytes": lambda: data[:-2] + bytes(rng.randrange(1, 10)),
        "half the end": lambda: data[:-1],
        "cut": lambda: data[: rng.randrange(len(data) // 2, len(data))],
        "garbage before the end": lambda: data[:-2] + plain[:50] + b"\xff\xd9",
        "filled before the end": lambda: data[:-2] + b"\xff\xff\xff\xff\xd9",
        "cut, then the end": lambda: data[: rng.randrange(len(data) * 3 // 4, len(data) - 8)] + b"\xff\xd9",
        "comment before the end": lambda: data[:-2] + segment(0xFE, noise[:60]) + b"\xff\xd9",
    }
    name = rng.choice(list(kinds))
    return name, kinds[name]()


def draw(rng, sides=SIDES, damage=0.1):
    """One picture: what it is, in words, and its bytes."""
    color, count = rng.choice(
        [("grey", 1), ("ycc", 3), ("ycc", 3), ("ycc", 3), ("rgb", 3), ("cmyk", 4), ("ycck", 4), ("odd adobe", 3), ("odd adobe", 4)]
    )
    extra, ids = [], [1, 2, 3, 4][:count]
    if color == "ycc":
        style = rng.choice(["jfif", "jfif", "jfif", "bare", "adobe", "other ids", "both"])
        extra = {"jfif": [app0()], "adobe": [adobe(1)], "both": [app0(), adobe(rng.choice([0, 1, 2]))]}.get(style, [])
        if style == "other ids":
            ids = rng.choice([[0, 1, 2], [1, 34, 35], [82, 71, 67], [7, 3, 200]])
    elif color == "rgb":
        style = rng.choice(["adobe", "ids"])
        extra, ids = ([adobe(0)], ids) if style == "adobe" else ([], [82, 71, 66])
    elif color == "cmyk":
        style = rng.choice(["adobe", "bare", "jfif", "ids"])
        extra = [adobe(0)] if style == "adobe" else [app0()] if style == "jfif" else []
        ids = [67, 77, 89, 75] if style == "ids" else ids
    elif color == "ycck":
        style, extra = "adobe", [adobe(2)]
    elif color == "odd adobe":
        transform = rng.choice([1, 3, 255]) if count == 4 else rng.choice([2, 3, 255])
        style, extra = f"transform {transform}", [adobe(transform)]
    else:
        style, extra = "", rng.choice([[], [app0()], [adobe(0)], [adobe(1)]])
    width, height = rng.choice(sides), rng.choice(sides)
    sampling = sampling_of(rng, count)
    quants = [quant_table(rng) for _ in range(rng.choice([1, min(count, 2), count]))]
    content = rng.choice(["scene"] * 6 + ["noise", "extreme"])
    components = components_of(rng, width, height, sampling, ids, quants, content)
    restart = rng.choice([0, 0, 0, 1, 2, 5, 13])
    words = [color, style, f"{width}x{height}", " ".join(f"{h}x{v}" for h, v in sampling), content]
    coding = rng.choice(["interleaved"] * 3 + ["scans"] * 3 + ["progressive"] * 4 + ["incomplete", "arithmetic", "optimized", "12 bits"])
    if coding == "arithmetic" and rng.random() < 0.5:
        coding = "arithmetic progressive"
    options = dict(restart=restart, extra=extra, frame=rng.choice([0xC0, 0xC0, 0xC1]))
    fits = sum(h * v for h, v in sampling) <= 10
    if coding == "12 bits":
        data = baseline(width, height, components, quants, bits=12, **{**options, "frame": 0xC1})
    elif coding == "scans" and count > 1 or not fits:
        scans = partition(rng, count) if fits else [[i] for i in range(count)]
        words.append(f"scans {scans}")
        data = baseline(width, height, components, quants, scans, **options)
    else:
        data = baseline(width, height, components, quants, **options)
        again = ("-restart", f"{restart}B") if restart else ()
        if coding == "progressive" and rng.random() < 0.3:
            data = jpegtran(data, "-progressive", *again)
        elif coding in ["progressive", "incomplete"]:
            script = progressive_script(rng, count, coding == "progressive")
            words.append(script.replace("\n", " "))
            data = jpegtran(data, *again, script=script)
        elif coding == "arithmetic":
            data = jpegtran(data, "-arithmetic", *again)
        elif coding == "arithmetic progressive":
            data = jpegtran(data, "-arithmetic", "-progressive", *again)
        elif coding == "optimized":
            data = jpegtran(data, "-optimize", *again)
    words += [coding, f"restart {restart}"]
    if rng.random() < 0.3:
        name, data = trailed(rng, data)
        words.append(name)
    elif rng.random() < damage:
        name, data = damaged(rng, data)
        words.append(name)
    return words, data


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def draw_png(rng, sides=SIDES):
    """As `draw`."""
    color = rng.choice([0, 0, 2, 3, 4, 6])
    depth = rng.choice({0: [1, 2, 4, 8, 16, 16], 3: [1, 2, 4, 8]}.get(color, [8, 16]))
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    width, height = rng.choice(sides), rng.choice(sides)
    seed = rng.randrange(1 << 30)
    top = (1 << depth) - 1
    values = np.stack([plane(width, height, seed + c) for c in range(channels)], axis=-1) / 255
    pixels = np.round(values * top).astype(int)
    if color == 0 and depth == 16 and rng.random() < 0.7:
        pixels //= rng.choice([1, 100, 300])
    chunks = []
    if color == 3:
        # Some palettes end before the greatest index.
        colors = min(256, top + 1) if rng.random() < 0.7 else rng.randint(1, min(256, top + 1))
        chunks.append((b"PLTE", rng.randbytes(3 * colors)))
    transparency = ""
    if rng.random() < 0.5 and color in [0, 2, 3]:
        transparency = "transparent"
        some = pixels[rng.randrange(height), rng.randrange(width)]
        values = rng.randbytes(rng.randint(1, colors)) if color == 3 else struct.pack(f">{channels}H", *map(int, some))
        chunks.append((b"tRNS", values))
    if rng.random() < 0.2:
        chunks.insert(0, (b"gAMA", struct.pack(">I", 45455)))
    if rng.random() < 0.2:
        chunks.insert(0, (b"tEXt", b"Comment\0some words"))
    interlaced = rng.random() < 0.4

    def rows(part):
        for row in part:
            if depth == 16:
                raw = row.astype(">u2").tobytes()
            elif depth == 8:
                raw = row.astype(np.uint8).tobytes()
            else:
                bits = "".join(f"{int(v):0{depth}b}" for v in row.reshape(-1))
                raw = int(bits + "0" * (-len(bits) % 8), 2).to_bytes(ceiling(len(bits), 8), "big")
            filter_type = rng.choice([0, 1, 2])
            step = max(1, depth * channels // 8)
            before = rows.before if rows.before is not None and len(rows.before) == len(raw) else bytes(len(raw))
            left = bytes(step) + raw
            of = {0: bytes(len(raw)), 1: left, 2: before}[filter_type]
            rows.before = raw
            yield bytes([filter_type]) + bytes((a - b) % 256 for a, b in zip(raw, of))

    raw = b""
    for x, y, dx, dy in PASSES if interlaced else [(0, 0, 1, 1)]:
        part = pixels[y::dy, x::dx]
        rows.before = None
        raw += b"".join(rows(part)) if part.size else b""
    body = zlib.compress(raw)
    cut = rng.randint(0, len(body))
    parts = [body[:cut], body[cut:]] if rng.random() < 0.3 else [body]
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunk(*c) for c in chunks)
    data += b"".join(chunk(b"IDAT", part) for part in parts)
    ending = rng.choice(["", "", "", "text behind", "garbage behind", "cut"])
    if ending == "text behind":
        data += chunk(b"tEXt", b"Comment\0more")
    data += chunk(b"IEND", b"")
    if ending == "garbage behind":
        data += rng.randbytes(50)
    if ending == "cut":
        data = data[: rng.randrange(len(data) // 2, len(data) - 20)]
    words = ["png", f"color {color}", f"{width}x{height}", f"depth {depth}", transparency]
    return words + ["interlaced" if interlaced else "rows", f"{len(parts)} parts", ending], data


def scene(rng):
    """What gives pictures of a width and height, with values from 0 to 1."""

    def picture(width, height):
        if rng.random() < 0.1:
            return np.random.default_rng(rng.randrange(1 << 30)).random((height, width))
        return plane(width, height, rng.randrange(1 << 30)) / 255

    return picture


def broken(rng, data, words):
    """A file that is cut, or some bytes of which are others."""
    if rng.random() < 0.3:
        words.append("cut")
        return data[: rng.randrange(len(data))]
    words.append("changed")
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        # Many changes are in the head or, as a TIFF's directory may be there, near the end.
        ends = [(0, len(data)), (0, min(len(data), 300)), (max(0, len(data) - 300), len(data))]
        at = rng.randrange(*rng.choice(ends))
        data[at] = rng.choice([0, 255, data[at] ^ 1 << rng.randrange(8), rng.randrange(256)])
    return bytes(data)


def draw_format(rng, name, sides=SIDES, damage=0.25):
    """As `draw`, of the format of a file name's extension."""
    if name == "jpg":
        return draw(rng, sides)
    if name == "png":
        return draw_png(rng, sides)
    words, data = {"gif": gifs, "tif": tiffs}[name].draw(rng, scene(rng), sides)
    return words, broken(rng, data, words) if rng.random() < damage else data


def pillow(data):
    """`WIDTH HEIGHT CRC` or the error."""
    try:
        image = Image.open(io.BytesIO(data))
        image = image.convert("RGB")
    except Exception as error:
        return f"refused {error}".replace("\n", " ")
    return f"{image.width} {image.height} {zlib.crc32(image.tobytes()):08x}"


def posterize(paths):
    """One line a picture, as `pillow`."""
    done = subprocess.run([PIXELS], input="\n".join(map(str, paths)), capture_output=True, text=True)
    if done.stderr or done.returncode:
        print(f"the program said on stderr, exit {done.returncode}:\n{done.stderr[:3000]}")
    return done.stdout.splitlines()


def compare(folder, count, seed, formats):
    folder.mkdir(parents=True, exist_ok=True)
    rng, paths, words, theirs = random.Random(seed), [], [], []
    while len(paths) < count:
        kind = rng.choice(formats)
        try:
            what, data = draw_format(rng, kind)
        except ValueError as error:
            print(error)
            continue
        path = folder / f"{seed}_{len(paths):05}.{kind}"
        path.write_bytes(data)
        paths.append(path)
        words.append(", ".join(what))
        theirs.append(pillow(data))
    counts, reasons = collections.Counter(), collections.Counter()
    with open(folder / f"{seed}.txt", "w") as report:
        for path, what, their, our in zip(paths, words, theirs, posterize(paths), strict=True):
            if our == their:
                kind = "equal"
            elif our.startswith("refused") and their.startswith("refused"):
                kind = "both refuse"
            elif our.startswith("refused"):
                kind = "we refuse"
            else:
                kind = "only Pillow refuses" if their.startswith("refused") else "DIFFERENT"
            counts[kind] += 1
            if kind in ["we refuse", "both refuse"]:
                reasons[kind, our.split(": ", 2)[-1][:110]] += 1
            print(path.name, kind, what, their, our, sep=" | ", file=report)
    for (kind, reason), number in sorted(reasons.items()):
        print(f"{number:6} {kind}: {reason}")
    print(dict(counts))


def goldens(count=140):
    """Pictures of which each shows something that none before it does."""
    pictures = HERE / "pictures"
    pictures.mkdir(exist_ok=True)
    for old in pictures.iterdir():
        old.unlink()
    rng, seen, lines, refused = random.Random(5), set(), [], 0
    sides = [1, 3, 8, 15, 17, 24, 33, 40]
    while len(lines) < count:
        if len(lines) % 4 == 3:
            words, data = draw_png(rng, sides)
            color, mode, _, depth, transparency, order, _, ending = words
            shows = {(mode, depth, transparency), (mode, depth, order)} | {("png", ending)}
            content, name = "", f"png {len(lines):03}.png"
        else:
            words, data = draw(rng, sides, damage=0)
            color, style, _, sampling, content, *_ = words
            # The kind of coding and what follows it are the last words.
            coding = " ".join(word for word in words[5:] if ":" not in word and "scans [" not in word)
            shows = {(color, style), (color, sampling), (coding.split(" restart")[0], color), coding}
            name = f"{color} {len(lines):03}.jpg"
        path = pictures / name.replace(" ", "_")
        if len(data) > 6000 or content == "noise" or len(shows - seen) < 2 - (color == "png"):
            continue
        path.write_bytes(data)
        theirs, (ours,) = pillow(data), posterize([path])
        refuses = theirs.startswith("refused")
        if (ours.startswith("refused") and not refuses) or (refuses and refused == 15):
            path.unlink()
            continue
        refused += refuses
        seen |= shows
        lines.append(f"{path.name} {'refused' if refuses else theirs}")
    for name, some in [("gif", 40), ("tif", 60)]:
        lines += shown(random.Random(5), name, some, [1, 2, 3, 5, 8, 17, 20])
    (HERE / "expected.txt").write_text("\n".join(lines) + "\n")


def shown(rng, name, count, sides):
    """The lines of GIFs or TIFFs of which each shows something that none before it does."""
    seen, lines, refused = set(), [], 0
    while len(lines) < count:
        words, data = draw_format(rng, name, sides, damage=0.1)
        if name == "gif":
            shows = set(words[1:])
        elif "by Pillow" in words:
            shows = {("by Pillow", words[2])}
        else:
            _, order, big, kind, bits, extra, _, planar, compression, predictor, fill, cut, *rest = words
            cut = cut.split()[0]
            shows = {(kind, bits, big), (kind, extra), (bits, order, compression), (compression, predictor, planar)}
            shows |= {(cut, compression, fill), (cut, planar), *rest}
        path = HERE / "pictures" / f"{name}_{len(lines):03}.{name}"
        if len(data) > 2500 or len(shows - seen) < (1 if name == "gif" else 2):
            continue
        path.write_bytes(data)
        theirs, (ours,) = pillow(data), posterize([path])
        refuses = theirs.startswith("refused")
        if (ours.startswith("refused") and not refuses) or (refuses and refused == count // 6):
            path.unlink()
            continue
        refused += refuses
        seen |= shows
        lines.append(f"{path.name} {'refused' if refuses else theirs}")
    return lines


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("compare")
    one.add_argument("folder", type=pathlib.Path)
    one.add_argument("--count", type=int, default=4000)
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--formats", default="jpg,jpg,jpg,jpg,png,gif,tif")
    commands.add_parser("goldens")
    options = parser.parse_args()
    if options.command == "goldens":
        goldens()
    else:
        compare(options.folder, options.count, options.seed, options.formats.split(","))


if __name__ == "__main__":
    main()
