"""Settings of the suite: reproducible, and one thread where processes are many."""

import os

import pytest
import torch
from mmengine.registry import DefaultScope

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the tools that tests start
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def mmpretrain_scope():
    """MMPretrain's default scope, whatever an earlier test has left."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield
