"""A signal leaves a checkpoint from which the training goes on as if none had come."""

import os
import signal
import socket
import subprocess
import time
from datetime import timedelta

import pytest
import torch
from kill_points import forked
from mmengine.hooks import Hook
from trainings import Recorder, make_runner, train

from attnpool_mm.checkpoint import load_checkpoint_file
from attnpool_mm.engine import launch
from attnpool_mm.engine.interruption import Interrupted, SignalWatch, stop_on_signal
from attnpool_mm.engine.newest_checkpoint import find_resumable
from attnpool_mm.utils.errors import ConfigError

EMA = [
    dict(type="attnpool_mm.EpochSeedHook"),
    dict(type="EMAHook", momentum=0.3),
]


def run(folder, at=None, **keys):
    """Train until a signal comes; return the model and what stopped it."""
    model, stop = Recorder(at), None
    runner = make_runner(folder, model, **keys)
    with SignalWatch() as watch:
        stop_on_signal(runner, watch)
        try:
            runner.train()
        except Interrupted as interrupted:
            stop = interrupted
        finally:
            launch.stop_workers(runner)
    return model, stop


def send(signum=signal.SIGTERM):
    return lambda: os.kill(os.getpid(), signum)


def go_on(folder, **keys):
    return run(folder, resume=True, load_from=find_resumable(folder)[0], **keys)


@pytest.mark.parametrize(
    ("at", "workers", "signum", "status"),
    [
        (0, 0, signal.SIGTERM, 143),
        (5, 0, signal.SIGINT, 130),
        (7, 0, signal.SIGTERM, 143),  # the last of an epoch
        (11, 0, signal.SIGTERM, 143),  # the last of all
        (5, 2, signal.SIGTERM, 143),
    ],
)
def test_a_stopped_training_equals_the_uninterrupted_one(
    tmp_path, at, workers, signum, status
):
    keys = dict(workers=workers, custom_hooks=EMA, validate=True)
    whole = train(tmp_path / "whole", **keys)
    folder = tmp_path / "stopped"
    first, stop = run(folder, {at: send(signum)}, **keys)
    assert stop.code == status
    assert len(first.own) == at + 1
    assert str(folder / "interrupted.pth") in stop.message
    second, stop = go_on(folder, **keys)
    assert stop is None
    assert first.own + second.own == whole.own
    # read over: what the process that draws for itself has drawn
    assert second.order == whole.order[2 * (at + 1) :]
    assert second.loaded == whole.loaded[2 * (at + 1) :]
    expected, resumed = (
        load_checkpoint_file(f / "epoch_3.pth") for f in (tmp_path / "whole", folder)
    )
    for key in ("state_dict", "ema_state_dict", "optimizer"):
        assert str(expected[key]) == str(resumed[key])
        if key != "optimizer":
            assert all(
                torch.equal(v, resumed[key][k]) for k, v in expected[key].items()
            )
    assert not (folder / "interrupted.pth").exists()


def test_a_signal_to_all_processes_leaves_the_workers_alive(tmp_path):
    """As Slurm sends it."""

    def kill_group():
        # from outside: PyTorch's workers take their parent's as an order
        command = ["kill", "-TERM", "--", f"-{os.getpgrp()}"]
        subprocess.run(command, start_new_session=True, check=True)
        time.sleep(0.5)  # in the step in which a worker's death would be noticed

    def job():
        os.setpgid(0, 0)
        _, stop = run(tmp_path / "run", {5: kill_group}, workers=2)
        os._exit(stop.code)

    assert forked(job) == 143
    found = load_checkpoint_file(tmp_path / "run/interrupted.pth")
    assert found["meta"]["iter"] == 6


def test_a_second_signal_ends_at_once(tmp_path):
    def twice():
        run(tmp_path / "run", {5: lambda: (send()(), send(signal.SIGINT)())})

    assert forked(twice) == 130
    assert not (tmp_path / "run/interrupted.pth").exists()
    assert find_resumable(tmp_path / "run")[0].endswith("epoch_1.pth")


def test_before_the_training_it_ends_where_it_is(capfd):
    def early():
        with SignalWatch():
            send()()

    assert forked(early) == 143
    (line,) = capfd.readouterr().err.splitlines()
    assert "SIGTERM" in line and "before" in line


def in_two_processes(folder, at, ends):
    """Train in two processes of a group; return their exit statuses.

    The second gets what `ends` it at its batch `at`.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"

    def train_one(rank):
        limit = timedelta(minutes=1)  # the default is half an hour
        torch.distributed.init_process_group(
            "gloo", address, limit, world_size=2, rank=rank
        )
        randomness = dict(seed=0, diff_rank_seed=True)
        stops = {at: ends} if rank else None
        _, stop = run(folder, stops, randomness=randomness)
        os._exit(stop.code if stop else 0)

    return forked(lambda: train_one(0), lambda: train_one(1))


def test_all_processes_stop_after_the_same_iteration(tmp_path):
    """Whichever got the signal. Each has two batches an epoch."""
    twice = lambda: (send()(), send()())  # noqa: E731 (torchrun passes it on)
    assert in_two_processes(tmp_path, 2, twice) == [143, 143]
    meta = load_checkpoint_file(tmp_path / "interrupted.pth")["meta"]
    assert (meta["epoch"], meta["iter"], meta["place"]["batches"]) == (1, 3, 1)
    states = [state["numpy"] for state in meta["place"]["random_states"]]
    assert len(states) == 2 and str(states[0]) != str(states[1])


def test_a_process_whose_other_is_killed_ends(tmp_path):
    start = time.monotonic()
    first, second = in_two_processes(tmp_path, 2, send(signal.SIGKILL))
    assert second == -signal.SIGKILL and first > 0
    assert time.monotonic() - start < 30
    assert find_resumable(tmp_path)[0] == str(tmp_path / "epoch_1.pth")


def test_gradients_that_accumulate_are_not_lost(tmp_path):
    """It waits for the step of the optimizer, which comes after every third batch."""
    wrapper = dict(optimizer=dict(type="SGD", lr=0.1), accumulative_counts=3)
    keys = dict(optim_wrapper=wrapper)
    whole = train(tmp_path / "whole", **keys)
    first, stop = run(tmp_path / "run", {6: send()}, **keys)
    assert stop.code == 143 and len(first.own) == 9
    second, _ = go_on(tmp_path / "run", **keys)
    assert torch.equal(second.weight, whole.weight)


def test_iterations_go_on_in_the_order_of_the_samples(tmp_path):
    keys = dict(
        train_cfg=dict(by_epoch=False, max_iters=12),
        custom_hooks=[],
        sampler="InfiniteSampler",
        default_hooks=dict(checkpoint=dict(
            type="CheckpointHook", interval=5, by_epoch=False, max_keep_ckpts=1)),
    )  # fmt: skip
    whole = train(tmp_path / "whole", **keys)
    first, stop = run(tmp_path / "run", {6: send()}, **keys)
    assert stop.code == 143 and len(first.own) == 7
    second, stop = go_on(tmp_path / "run", **keys)
    assert stop is None and len(second.own) == 5
    assert first.order == whole.order[:14]


class Validated(Recorder):
    """Gets a signal in its second validation."""

    validations = 0

    def forward(self, drawn, index, mode="loss"):
        if mode == "predict":
            self.validations += 1
            if self.validations == 6:  # four batches each
                send()()
        return super().forward(drawn, index, mode)


@pytest.mark.parametrize(
    ("interval", "seen", "file"), [(1, 6, "epoch_2"), (5, 8, "inter")]
)
def test_a_validation_is_broken_off_where_nothing_is_lost(
    tmp_path, interval, seen, file
):
    keys = dict(
        validate=True,
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=interval)),
    )
    whole = train(tmp_path / "whole", **keys)
    model = Validated()
    runner = make_runner(tmp_path / "run", model, **keys)
    with pytest.raises(Interrupted), SignalWatch() as watch:
        stop_on_signal(runner, watch)
        runner.train()
    assert model.validations == seen
    found, _ = find_resumable(tmp_path / "run")
    assert os.path.basename(found).startswith(file)
    second, _ = go_on(tmp_path / "run", **keys)
    assert torch.equal(second.weight, whole.weight) and len(second.own) == 4


class Ends(Hook):
    """Gets a signal in a method, of the last epoch."""

    def __init__(self, method):
        setattr(self, method, self.send)

    def send(self, runner):
        if runner.iter >= 11:
            send()()


@pytest.mark.parametrize(
    ("method", "file"), [("after_train_epoch", "epoch_3.pth"), ("after_train", None)]
)
def test_a_signal_after_the_last_iteration_is_obeyed(tmp_path, capfd, method, file):
    """Not swallowed while other hooks measure, which may take hours."""
    slept = []

    class Measures(Hook):
        def after_train(self, runner):
            slept.append(runner)

    def job():
        hooks = [*EMA, Ends(method), Measures()]
        _, stop = run(tmp_path / "run", custom_hooks=hooks, default_scope="mmengine")
        assert not slept and file in stop.message
        os._exit(stop.code)

    assert forked(job) == 143
    error = capfd.readouterr().err
    assert file or error.splitlines() == ["stopped by SIGTERM: after the training"]
    second, stop = go_on(tmp_path / "run")
    assert stop is None and second.own == []


def test_an_epoch_of_another_length_is_refused(tmp_path):
    run(tmp_path, {5: send()})
    path = tmp_path / "interrupted.pth"
    checkpoint = load_checkpoint_file(path)
    for key, value in (("of", 5), ("batches", 7), ("batches", "2")):
        place = {**checkpoint["meta"]["place"], key: value}
        torch.save({**checkpoint, "meta": {**checkpoint["meta"], "place": place}}, path)
        with pytest.raises(ConfigError, match="--resume") as error:
            go_on(tmp_path)
        assert "\n" not in str(error.value)
