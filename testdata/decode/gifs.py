"""Draws GIFs of every kind for generate.py."""

import struct


def pack(codes):
    """Codes with their widths, as bytes; the lowest bits are first."""
    value, at = 0, 0
    for code, width in codes:
        value |= code << at
        at += width
    return value.to_bytes((at + 7) // 8, "little")


def lzw(values, bits, style, rng):
    """The codes of `values` of `bits` bits each, with their widths.

    `style` is "common" or another choice that decoders meet: "no first clear", "never cleared" (the full
    table stays), "often cleared", "plain" (no strings), "no end"."""
    clear, end = 1 << bits, (1 << bits) + 1
    codes, table, width, known = [], {}, bits + 1, end + 1
    before = None  # whether the decoder adds a string at the next code

    def put(code):
        nonlocal width, known, before
        codes.append((code, width))
        if code == clear:
            table.clear()
            width, known, before = bits + 1, end + 1, None
            return
        if before is not None and known < 4096:
            known += 1
            if known == 1 << width and width < 12:
                width += 1
        before = code

    if style != "no first clear":
        put(clear)
    string = ()
    for value in values:
        longer = string + (value,)
        if style != "plain" and (len(longer) == 1 or longer in table):
            string = longer
            continue
        if string:
            put(string[0] if len(string) == 1 else table[string])
            # The decoder knows this string one code later.
            if known < 4096 and style != "plain":
                table[longer] = known
        string = (value,)
        full = known >= 4094 and style != "never cleared"
        if full or (style == "often cleared" and rng.random() < 0.02):
            put(string[0])
            put(clear)
            string = ()
    if string:
        put(string[0] if len(string) == 1 else table[string])
    if style != "no end":
        put(end)
    return codes


def blocks(rng, data, ending=True):
    out = b""
    size = rng.choice([255, 255, 255, 1, 7, 100])
    for at in range(0, len(data), size):
        part = data[at : at + size]
        out += bytes([len(part)]) + part
    return out + (b"\0" if ending else b"")


def interlaced(height):
    return [y for first, step in [(0, 8), (4, 8), (2, 4), (1, 2)] for y in range(first, height, step)]


def palette(rng, bits):
    kind = rng.choice(["noise"] * 4 + ["identity", "nearly identity"])
    colors = rng.randbytes(3 << bits)
    if kind != "noise":
        colors = bytes(i for i in range(1 << bits) for _ in range(3))
    if kind == "nearly identity":
        colors = colors[:-1] + bytes([colors[-1] ^ 1])
    return kind, colors


def extension(rng, words):
    kind = rng.choice(["comment", "netscape", "text", "unknown", "empty", "garbage"])
    words.append(kind)
    if kind == "comment":
        return b"!\xfe" + blocks(rng, rng.randbytes(rng.randint(0, 300)))
    if kind == "netscape":
        return b"!\xff\x0bNETSCAPE2.0" + rng.choice([b"\3\1\0\0\0", b"\0", b"\1\7\0"])
    if kind == "text":
        return b"!\x01\x0c" + bytes(12) + blocks(rng, b"some words")
    if kind == "unknown":
        return b"!\x77" + blocks(rng, rng.randbytes(40))
    if kind == "empty":
        return rng.choice([b"!\x77\0", b"!\xfe\0", b"!\xf9\0"])
    return rng.choice([b"\0", b"\0\0", b"x"])


def control(rng, words):
    flags, index = rng.choice([0, 1, 1]), rng.randrange(256)
    flags |= rng.choice([0, 4, 8, 12])
    words.append(f"transparent {index}" if flags & 1 else "control")
    return struct.pack("<BBBBHBB", 33, 249, 4, flags, rng.choice([0, 10]), index, 0)


def frame(rng, picture, words, screen, sides):
    """An image descriptor with its pixels; `picture(width, height)` gives values from 0 to 1."""
    width, height = rng.choice(sides), rng.choice(sides)
    if rng.random() < 0.6:
        (width, height), left, top = screen, 0, 0
    else:
        left, top = rng.choice([0, 0, 1, 5, 40]), rng.choice([0, 0, 1, 5, 40])
    bits = rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 8, 8])
    top_value = rng.choice([(1 << bits) - 1, (1 << bits) - 1, max(1, (1 << bits) - 3)])
    values = (picture(width, height) * top_value).round().astype(int)
    is_interlaced = rng.random() < 0.35
    order = interlaced(height) if is_interlaced else range(height)
    values = [int(v) for y in order for v in values[y]]
    style = rng.choice(["common"] * 6 + ["no first clear", "never cleared", "often cleared", "plain", "no end"])
    ending = rng.choice(["whole"] * 12 + ["short", "long", "no last block", "empty block"])
    if ending == "short":
        values = values[: rng.randrange(len(values) + 1)]
    if ending == "long":
        values += values[: rng.randint(1, 30)]
    # Some encoders take the number of bits for two colours, although at least 2 are right.
    code_bits = bits if bits > 1 or rng.random() < 0.3 else 2
    # Codes of strings have no room then, because they do not get wider.
    style = "plain" if code_bits == 1 else style
    data = pack(lzw(values, code_bits, style, rng))
    flags, colors, kind = is_interlaced << 6, b"", "no palette"
    if rng.random() < 0.4:
        palette_bits = rng.choice([bits, bits, rng.randint(1, 8)])
        kind, colors = palette(rng, palette_bits)
        flags |= 0x80 | palette_bits - 1
    words += [f"{bits} bits", f"local {kind}", "interlaced" if is_interlaced else "rows", style, ending]
    words.append("whole screen" if (width, height) == screen and not left and not top else "part")
    pixels = blocks(rng, data, ending != "no last block")
    if ending == "empty block":
        at = 1 + pixels[0]
        pixels = pixels[:at] + b"\0" + pixels[at:]
    return struct.pack("<BHHHHB", 44, left, top, width, height, flags) + colors + bytes([code_bits]) + pixels


def draw(rng, picture, sides):
    """One GIF: what it is, in words, and its bytes."""
    words = []
    screen = rng.choice(sides), rng.choice(sides)
    bits = rng.randint(1, 8)
    kind, colors = palette(rng, bits)
    flags = 0x80 | bits - 1
    if rng.random() < 0.2:
        kind, colors, flags = "none", b"", 0
    out = rng.choice([b"GIF87a", b"GIF89a", b"GIF89a"])
    words += [f"{screen[0]}x{screen[1]}", f"global {kind}"]
    out += struct.pack("<HHBBB", *screen, flags, rng.randrange(256), 0) + colors
    for _ in range(rng.choice([0, 0, 1, 2])):
        out += extension(rng, words)
    for _ in range(rng.choice([0, 1, 1, 2])):
        out += control(rng, words)
    out += frame(rng, picture, words, screen, sides)
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        words.append("another frame")
        out += control(rng, []) + frame(rng, picture, [], screen, sides)
    ending = rng.choice([";", ";", ";", "none", "noise"])
    words.append(f"trailer {ending}")
    out += {";": b";", "none": b"", "noise": b";" + rng.randbytes(40)}[ending]
    return words, out
