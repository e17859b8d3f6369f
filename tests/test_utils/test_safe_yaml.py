"""A config in YAML is data."""

import pytest
from mmengine.config import Config
from mmengine.fileio import load

from attnpool_mm.engine.launch import read_config
from attnpool_mm.utils.errors import ConfigError

TAGS = [
    "!!python/object/apply:os.system ['touch {ran}']",
    "!!python/object/new:os.system ['touch {ran}']",
    "!!python/name:os.system",
    "!!python/module:antigravity",
]


@pytest.mark.parametrize("suffix", ["yaml", "yml"])
def test_data_is_read(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_text("default_scope: mmdet\nlr: [0.1, 1]\n")
    assert read_config(str(path)).lr == [0.1, 1]


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("inherited", [False, True])
def test_python_objects_are_refused(tmp_path, tag, inherited):
    ran, path = tmp_path / "ran", tmp_path / "a.yaml"
    path.write_text(f"default_scope: mmdet\nx: {tag.format(ran=ran)}\n")
    if inherited:
        path = tmp_path / "b.py"
        path.write_text("_base_ = './a.yaml'\n")
    with pytest.raises(ConfigError, match=f"{path}[:,] .*python") as caught:
        read_config(str(path))
    assert "\n" not in str(caught.value) and not ran.exists()
    with pytest.raises(ConfigError):
        Config.fromfile(path)
    assert not ran.exists()


def test_broken_yaml_is_one_line(tmp_path):
    path = tmp_path / "a.yml"
    path.write_text("a: [1\nb: }")
    read_error = pytest.raises(ConfigError, match="a.yml: YAML")
    with read_error as caught:
        read_config(str(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="YAML"):
        load(path)
