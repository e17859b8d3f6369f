"""The Python of the pages in docs/deployment runs."""

import onnx
import pytest
import torch
from doc_pages import ROOT, python_blocks
from torch import nn

from attnpool_mm.deploy.onnx import export_onnx
from attnpool_mm.pooling import LocalImportancePool2d

DEPLOYMENT = ROOT / "docs" / "deployment"


@pytest.fixture
def network():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=4),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        LocalImportancePool2d(16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    ).eval()


def the_block(page):
    (block,) = python_blocks(DEPLOYMENT / page)
    return block


def test_pruning(network):
    names = dict(model=network)
    exec(the_block("pruning.md"), names)
    pruned = names["pruned"]
    assert pruned is not network and pruned[0].out_channels == 8
    assert pruned(torch.rand(1, 3, 224, 224)).shape == (1, 4)


def test_int8(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    batches = [torch.rand(1, 3, 32, 32) for _ in range(3)]
    export_onnx(network, "model.onnx", (3, 32, 32))
    exec(the_block("int8.md"), dict(batches=batches))
    kinds = {node.op_type for node in onnx.load("model-int8.onnx").graph.node}
    assert "QuantizeLinear" in kinds
