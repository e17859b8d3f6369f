import json
import os
import re
import shlex
import signal

import pytest

from attnpool_mm.engine.demo_steps import DemoSteps

SCRIPT = """
import sys
from pathlib import Path
out = Path(sys.argv[1])
out.write_text((out.read_text() if out.exists() else "") + sys.argv[2])
print("Epoch(train) [1][1/1]  loss: 1.0")
"""


@pytest.fixture
def root(tmp_path):
    for name in ("attnpool_mm", "configs", "tools", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "tools" / "write.py").write_text(SCRIPT)
    return tmp_path


def run(root, words=("a", "b"), anew=False):
    """Write a word into a file each, as two steps; return what the files hold."""
    steps = DemoSteps(root, root / "work", len(words), anew)
    files = [root / "work" / f"{number}.txt" for number in range(len(words))]
    for number, (file, word) in enumerate(zip(files, words, strict=True)):
        steps.run(f"step{number}", "Write", ["tools/write.py", file, word], file)
    assert list(steps.seconds) == ["step0", "step1"]
    return [file.read_text() for file in files]


def test_what_was_done_is_not_repeated(root, capsys):
    assert run(root) == ["a", "b"]
    first = json.loads((root / "work/steps.json").read_text())
    assert "loss: 1.0" in capsys.readouterr().out
    assert run(root) == ["a", "b"]
    assert "loss: 1.0" not in capsys.readouterr().out
    assert json.loads((root / "work/steps.json").read_text()) == first


def test_what_is_printed_can_be_typed(root, capsys):
    run(root, ("a b", "c"))
    line, _ = re.findall("^    python (.*)$", capsys.readouterr().out, re.M)
    assert shlex.split(line) == ["tools/write.py", str(root / "work/0.txt"), "a b"]


def test_after_another_command_the_steps_behind_it_are_repeated(root):
    run(root)
    assert run(root, ("a", "c")) == ["a", "bc"]
    assert run(root, ("d", "c")) == ["ad", "bcc"]


def test_other_code_asking_and_a_missing_file_repeat(root):
    run(root)
    (root / "configs" / "a.py").write_text("a = 1")
    assert run(root) == ["aa", "bb"]
    assert run(root, anew=True) == ["aaa", "bbb"]
    (root / "work" / "1.txt").unlink()
    assert run(root) == ["aaa", "b"]


def test_asking_once_repeats_what_a_later_run_does(root):
    run(root)
    first = DemoSteps(root, root / "work", 1, anew=True)
    file = root / "work/0.txt"
    first.run("step0", "Write", ["tools/write.py", file, "a"], file)
    assert run(root) == ["aa", "bb"]


def test_a_write_that_is_cut_leaves_what_was_there(root, monkeypatch):
    run(root)
    before = json.loads((root / "work/steps.json").read_text())

    def cut(path, text):
        path.write_bytes(text[:9].encode())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(root), "write_text", cut)
        with pytest.raises(KeyboardInterrupt):
            run(root)
    assert json.loads((root / "work/steps.json").read_text()) == before
    assert run(root) == ["a", "b"]


def test_a_step_that_fails_ends_with_its_output(root):
    run(root)
    steps = DemoSteps(root, root / "work", 1)
    with pytest.raises(SystemExit) as stop:
        steps.run("step0", "Fail", ["tools/write.py"], root / "work/0.txt")
    log = root / "work/step0.log"
    assert "IndexError" in str(stop.value.code) and str(log) in str(stop.value.code)
    assert run(root) == ["aa", "bb"]  # it may have left anything


def test_an_interrupted_step_ends(root):
    (root / "tools/wait.py").write_text(
        "import os, time\nprint(os.getpid())\ntime.sleep(60)"
    )
    log = root / "work/step0.log"

    def interrupt(*_):
        if log.exists() and log.read_text():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            DemoSteps(root, root / "work", 1).run(
                "step0", "Wait", ["tools/wait.py"], log
            )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text()), 0)
