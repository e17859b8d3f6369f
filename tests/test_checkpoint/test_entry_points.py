"""Whatever loads a checkpoint, loads it as data."""

import pytest
from checkpoint_entry_points import ENTRY_POINTS, Place
from crafted_checkpoints import Traps, craft
from tool_modules import undone

import attnpool_mm.apis  # noqa: F401 (makes loading safe by itself)
from attnpool_mm.utils.errors import ConfigError

TEXTS = ["config in the training's state", "config in meta"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with undone():
        yield Place.make(tmp_path_factory.mktemp("place"))


@pytest.fixture
def outcome(place, monkeypatch, tools_undone, capsys):
    """Run an entry point on a crafted checkpoint; return its error, if any."""
    monkeypatch.chdir(place.folder)
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    traps = Traps(place.folder, place.work_dir)

    def run(entry, name):
        path = craft(name, place.base(entry), traps)
        capsys.readouterr()
        try:
            ENTRY_POINTS[entry](path, place)
            error = None
        except (ConfigError, ValueError) as caught:
            error = str(caught)
        except SystemExit as stop:
            assert stop.code == 2
            error = capsys.readouterr().err.splitlines()[-1]
        assert traps.untouched()
        assert error is None or "\n" not in error
        return error

    return run


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_it_goes_through_the_loader(entry, outcome):
    assert "refused: it names" in outcome(entry, "os.system")


@pytest.mark.parametrize("name", TEXTS)
def test_no_config_of_a_checkpoint_is_run(name, outcome):
    error = outcome("DetInferencer without a config", name)
    assert "config" in error


def test_a_better_score_deletes_no_foreign_path(place, outcome):
    assert outcome("train.py --resume FILE", "best_ckpt elsewhere") is None
    assert list(place.work_dir.glob("best_accuracy*epoch_2.pth"))
