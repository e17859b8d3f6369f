"""Trainings one after the other: what is kept, repeated, and left out."""

import fcntl
import os
import shutil
import signal
import time

import pytest
from mmengine.config import Config

from attnpool_mm.engine.candidate_training import read_results, train_all
from attnpool_mm.engine.interruption import Interrupted
from attnpool_mm.engine.script_process import environment_of, start_script
from attnpool_mm.utils.errors import ConfigError

# A training of two epochs, in the place of tools/train.py: it logs what its config says
SCRIPT = """
import json, os, signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
from pathlib import Path

config, _, work_dir, resume = sys.argv[1:]
assert resume == '--resume'
names = {}
exec(Path(config).read_text(), names)
folder = Path(work_dir)
folder.mkdir(exist_ok=True)
(folder / 'runs').open('a').write('run ')
if names['fails'] and not (folder / 'mended').exists():
    print('Traceback ...')
    print('ValueError: no such layer')
    sys.exit(3)
deadline = time.monotonic() + 60
while names['meets'] and not (folder.parent / names['meets'] / 'runs').exists():
    if time.monotonic() > deadline:
        sys.exit(4)
    if signal.sigtimedwait([signal.SIGTERM], 0.01):
        (folder / 'told').touch()
        sys.exit(0)
print('threads', os.environ['OMP_NUM_THREADS'])
if names['waits']:
    os.kill(names['parent'], signal.SIGTERM)
    signal.sigwait([signal.SIGTERM])
    (folder / 'told').touch()
    sys.exit(0)
log = folder / 'now' / 'vis_data' / 'scalars.json'
log.parent.mkdir(parents=True, exist_ok=True)
with log.open('w') as file:
    for epoch, value in enumerate(names['values'], start=1):
        train = dict(lr=0.1, loss=1.0, iter=epoch, epoch=epoch, step=epoch)
        score = dict(data_time=0.1, time=0.2, step=epoch)
        if value is not None:
            score |= dict(top1=float(value), top5=99.0)
        print(json.dumps(train), json.dumps(score), sep='\\n', file=file)
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def config(*values, fails=False, waits=False, meets=None):
    kind = Config  # a class, as types in MMEngine's newer configs
    options = dict(fails=fails, waits=waits, meets=meets, kind=kind)
    options["parent"] = os.getpid()
    return Config(dict(values=list(values), **options))


def test_a_failure_does_not_stop_the_others_and_is_tried_again(tmp_path, script):
    configs = {"a": config(50.0, 90.5, 80.25), "b": config(1.0, fails=True)}
    configs["c"] = config(60.0)
    results = train_all(configs, tmp_path, script)
    name, first = next(results)
    assert (name, first.metric, first.last, first.best) == ("a", "top1", 80.25, 90.5)
    assert list(read_results(tmp_path)) == ["a"]  # written as it goes
    rest = dict(results)
    assert "3" in rest["b"].problem and "no such layer" in rest["b"].problem
    assert rest["b"].last is None and rest["c"].last == 60.0
    assert read_results(tmp_path)["c"].last == 60.0

    assert rest["c"].machine["threads"] >= 1 and "torch" in rest["c"].versions

    (tmp_path / "b" / "mended").touch()
    again = dict(train_all(configs, tmp_path, script))
    assert again["b"].last == 1.0 and again["a"] == first
    runs = {name: (tmp_path / name / "runs").read_text() for name in configs}
    assert runs == {"a": "run ", "b": "run run ", "c": "run "}


def test_a_signal_is_passed_on_and_ends_it(tmp_path, script):
    before = signal.getsignal(signal.SIGTERM)
    configs = {"a": config(50.0), "b": config(60.0, waits=True), "c": config(70.0)}
    with pytest.raises(Interrupted) as stop:
        dict(train_all(configs, tmp_path, script))
    assert stop.value.code == 128 + signal.SIGTERM
    assert (tmp_path / "b" / "told").exists() and not (tmp_path / "c").exists()
    assert list(read_results(tmp_path)) == ["a"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_metric_can_be_named(tmp_path, script):
    configs = {"a": config(50.0)}
    assert dict(train_all(configs, tmp_path, script, "top5"))["a"].last == 99.0
    again = dict(train_all(configs, tmp_path, script, "top1"))["a"]
    assert (again.metric, again.last) == ("top1", 50.0)
    assert (tmp_path / "a" / "runs").read_text() == "run "  # it logged both
    both = configs | {"b": config(60.0)}  # which would log no other ones
    with pytest.raises(ConfigError, match=r"logged top3.*'top5'"):
        dict(train_all(both, tmp_path, script, "top3"))
    assert not (tmp_path / "b").exists()


def test_a_value_that_is_none_is_a_problem(tmp_path, script):
    configs = {"nan": config(50.0, "NaN"), "none": config(50.0, None)}
    results = dict(train_all(configs, tmp_path, script, "top1"))
    assert "top1 is nan" in results["nan"].problem and results["nan"].last is None
    assert "none" in results["none"].problem and results["none"].last is None


def test_another_training_of_that_name_is_kept(tmp_path, script):
    dict(train_all({"a": config(50.0)}, tmp_path, script))
    with pytest.raises(ConfigError, match=r"a\.py"):
        dict(train_all({"b": config(1.0), "a": config(51.0)}, tmp_path, script))
    assert not (tmp_path / "b").exists()
    (tmp_path / "a.py").unlink()  # its folder would be resumed by another config
    with pytest.raises(ConfigError, match=rf"{tmp_path / 'a'} is"):
        dict(train_all({"a": config(51.0)}, tmp_path, script))
    shutil.rmtree(tmp_path / "a")
    assert dict(train_all({"a": config(51.0)}, tmp_path, script))["a"].last == 51.0
    (tmp_path / "results.json").write_text("[1]")
    with pytest.raises(ConfigError, match=r"results\.json"):
        dict(train_all({"a": config(51.0)}, tmp_path, script))


def test_several_at_once_share_the_threads(tmp_path, script, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    configs = {"a": config(50.0, meets="b"), "b": config(60.0, meets="a")}
    results = dict(train_all(configs, tmp_path, script, jobs=2))
    assert {name: r.last for name, r in results.items()} == {"a": 50.0, "b": 60.0}
    for name in configs:
        said = (tmp_path / f"{name}.txt").read_text()
        assert f"threads {max(1, cores // 2)}" in said


def test_a_folder_in_use_is_left_alone(tmp_path, script):
    configs = {"a": config(50.0), "b": config(60.0)}
    first = train_all(configs, tmp_path, script)
    next(first)
    with pytest.raises(ConfigError, match=str(tmp_path)):
        dict(train_all(configs, tmp_path, script))
    assert list(dict(first)) == ["b"]
    assert list(dict(train_all(configs, tmp_path, script))) == ["a", "b"]


def test_a_training_keeps_the_folder_without_whoever_started_it(tmp_path, script):
    waits = tmp_path / "waits.py"
    waits.write_text(
        "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)"
    )
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start_script(
            waits, [tmp_path / "end"], tmp_path / "out", environment_of(0, 1), lock
        )
    configs = {"a": config(50.0)}
    with pytest.raises(ConfigError, match=str(tmp_path)):
        dict(train_all(configs, tmp_path, script))
    (tmp_path / "end").touch()
    process.join()
    assert process.exitcode == 0
    assert dict(train_all(configs, tmp_path, script))["a"].last == 50.0


@pytest.mark.parametrize(
    ("given", "devices"), [("", ["0", "1", "0"]), ("5,7", ["5", "7", "5"])]
)
def test_trainings_take_turns_at_the_gpus(monkeypatch, given, devices):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    found = [environment_of(slot, 3)["CUDA_VISIBLE_DEVICES"] for slot in range(3)]
    assert found == devices


def test_whoever_stops_asking_ends_the_trainings(tmp_path, script):
    configs = {"a": config(50.0), "b": config(60.0, meets="never")}
    results = train_all(configs, tmp_path, script, jobs=2)
    assert next(results)[0] == "a"
    deadline = time.monotonic() + 60
    while not (tmp_path / "b" / "runs").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    results.close()
    assert (tmp_path / "b" / "told").exists()
    assert list(dict(train_all({"a": configs["a"]}, tmp_path, script))) == ["a"]
