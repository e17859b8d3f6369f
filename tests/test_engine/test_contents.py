"""Bad data and values are one line before training starts."""

import shutil
from copy import deepcopy

import bad_inputs
import pytest
from mmengine.config import Config

from attnpool_mm.engine.contents import check_contents
from attnpool_mm.engine.launch import KeyValueAction, merge_options
from attnpool_mm.engine.values import check_parts, check_values
from attnpool_mm.utils.errors import ConfigError


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The folder of the inputs, and the configs."""
    folder = tmp_path_factory.mktemp("inputs") / "good"
    bad_inputs.write_inputs(folder)
    names = bad_inputs.TEXTS
    return folder, {name: Config.fromfile(folder / f"{name}.py") for name in names}


@pytest.fixture
def config_of(good, tmp_path):
    """A config that reads a copy of the inputs, whose folder is the second value."""
    source, configs = good
    folder = tmp_path / "inputs"

    def make(name, *options, change=None):
        shutil.copytree(source, folder)
        if change is not None:
            change(folder)
        cfg = Config(_moved(deepcopy(configs[name]._cfg_dict), str(source), folder))
        words = [word.format(root=folder).split("=", 1) for word in options]
        parsed = {key: KeyValueAction._parse_iterable(v) for key, v in words}
        merge_options(cfg, parsed)
        return cfg

    return make


def _moved(part, source, folder):
    if isinstance(part, dict):
        return {key: _moved(value, source, folder) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return type(part)(_moved(value, source, folder) for value in part)
    return part.replace(source, str(folder)) if isinstance(part, str) else part


def check(cfg, tool="train", **options):
    check_parts(cfg, tool)
    check_values(cfg)
    return check_contents(cfg, ("train", "val") if tool == "train" else ("test",), **options)


@pytest.mark.parametrize("case", bad_inputs.CASES, ids=lambda case: case.name)
def test_bad_inputs(case, config_of):
    cfg = config_of(case.config, *case.options, change=case.change)
    with pytest.raises(ConfigError) as caught:
        check(cfg, case.tool)
    message = str(caught.value)
    assert "\n" not in message
    place = 0
    for part in case.said:
        assert part in message[place:], message
        place = message.index(part, place) + len(part)


def test_there_are_many():
    assert len(bad_inputs.CASES) >= 60
    assert len({case.name for case in bad_inputs.CASES}) >= 60


@pytest.mark.parametrize("name", bad_inputs.TEXTS)
def test_good_inputs_pass_without_a_word(config_of, name):
    cfg = config_of(name)
    assert check(cfg) == []
    assert check(cfg, "test") == []
