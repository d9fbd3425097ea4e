#!/usr/bin/env python3
"""Writes the names and shapes of the state dicts of timm's models, in order, without
`num_batches_tracked`: MODEL.txt, a line for each tensor.

    pip install torch timm && python generate.py

The test crates/posterize/tests/names.rs compares them with the names of the same networks here.
"""

from pathlib import Path

import timm

HERE = Path(__file__).parent
MODELS = [
    "mobilenetv2_100",
    "mobilenetv2_050",
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite3",
    "resnet18",
    "resnet50",
]

for name in MODELS:
    lines = [
        f"{key} {'x'.join(map(str, tensor.shape))}\n"
        for key, tensor in timm.create_model(name).state_dict().items()
        if not key.endswith("num_batches_tracked")
    ]
    (HERE / f"{name}.txt").write_text("".join(lines))
