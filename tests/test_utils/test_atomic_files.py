"""Files that a full disk or a kill leaves as they were."""

import ast
import errno
import os
import signal
from pathlib import Path

import pytest
import torch
from kill_points import forked, kill_at, limit_file_size

from attnpool_mm.utils import atomic_files
from attnpool_mm.utils.atomic_files import (
    PARTIAL,
    FileWriteError,
    save_atomically,
    saved,
    write_atomically,
    write_together,
)
from attnpool_mm.utils.errors import ConfigError

ROOT = Path(__file__).parents[2]
STATE = {"weight": torch.arange(1000.0)}
# Each writes more than 1000 bytes
WRITERS = {
    "bytes": lambda path: write_atomically(path, b"new" * 1000, "--out"),
    "state": lambda path: save_atomically(STATE, path, "--out"),
    "pair": lambda path: write_together(
        {path.with_name("other"): b"new", path: b"new" * 1000}, "--out"
    ),
}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("writer", WRITERS)
def test_without_room_the_old_files_stay(tmp_path, writer):
    old = {"results.pth": b"old", "other": b"other"}
    for name, content in old.items():
        (tmp_path / name).write_bytes(content)

    def full():
        limit_file_size(1000)
        with pytest.raises(FileWriteError, match="--out .*/results.pth") as error:
            WRITERS[writer](tmp_path / "results.pth")
        assert "\n" not in str(error.value) and "too large" in str(error.value)

    assert forked(full) == 0
    assert contents(tmp_path) == old
    WRITERS[writer](tmp_path / "results.pth")
    assert len(contents(tmp_path)["results.pth"]) > 1000
    assert len(list(tmp_path.iterdir())) == 2


def test_a_saved_state_loads(tmp_path):
    save_atomically(STATE, tmp_path / "new/a.pth")
    assert torch.equal(torch.load(tmp_path / "new/a.pth")["weight"], STATE["weight"])


def test_no_kill_leaves_a_half_file_or_a_mixed_pair(tmp_path):
    new = {"net.pth": bytes(saved(STATE)), "net.pth.py": b"new config"}
    seen = []
    for moment in range(1, 20):
        folder = tmp_path / str(moment)
        folder.mkdir()
        for name in new:
            (folder / name).write_bytes(b"old")

        def killed(folder=folder, moment=moment):
            kill_at(moment, folder)
            write_together({folder / name: content for name, content in new.items()})

        status = forked(killed)
        found = {k: v for k, v in contents(folder).items() if not k.startswith(".")}
        assert all(content in (b"old", new[name]) for name, content in found.items())
        assert len({content == b"old" for content in found.values()}) == 1, moment
        seen.append(found)
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert seen[0] == dict.fromkeys(new, b"old") and seen[-1] == new
    assert len(seen) == 8  # two are opened and end, one is removed, two are renamed


def test_links_streams_and_permissions(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(0o600)
    (tmp_path / "link").symlink_to("file")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    os.mkfifo(tmp_path / "pipe")
    with open(os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK), "rb") as pipe:
        write_atomically(tmp_path / "pipe", b"new")
        assert pipe.read() == b"new" and (tmp_path / "pipe").is_fifo()
    with open(tmp_path / "stdout", "w+b") as stdout:
        write_atomically(f"/dev/fd/{stdout.fileno()}", b"new")
        assert stdout.read() == b"new"


@pytest.mark.parametrize("refused", ["open", "replace"])
def test_a_file_that_cannot_be_replaced_is_written(tmp_path, monkeypatch, refused):
    """One that is mounted into a container, or in a folder of somebody else's."""
    (tmp_path / "file").write_bytes(b"old")
    real = open

    def refuse(path, *_):
        if str(path).endswith(PARTIAL):
            raise PermissionError(errno.EACCES, "refused")
        return real(path, *_)

    where = atomic_files if refused == "open" else os
    monkeypatch.setattr(where, refused, refuse, raising=False)
    write_atomically(tmp_path / "file", b"new")
    assert contents(tmp_path) == {"file": b"new"}
    with pytest.raises(FileWriteError, match="refused"):
        write_atomically(tmp_path / "another", b"new")
    assert contents(tmp_path) == {"file": b"new"}


@pytest.mark.parametrize("name", ["folder", "file/new", "/proc/new"])
def test_a_refused_write_is_one_line(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=f"--json .*{name}: it cannot") as error:
        write_atomically(tmp_path / name, b"", "--json")
    assert "\n" not in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "file"}


# Where a file may be opened, and why it is no user's result
IN_PLACE = {
    "attnpool_mm/utils/atomic_files.py": "what the others use",
    "attnpool_mm/checkpoint/mmengine_loading.py": "renamed when it is whole",
    "attnpool_mm/engine/demo_steps.py": "renamed when it is whole, and logs",
    "attnpool_mm/analysis/corruptions.py": "renamed when it is whole",
    "attnpool_mm/analysis/report.py": "into memory",
    "attnpool_mm/analysis/results.py": "into memory",
    "attnpool_mm/analysis/weight_history.py": "into memory",
    "attnpool_mm/datasets/composed_files.py": "images, before the list of them",
    "attnpool_mm/deploy/micro.py": "a temporary folder",
    "attnpool_mm/deploy/micro_convert.py": "a temporary folder",
    "attnpool_mm/deploy/quantize.py": "a temporary folder",
    "attnpool_mm/engine/candidate_training.py": "a lock",
    "attnpool_mm/engine/checkpointing.py": "a temporary name, and then renames",
    "attnpool_mm/engine/script_process.py": "a log",
    "attnpool_mm/engine/plan_runner.py": "a copy, under a new name",
    "tools/analysis_tools/analyze_logs.py": "a temporary folder",
    "tools/analysis_tools/coco_error_analysis.py": "a temporary folder",
    "tools/model_converters/publish_model.py": "into memory",
}
WRITING = {
    *("write_text", "write_bytes", "save", "savefig", "imwrite", "tofile", "copyfile"),
}


def writes(tree):
    """The calls of a file that write a file, by what they are named."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        words = [a.value for a in node.args if isinstance(a, ast.Constant)]
        modes = {"w", "wb", "a", "ab", "x", "xb"} & {w for w in words if w != ""}
        dumps = name == "dump" and len(node.args) > 1
        if name in WRITING or dumps or (name == "open" and modes):
            yield name


def test_nothing_else_writes_a_file_in_place():
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("attnpool_mm", "tools")
        for path in (ROOT / folder).rglob("*.py")
        if list(writes(ast.parse(path.read_text())))
    }
    assert found == set(IN_PLACE)
