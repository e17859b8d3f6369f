"""A work folder that cannot be written to is one line."""

from pathlib import Path

import pytest

from attnpool_mm.engine.work_dir import check_work_dir
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
