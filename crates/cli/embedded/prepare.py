"""Converts Fashion-MNIST's four idx files to PNG pictures, with one folder for each class.

    python3 prepare.py fashion-mnist                      # train/ of 60,000 pictures, val/ of 10,000
    python3 prepare.py pictures.zip --train 120 --val 100

Writes train/, val/ (from the test files) and classes.txt into the given folder or zip archive. --train
and --val limit the number of pictures of each class to the first ones in the idx files. The second
command wrote the archive beside this script. A picture's name is its number in the idx file.

The files in an archive are not compressed, because PNG already is, and are sorted by their paths and
have no times. So the same data gives the same bytes.

The idx files are in Debian's package dataset-fashion-mnist, and at
https://github.com/zalandoresearch/fashion-mnist; --source is their folder. Needs only Python.
"""

import argparse
import gzip
import pathlib
import struct
import zipfile
import zlib

SOURCE = "/usr/share/datasets/fashion-mnist"
NAMES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]
# They begin with the class number, so that sorting the folders gives the class numbers.
FOLDERS = [
    f"{number}_{name.lower().replace('/', '_').replace(' ', '_')}"
    for number, name in enumerate(NAMES)
]
SPLITS = {"train": "train", "val": "t10k"}


def idx(path, dimensions):
    """Returns the sizes and the bytes of an idx file of unsigned bytes."""
    data = gzip.open(path).read()
    header = struct.Struct(f">HBB{dimensions}I")
    zero, kind, found, *sizes = header.unpack_from(data)
    if (zero, kind, found) != (0, 8, dimensions):
        raise SystemExit(f"{path}: expected an idx file of bytes with {dimensions} dimensions")
    return sizes, data[header.size:]


def chunk(kind, data):
    """Returns a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def filtered(kind, row, above):
    """Returns a row of gray pixels with PNG's filter 0 (none), 1 (left) or 2 (above)."""
    before = [bytes(len(row)), b"\0" + row[:-1], above][kind]
    return bytes([kind]) + bytes((value - other) & 255 for value, other in zip(row, before))


def png(pixels, width, height):
    """Encodes a gray picture with that of three filters that makes it smallest."""
    rows = [pixels[at:at + width] for at in range(0, len(pixels), width)]
    above = [bytes(width), *rows]
    candidates = (
        zlib.compress(b"".join(filtered(kind, *pair) for pair in zip(rows, above)), 9)
        for kind in range(3)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", min(candidates, key=len)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def split(source, prefix, limit):
    """Returns the pictures of one split by their paths, at most `limit` of each class."""
    [count, height, width], pixels = idx(source / f"{prefix}-images-idx3-ubyte.gz", 3)
    [labelled], labels = idx(source / f"{prefix}-labels-idx1-ubyte.gz", 1)
    if count != labelled:
        raise SystemExit(f"{source}: found {count} pictures but {labelled} labels in {prefix}")
    taken = [0] * len(NAMES)
    pictures = {}
    for number, label in enumerate(labels):
        if limit is not None and taken[label] >= limit:
            continue
        taken[label] += 1
        at = number * height * width
        path = f"{FOLDERS[label]}/{number:05}.png"
        pictures[path] = png(pixels[at:at + height * width], width, height)
    return pictures


def write_folder(folder, files):
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def write_archive(archive, files):
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as written:
        for path, content in sorted(files.items()):
            entry = zipfile.ZipInfo(path)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o100644 << 16
            written.writestr(entry, content)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=pathlib.Path, help="folder, or file named *.zip, to write")
    parser.add_argument("--source", type=pathlib.Path, default=SOURCE, help="folder of the idx files")
    parser.add_argument("--train", type=int, metavar="N", help="training pictures of each class")
    parser.add_argument("--val", type=int, metavar="N", help="validation pictures of each class")
    arguments = parser.parse_args()
    lines = (f"{folder} {name}\n" for folder, name in zip(FOLDERS, NAMES))
    files = {"classes.txt": "".join(lines).encode()}
    for name, prefix in SPLITS.items():
        pictures = split(arguments.source, prefix, getattr(arguments, name))
        files |= {f"{name}/{path}": content for path, content in pictures.items()}
        print(f"{name}: {len(pictures)} pictures, {sum(map(len, pictures.values()))} bytes")
    write = write_archive if arguments.output.suffix == ".zip" else write_folder
    write(arguments.output, files)


if __name__ == "__main__":
    main()
