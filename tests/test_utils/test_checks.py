"""Checks of arguments: what passes, and the name and value in what does not."""

import inspect

import numpy as np
import pytest

from attnpool_mm.registry import DATASETS, HOOKS
from attnpool_mm.registry import MODELS as REGISTERED
from attnpool_mm.utils.checks import (
    argument_names,
    check_bool,
    check_int,
    check_known_arguments,
    nearest,
)
from attnpool_mm.utils.errors import ConfigError


class Closed:
    def __init__(self, stride):
        pass


@pytest.mark.parametrize("value", [2, np.int64(2)])
def test_integers(value):
    assert check_int("stride", value, 2) is value


@pytest.mark.parametrize("value", [1, 2.0, True, "2", None])
def test_other_values(value):
    with pytest.raises(ConfigError, match=f"stride={value!r}"):
        check_int("stride", value, 2)


def test_unknown_arguments():
    assert argument_names(Closed) == ["stride"]
    check_known_arguments(Closed, ["stride"])
    with pytest.raises(ConfigError, match="width.*stride"):
        check_known_arguments(Closed, ["width"])


@pytest.mark.parametrize("name, hint", [
    ("strid", "'stride'"), ("STRIDE", "'stride'"), ("xyz", "stride, depth"),
])  # fmt: skip
def test_the_nearest_name(name, hint):
    assert hint in nearest(name, ["stride", "depth"])


@pytest.mark.parametrize("value", [True, False])
def test_flags(value):
    assert check_bool("exp", value) is value


def flags():
    """Every flag of the classes that a config may name, those of parents left out."""
    for registry in (REGISTERED, DATASETS, HOOKS):
        registry.import_from_location()
        for name, kind in registry.module_dict.items():
            init = getattr(kind, "__init__", None)
            if isinstance(kind, type) and "__init__" in vars(kind):
                for p in inspect.signature(init).parameters.values():
                    if p.annotation is bool:
                        yield pytest.param(kind, p.name, id=f"{name}.{p.name}")


NEEDED = dict(
    in_channels=4,
    out_channels=4,
    kernel_size=3,
    depth=8,
    data_root="data",
    ann_file="a.json",
)


@pytest.mark.parametrize("kind, name", flags())
def test_no_flag_takes_a_word(kind, name):
    needed = {
        p.name: NEEDED[p.name]
        for p in inspect.signature(kind).parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    }
    with pytest.raises(ConfigError, match=f"{name}='no'"):
        kind(**needed, **{name: "no"})
