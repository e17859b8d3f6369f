"""What a training goes on from."""

import logging
import os
import shutil
from pathlib import Path

import pytest
import torch
from trainings import Recorder, make_runner, train

from attnpool_mm.engine.newest_checkpoint import find_resumable, resume_newest
from attnpool_mm.utils.errors import ConfigError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The files of a training of three epochs, by name."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(folder)
    return {path.name: path.read_bytes() for path in folder.glob("*.pth")}


@pytest.fixture
def folder(trained, tmp_path):
    """A work folder with three checkpoints, of which nothing says the last."""
    for age, (name, content) in enumerate(sorted(trained.items(), reverse=True)):
        path = tmp_path / name
        path.write_bytes(content)
        os.utime(path, (1e9 - age, 1e9 - age))
    return tmp_path


def say(folder, name):
    (folder / "last_checkpoint").write_text(str(folder / name))


def test_what_last_checkpoint_names_comes_first(folder):
    say(folder, "epoch_2.pth")
    assert find_resumable(folder) == (str(folder / "epoch_2.pth"), [])


@pytest.mark.parametrize("original", ["stays", "goes"])
def test_a_copy_goes_on_from_its_own_files(folder, tmp_path_factory, original):
    say(folder, "epoch_2.pth")
    copy = tmp_path_factory.mktemp("copies") / "run"
    shutil.copytree(folder, copy)
    if original == "goes":
        shutil.rmtree(folder)
    assert find_resumable(copy) == (str(copy / "epoch_2.pth"), [])
    (copy / "epoch_2.pth").unlink()
    found, _ = find_resumable(copy)
    assert Path(found).parent == copy


def test_the_out_dir_of_a_hook_is_no_other_run(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    shutil.copy2(folder / "epoch_3.pth", out / "epoch_1.pth")
    (folder / "last_checkpoint").write_text(str(out / "epoch_1.pth"))
    assert find_resumable(folder) == (str(out / "epoch_1.pth"), [])


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def aimless(path):
    """Take out how far the training is."""
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint["meta"]["iter"]
    torch.save(checkpoint, path)


@pytest.mark.parametrize(
    "damage", [half, Path.unlink, lambda p: p.write_text(""), aimless]
)
def test_the_newest_that_loads_is_next(folder, damage):
    say(folder, "epoch_3.pth")
    damage(folder / "epoch_3.pth")
    torch.save({"state_dict": {}}, folder / "best.pth")  # newer, and no training
    found, passed = find_resumable(folder)
    assert found == str(folder / "epoch_2.pth")
    assert [str(folder / "epoch_3.pth") in line for line in passed] == [True, False]
    assert str(folder / "best.pth") in passed[1] and "optimizer" in passed[1]


@pytest.mark.parametrize("pointer", [None, ""])
def test_without_a_name_the_newest_is_taken(folder, pointer):
    if pointer is not None:
        (folder / "last_checkpoint").write_text(pointer)
    assert find_resumable(folder) == (str(folder / "epoch_3.pth"), [])


def test_nothing_that_loads_is_an_error(folder):
    for path in folder.glob("*.pth"):
        path.write_text("no checkpoint")
    say(folder, "epoch_3.pth")
    with pytest.raises(ConfigError, match="--resume.*epoch_1") as error:
        find_resumable(folder)
    assert "\n" not in str(error.value)


class TestRunner:
    def resumed(self, folder, caplog, **keys):
        runner = make_runner(folder, Recorder(), resume=True, log_level="INFO", **keys)
        runner.logger.addHandler(caplog.handler)
        resume_newest(runner)
        runner.train()
        lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        return runner, [line for line in lines if "--resume" in line]

    def test_it_goes_on_and_says_from_what(self, folder, caplog):
        say(folder, "epoch_2.pth")
        half(folder / "epoch_2.pth")
        (folder / "epoch_3.pth").unlink()
        expected = train(folder.parent / f"{folder.name}-whole")
        runner, (line,) = self.resumed(folder, caplog)
        assert str(folder / "epoch_1.pth") in line and "epoch_2.pth" in line
        assert len(runner.model.own) == 8  # two epochs of four steps
        assert torch.equal(runner.model.weight, expected.weight)

    def test_it_starts_anew_and_says_so(self, tmp_path, caplog):
        runner, (line,) = self.resumed(tmp_path, caplog)
        assert str(tmp_path) in line and "anew" in line
        assert len(runner.model.own) == 12

    def test_it_starts_from_the_weights_of_the_config(self, folder, tmp_path, caplog):
        weights = folder / "epoch_3.pth"
        empty = tmp_path / "empty"
        loaded = []
        model = Recorder({0: lambda: loaded.append(runner_model.weight.item())})
        runner_model = model
        runner = make_runner(empty, model, resume=True, load_from=str(weights))
        resume_newest(runner)
        runner.train()
        expected = torch.load(weights, weights_only=False)["state_dict"]["weight"]
        assert loaded == [expected.item()] and len(model.own) == 12
