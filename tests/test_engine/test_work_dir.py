"""A work folder, or a file, that cannot be written is one line."""

from pathlib import Path

import pytest

from attnpool_mm.engine.work_dir import check_file, check_work_dir
from attnpool_mm.utils.errors import ConfigError


def test_work_dir(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "new" / "newer"):
        check_work_dir(str(path))
    monkeypatch.chdir(tmp_path)
    check_work_dir("new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    for path in (tmp_path / "file", tmp_path / "file" / "new", Path("/proc/new")):
        with pytest.raises(ConfigError, match=f"work_dir='{path}'") as caught:
            check_work_dir(str(path))
        assert "\n" not in str(caught.value)


def test_file(tmp_path):
    (tmp_path / "old.json").write_text("{}")
    for name in ("old.json", "new.json", "new/newer/new.json"):
        check_file("--out", tmp_path / name)
    check_file("--out", "/dev/stdout")
    with pytest.raises(ConfigError, match=r"--out .*old\.json: it is read"):
        check_file("--out", tmp_path / "old.json", None, tmp_path / "a/../old.json")
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    for path in (tmp_path, tmp_path / "old.json" / "new.json", Path("/proc/new.json")):
        with pytest.raises(ConfigError, match="--out") as caught:
            check_file("--out", str(path))
        assert "\n" not in str(caught.value) and str(path.parent) in str(caught.value)
