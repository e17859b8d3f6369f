"""The authors' networks as vectors: weights and inputs by formula, outputs stored.

`reference_vectors/NAME.json` has the state dict's names and shapes, NAME.npz what
the authors' code computes from them. The weights follow from name and shape.
"""

import json
import math
import re
import zlib
from pathlib import Path

import numpy as np
import torch

VECTORS = Path(__file__).parent / "reference_vectors"


def _phase(text):
    return zlib.crc32(text.encode()) % 1000 / 1000 * 2 * math.pi


def _weight(name, shape):
    n = math.prod(shape)
    v = np.sin(0.7390851 * np.arange(n) + _phase(name))
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_var"):
        v = 1 + 0.5 * v
    elif name.endswith(("running_mean", "bias")):
        v = 0.1 * v
    elif name.endswith("weight") and len(shape) == 1:
        v = 1 + 0.3 * v
    elif len(shape) > 1:
        v = v * math.sqrt(2 / max(n / shape[0], 1))
    else:
        v = 0.5 * v
    return torch.from_numpy(v.reshape(shape)).float()


class Case:
    """One reference case: `state`, `input`, and the stored arrays by name."""

    def __init__(self, name):
        spec = json.loads((VECTORS / f"{name}.json").read_text())
        self.state = {k: _weight(k, shape) for k, shape in spec["state"].items()}
        i = np.arange(math.prod(spec["input_shape"]))
        phase = _phase(name)
        x = np.sin(0.9272952 * i + phase) + 0.5 * np.cos(0.0312 * i + 2 * phase)
        self.input = torch.from_numpy(x.reshape(spec["input_shape"])).float()
        self.arrays = np.load(VECTORS / f"{name}.npz")

    def __getitem__(self, name):
        return torch.from_numpy(self.arrays[name])

    @staticmethod
    def loss(outs):
        """The loss whose input gradient is stored."""
        # The sine of large angles: they need float64.
        return sum(
            (out.flatten() * torch.sin(0.31 * torch.arange(out.numel()).double())).sum()
            for out in outs
        )


POOL_NAMES = {
    "downsample.0": "embed.conv",
    "downsample.1": "embed.norm",
    "multihead_attn": "attention",
    "restore.0": "restore.conv",
    "restore.1": "restore.norm",
    "pos_embed.row_embed.weight": "position.row",
    "pos_embed.col_embed.weight": "position.column",
    "logit.0": "conv",
    "logit.1": "norm",
}


def pool_key(key):
    """The authors' name inside a pool → ours."""
    for theirs, ours in POOL_NAMES.items():
        key = key.replace(theirs, ours)
    return key


def backbone_state(state):
    """The authors' state dict of a backbone → ours."""
    state = {key.removeprefix("net."): value for key, value in state.items()}
    # Their `mobilenet` counts the pool at the start of a stage as a block.
    pool_first = {
        m[1] for key in state if (m := re.match(r"features\.(\d)\.0\.logit", key))
    }
    return {_backbone_key(key, pool_first): value for key, value in state.items()}


def _backbone_key(key, pool_first):
    if "logit.pool_weight." in key:
        place, inner = key.split("logit.pool_weight.")
        stage = re.match(r"(layer\d|features\.(\d)|pool)", place)
        name = stage[1] if stage[2] is None else f"layer{int(stage[2]) + 1}"
        name = "maxpool" if name == "pool" else f"{name}.pool"
        return f"{name}.{pool_key(inner)}"
    key = re.sub(r"^(conv\d)\.(\d)\.", lambda m: f"{m[1]}.{_conv_or_bn(m[2])}.", key)
    block = re.match(r"features\.(\d)\.(\d)\.conv\.(\d)\.(.*)", key)
    if block is None:
        return key
    stage, index, layer, rest = block.groups()
    index = int(index) - (stage in pool_first)
    layer = f"{int(layer) // 3}.{_conv_or_bn(layer)}"
    return f"layer{int(stage) + 1}.{index}.conv.{layer}.{rest}"


def _conv_or_bn(index):
    return "conv" if int(index) % 3 == 0 else "bn"
