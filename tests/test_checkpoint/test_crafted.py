"""Crafted checkpoints are refused in one line, or do no harm."""

import resource
from collections import OrderedDict
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from crafted_checkpoints import CASES, LARGE, REFUSED, Traps, craft
from mmengine.logging import HistoryBuffer
from mmengine.optim import StepLR
from mmengine.runner import CheckpointLoader

from attnpool_mm.checkpoint import load_checkpoint_file, rebuild, use_safe_loading
from attnpool_mm.checkpoint.archive import read_checkpoint
from attnpool_mm.utils.errors import ConfigError

STATM = Path("/proc/self/statm")


def good_checkpoint():
    """What MMEngine writes of a small training."""
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = StepLR(optimizer, step_size=1)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    history = HistoryBuffer()
    history.update(1.5)
    return dict(
        meta=dict(epoch=1, iter=4, dataset_meta=dict(classes=("a", "b"))),
        state_dict=model.state_dict(),
        message_hub=dict(
            log_scalars={"train/loss": history},
            runtime_info=dict(keep_ckpt_ids=[1], best_score=0.5),
            resumed_keys={"train/loss": True},
        ),
        optimizer=optimizer.state_dict(),
        param_schedulers=[scheduler.state_dict()],
    )


@pytest.fixture
def traps(tmp_path):
    return Traps(tmp_path, tmp_path / "work_dir")


def texts_in(value):
    """Every string in a loaded checkpoint, keys left out."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [text for inner in value for text in texts_in(inner)]
    return [value] if isinstance(value, str) else []


def refused(path, traps, match="checkpoint "):
    with pytest.raises(ConfigError, match=match) as caught:
        load_checkpoint_file(path, work_dir=traps.work_dir)
    message = str(caught.value)
    assert str(path) in message and message.isprintable() and len(message) < 2000


@pytest.mark.parametrize("name", [name for name in CASES if name not in LARGE])
def test_a_crafted_checkpoint(name, traps):
    path = craft(name, good_checkpoint(), traps)
    if CASES[name][0] == REFUSED:
        refused(path, traps)
    else:
        checkpoint = load_checkpoint_file(path, work_dir=traps.work_dir)
        texts = texts_in({k: v for k, v in checkpoint.items() if k != "state_dict"})
        assert not any(str(traps.folder) in text for text in texts)
        assert set(checkpoint) - {"meta"} <= set(good_checkpoint())
    assert traps.untouched()


@contextmanager
def little_memory():
    """Half a gigabyte more than there is in use, which Linux holds us to."""
    if not STATM.exists():
        yield
        return
    pages = int(STATM.read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + 2**29
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("name", LARGE)
def test_no_file_takes_all_memory(name, traps):
    path = craft(name, good_checkpoint(), traps)
    assert path.stat().st_size < 2**22
    with little_memory():
        refused(path, traps, LARGE[name])
    assert traps.untouched()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_large_training_is_far_from_the_bound(zipped, monkeypatch):
    """As many small tensors as there may be, with long histories."""
    weight = torch.ones(2, 1, 1, 1)
    names = [f"backbone.layer{i}.conv.weight" for i in range(3000)]
    state = dict(momentum_buffer=weight, step=torch.tensor(1.0))
    groups = [dict(params=[i], lr=np.float64(0.1)) for i in range(3000)]
    history = HistoryBuffer(np.linspace(0, 1, 100_000), np.ones(100_000))
    checkpoint = dict(
        state_dict=OrderedDict((name, weight.clone()) for name in names),
        optimizer=dict(
            state={i: dict(state) for i in range(3000)}, param_groups=groups
        ),
        message_hub=dict(log_scalars={f"loss{i}": history for i in range(10)}),
    )
    stream = BytesIO()
    torch.save(checkpoint, stream, _use_new_zipfile_serialization=zipped)
    monkeypatch.setattr(rebuild, "MARGIN", 0)
    monkeypatch.setattr(rebuild, "SHARING", 4)
    read = read_checkpoint(stream, "cpu")
    assert list(read["state_dict"]) == names
    found = read["message_hub"]["log_scalars"]["loss9"]
    np.testing.assert_array_equal(found.data, history.data)


def test_the_good_one_loads_whole(traps):
    good = good_checkpoint()
    path = traps.folder / "good.pth"
    torch.save(good, path)
    loaded = load_checkpoint_file(path)
    history = loaded["message_hub"]["log_scalars"].pop("train/loss")
    assert history.current() == 1.5
    good["message_hub"]["log_scalars"].clear()
    for actual, expected in (
        (loaded.pop("state_dict"), good.pop("state_dict")),
        (loaded["optimizer"].pop("state"), good["optimizer"].pop("state")),
    ):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    assert loaded == good


def test_there_are_enough():
    assert len(CASES) >= 40
    assert sum(what == REFUSED for what, _ in CASES.values()) >= 40


@pytest.mark.parametrize(
    "name", ["os.system", "huge tensor", "tensor beyond its storage"]
)
def test_mmengine_refuses_it(name, traps, tools_undone):
    path = craft(name, good_checkpoint(), traps)
    use_safe_loading()
    with pytest.raises(ConfigError, match="refused"):
        CheckpointLoader.load_checkpoint(str(path))
    assert traps.untouched()
