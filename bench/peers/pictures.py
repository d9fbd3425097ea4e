"""Reads pictures in ImageFolder layout, and preprocesses them with torchvision."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from networks import Preprocessing

SUFFIXES = {".jpg", ".jpeg", ".png"}


def transform(pre: Preprocessing):
    return transforms.Compose([
        transforms.Resize(pre.resize),
        transforms.CenterCrop(pre.size),
        transforms.ToTensor(),
        transforms.Normalize(pre.mean, pre.std),
    ])


def class_numbers(data: Path, classes: Path | None) -> dict[str, int]:
    """Maps folder names to class numbers, by the first words of the lines of `classes` or by the sorted
    folders."""
    if classes is not None:
        return {line.split()[0]: i for i, line in enumerate(classes.read_text().splitlines())}
    return {name: i for i, name in enumerate(sorted(p.name for p in data.iterdir() if p.is_dir()))}


class Pictures(torch.utils.data.Dataset):
    """A data set of (tensor [3, H, W], class number), in the order of the sorted paths."""

    def __init__(self, data: Path, pre: Preprocessing, classes: Path | None = None, limit: int | None = None):
        numbers = class_numbers(data, classes)
        paths = sorted(p for p in data.rglob("*") if p.suffix.lower() in SUFFIXES)[:limit]
        self.items = [(p, numbers[p.parent.name]) for p in paths]
        self.transform = transform(pre)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        path, label = self.items[index]
        with Image.open(path) as picture:
            return self.transform(picture.convert("RGB")), label


def calibration(data: Path, pre: Preprocessing, count: int) -> np.ndarray:
    """Returns `count` pictures spread evenly over the folder: [count, 3, H, W]."""
    pictures = Pictures(data, pre)
    if len(pictures) < count:
        raise SystemExit(f"{data}: expected at least {count} pictures for calibration, found {len(pictures)}")
    step = len(pictures) / count
    return np.stack([pictures[int(i * step)][0].numpy() for i in range(count)])
