"""Checkpoints are whole at every moment, and only outdated files go."""

import signal
from pathlib import Path

import pytest
import torch
from kill_points import forked, kill_at, limit_file_size
from mmengine.hooks import Hook
from mmengine.runner._flexible_runner import FlexibleRunner
from trainings import Draws, Recorder, make_runner, train

from attnpool_mm.checkpoint import load_checkpoint_file
from attnpool_mm.engine.newest_checkpoint import find_resumable
from attnpool_mm.utils.atomic_files import FileWriteError


def names(folder):
    """What concerns checkpoints in a work folder."""
    found = {path.name for path in folder.iterdir() if path.is_file()}
    return {name for name in found if ".pth" in name or name == "last_checkpoint"}


def hooks(interval=1, **keys):
    hook = dict(type="CheckpointHook", interval=interval, **keys)
    return dict(default_hooks=dict(checkpoint=hook))


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(max_keep_ckpts=1),
        dict(interval=2, max_keep_ckpts=1),
        dict(interval=2, save_last=False, save_optimizer=False),
        dict(interval=5, by_epoch=False, max_keep_ckpts=2),
        dict(save_best="acc", max_keep_ckpts=2, published_keys=["state_dict"]),
        dict(save_best=["acc", "other"], rule="greater", out_dir="{folder}/out"),
    ],
)
def test_the_files_are_mmengines(tmp_path, options):
    """The same names and contents as those of MMEngine's `CheckpointHook`."""
    folders = tmp_path / "a", tmp_path / "b"
    for folder, ours in zip(folders, (True, False), strict=True):
        filled = {k: v.format(folder=folder) if k == "out_dir" else v
                  for k, v in options.items()}  # fmt: skip
        train(folder, validate="save_best" in options, ours=ours, **hooks(**filled))
    first, second = (
        {path.name: path for path in folder.rglob("*.pth")} for folder in folders
    )
    assert {n.split("-")[0] for n in first} == {n.split("-")[0] for n in second}
    for name, path in first.items():
        if "-" in name:  # published, with its checksum
            assert load_checkpoint_file(path).keys() == {"state_dict"}
            continue
        checkpoint, expected = map(load_checkpoint_file, (path, second[name]))
        assert checkpoint.keys() == expected.keys()
        assert torch.equal(*(c["state_dict"]["weight"] for c in (checkpoint, expected)))
    pointers = [Path((f / "last_checkpoint").read_text()) for f in folders]
    assert pointers[0].is_file() and pointers[0].name == pointers[1].name


# Changes of the files, counted. The first epoch makes 15: opening, writing and renaming
# each of its checkpoint, the best one, the checkpoint again, and `last_checkpoint`.
MOMENTS = {
    17: "the second checkpoint is half-written",
    18: "it is to be renamed",
    20: "what is the last is half-written",
    21: "it is to be renamed",
    22: "the first checkpoint is to be removed",
    24: "the best checkpoint is half-written",
    25: "it is to be renamed",
    32: "the first best checkpoint is to be removed",
    33: None,  # it has ended
}


def test_no_moment_is_without_a_checkpoint(tmp_path):
    """Killed as it changes its files, a training goes on and ends the same."""
    keys = hooks(max_keep_ckpts=1, save_best="acc")
    keys.update(validate=True, train_cfg=dict(by_epoch=True, max_epochs=2))
    whole = train(tmp_path / "whole", **keys)
    for moment, what in MOMENTS.items():
        folder = tmp_path / str(moment)

        def killed(moment=moment, folder=folder):
            kill_at(moment, folder)
            train(folder, **keys)

        assert forked(killed) == (-signal.SIGKILL if what else 0), what
        found, passed = find_resumable(folder)
        assert (folder / "last_checkpoint").read_text() == found and passed == [], what
        best = [load_checkpoint_file(path) for path in folder.glob("best_*.pth")]
        assert best, what
        resumed = train(folder, resume=True, load_from=found, **keys)
        assert torch.equal(resumed.weight, whole.weight), what
        more = {"best_acc_epoch_1.pth"} if moment == 32 else set()
        assert names(folder) == names(tmp_path / "whole") | more, what


class Died(Exception):
    """A training ends without a chance to write anything."""


def die():
    raise Died


@pytest.mark.parametrize("interval", [1, 3, 4])  # 4 is an epoch
def test_files_of_iterations_go_on_within_an_epoch(tmp_path, interval):
    keys = hooks(interval=interval, by_epoch=False)
    whole = train(tmp_path / "whole", **keys)
    with pytest.raises(Died):
        train(tmp_path / "died", Recorder({7: die}), **keys)
    found, _ = find_resumable(tmp_path / "died")
    done = 7 // interval * interval
    assert found.endswith(f"iter_{done}.pth")
    second = train(tmp_path / "died", resume=True, load_from=found, **keys)
    assert second.own == whole.own[done:]
    assert torch.equal(second.weight, whole.weight)
    assert names(tmp_path / "died") == names(tmp_path / "whole")


@pytest.mark.parametrize("iteration", [3, 4])
def test_files_of_iterations_go_on_with_other_batches(tmp_path, iteration):
    """In the middle of an epoch that starts anew, at its end with the next one."""
    train(tmp_path, **hooks(interval=1, by_epoch=False))
    found = tmp_path / f"iter_{iteration}.pth"
    loader = dict(
        batch_size=4,
        sampler=dict(type="DefaultSampler", shuffle=False),
        collate_fn=dict(type="default_collate"),
        dataset=Draws(),
    )
    model = train(
        tmp_path / "other", resume=True, load_from=str(found), train_dataloader=loader
    )
    assert len(model.own) == 2 * (3 - iteration // 4)


class TestFlexibleRunner:
    """It counts by itself, and its strategy writes in place."""

    @staticmethod
    def keys(epochs=3):
        """MMEngine writes a run's name into the strategy that it is given."""
        return dict(
            kind=FlexibleRunner,
            strategy=dict(type="SingleDeviceStrategy"),
            validate=True,
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            **hooks(max_keep_ckpts=1, save_best="acc"),
        )

    def test_a_resumed_training_trains_all_epochs(self, tmp_path):
        whole = train(tmp_path / "whole", **self.keys())
        saved = load_checkpoint_file(tmp_path / "whole/epoch_3.pth")["meta"]
        assert (saved["epoch"], saved["iter"]) == (3, 12)
        with pytest.raises(Died):
            train(tmp_path / "died", Recorder({9: die}), **self.keys())
        found, _ = find_resumable(tmp_path / "died")
        assert found.endswith("epoch_2.pth")
        second = train(tmp_path / "died", resume=True, load_from=found, **self.keys())
        assert second.own == whole.own[8:]
        assert torch.equal(second.weight, whole.weight)

    def test_no_moment_is_without_a_checkpoint(self, tmp_path):
        """Killed while its own writing is half done: the rest is as with a `Runner`."""
        for moment in (17, 18, 24, 25, 33):
            what = MOMENTS[moment]
            folder = tmp_path / str(moment)

            def killed(moment=moment, folder=folder):
                kill_at(moment, folder)
                train(folder, **self.keys(epochs=2))

            assert forked(killed) == (-signal.SIGKILL if what else 0), what
            assert find_resumable(folder)[0], what
            for path in folder.glob("best_*.pth"):
                assert load_checkpoint_file(path)["state_dict"], what


def test_what_a_dead_run_left_is_cleared(tmp_path):
    ours = ".epoch_9.pth.attnpool_mm-partial"
    for name in (ours, ".epoch_8.pth.tmp", "partial.pth"):
        (tmp_path / name).write_bytes(b"half")
    train(tmp_path)
    assert names(tmp_path) >= {".epoch_8.pth.tmp", "partial.pth"}
    assert ours not in names(tmp_path)


class Fill(Hook):
    """Leaves no room for files from the second epoch on."""

    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            limit_file_size(1000)


def test_without_room_the_last_file_stays(tmp_path):
    def full():
        with pytest.raises(FileWriteError, match=r"epoch_2\.pth"):
            train(
                tmp_path,
                **hooks(max_keep_ckpts=1),
                custom_hooks=[Fill()],
                default_scope="mmengine",
            )

    assert forked(full) == 0
    assert names(tmp_path) == {"epoch_1.pth", "last_checkpoint"}
    assert find_resumable(tmp_path) == (str(tmp_path / "epoch_1.pth"), [])


def test_a_scheduler_with_a_function_resumes(tmp_path):
    """`OneCycleLR` keeps its annealing function, which no file of data can name."""
    cycle = dict(type="OneCycleLR", eta_max=0.1, total_steps=20, end=20, by_epoch=False)
    rates = {}
    for name, epochs in (("whole", 2), ("part", 1), ("part", 2)):
        folder = tmp_path / name
        loop = dict(by_epoch=True, max_epochs=epochs)
        resume = (folder / "epoch_1.pth").exists()
        runner = make_runner(
            folder, Recorder(), train_cfg=loop, param_scheduler=[cycle], resume=resume
        )
        runner.train()
        rates[name] = runner.optim_wrapper.get_lr()["lr"]
    (state,) = load_checkpoint_file(folder / "epoch_1.pth")["param_schedulers"]
    assert "last_step" in state and "anneal_func" not in state
    assert runner.iter == 8 and rates["part"] == rates["whole"]
