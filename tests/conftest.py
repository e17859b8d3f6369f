"""Settings of the suite: reproducible, and one thread where processes are many."""

import os
from collections import OrderedDict
from importlib import import_module
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.utils import ManagerMixin
from tool_modules import error_of, output_of, tools_undone  # noqa: F401 (fixtures)

from attnpool_mm.checkpoint.loading import FORCE_SAFE
from attnpool_mm.checkpoint.mmengine_loading import FORCE_UNSAFE

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the tools that tests start
    torch.set_num_threads(1)


# These fork trainings, which PyTorch refuses after certain backward passes.
FORKING = ("test_checkpointing.py", "test_interruption.py")
# Each takes minutes on one process: last, the other would wait for it.
LONGEST = ("test_demo.py", "test_configs.py", "test_launching.py", "test_train_test.py")


def pytest_configure():
    """Say what to run in a checkout that is not installed."""
    if not (Path(__file__).parents[1] / "attnpool_mm" / ".mim" / "configs").exists():
        raise pytest.UsageError("attnpool_mm/.mim: run python setup.py --version once")
    # writes the cache of its grammar, which another process may find half-written
    import_module("yapf")


def pytest_collection_modifyitems(items):
    """Put files that have to be early first; `make test` deals out in this order."""
    places = {name: place for place, name in enumerate(FORKING + LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def managers(kind):
    """The classes that keep their instances by name."""
    for below in kind.__subclasses__():
        yield below
        yield from managers(below)


@pytest.fixture(autouse=True)
def _nothing_of_earlier_tests(monkeypatch):
    """No test sees the scopes, or the way of loading, that earlier ones have left.

    Nor their loggers, which write to an output that is closed, nor what runs of the
    same name and second have logged.
    """
    for kind in managers(ManagerMixin):
        monkeypatch.setattr(kind, "_instance_dict", OrderedDict())
    schemes = dict(CheckpointLoader._schemes)
    monkeypatch.setattr(CheckpointLoader, "_schemes", schemes)
    for name in (FORCE_SAFE, FORCE_UNSAFE):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)


@pytest.fixture
def mmpretrain_scope():
    """MMPretrain's default scope."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield
