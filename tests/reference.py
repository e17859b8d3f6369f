"""The authors' networks as vectors: weights and inputs by formula, outputs stored.

`reference_vectors/NAME.json` has the state dict's names and shapes, NAME.npz what
the authors' code computes from them. The weights follow from name and shape.
"""

import json
import math
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


def assert_layer_agrees(layer, case, training=True):
    """Outputs and input gradient of a layer are the stored ones."""
    x = case.input.requires_grad_()
    layer.eval()
    torch.testing.assert_close(layer(x), case["eval0"], atol=1e-5, rtol=0)
    if not training:
        return
    layer.train()
    y = layer(x)
    torch.testing.assert_close(y, case["train0"], atol=2e-5, rtol=0)
    Case.loss([y]).backward()
    expected = case["grad_input"]
    # The stored gradients are float32: up to 1.1e-5 from the same in float64.
    tolerance = 2e-5 * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(x.grad, expected, atol=tolerance, rtol=0)
