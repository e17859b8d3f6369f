"""Settings of the suite: reproducible, and one thread where processes are many."""

import os
from collections import OrderedDict

import pytest
import torch
from mmengine.registry import DefaultScope

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the tools that tests start
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_default_scope(monkeypatch):
    """No test sees the scopes that the `Runner`s of earlier ones have left."""
    monkeypatch.setattr(DefaultScope, "_instance_dict", OrderedDict())


@pytest.fixture
def mmpretrain_scope():
    """MMPretrain's default scope."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield
