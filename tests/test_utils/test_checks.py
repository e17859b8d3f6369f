"""Checks of arguments: what passes, and the name and value in what does not."""

import inspect
import re

import numpy as np
import pytest

from attnpool_mm.layers import DynamicConv2d
from attnpool_mm.registry import DATASETS, HOOKS
from attnpool_mm.registry import MODELS as REGISTERED
from attnpool_mm.utils.checks import (
    argument_names,
    check_bool,
    check_choice,
    check_int,
    check_known_arguments,
    check_number,
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


@pytest.mark.parametrize("value", [0, 2, 0.5, np.float32(0.5), np.int64(1)])
def test_numbers(value):
    assert check_number("alpha", value) is value
    assert check_number("alpha", value, minimum=0, above=-1, below=3) is value


@pytest.mark.parametrize("value", [True, np.inf, -np.inf, np.nan, "1", None, 1j, [1]])
def test_no_finite_numbers(value):
    with pytest.raises(ConfigError, match=re.escape(f"alpha={value!r}")):
        check_number("alpha", value)


@pytest.mark.parametrize("value, bounds, accepted", [
    (-0.1, dict(minimum=0), "a finite number of at least 0 is accepted"),
    (0, dict(above=0), "a finite number above 0 is accepted"),
    (1, dict(above=0, below=1), "a finite number above 0 and below 1 is accepted"),
    (np.nan, dict(minimum=0, below=1), "a finite number of at least 0 and below 1"),
])  # fmt: skip
def test_numbers_out_of_bounds(value, bounds, accepted):
    with pytest.raises(ConfigError, match=f"ratio={value}: {accepted}"):
        check_number("ratio", value, **bounds)


CHOICES = (1, 18, 0.5, "a", None, (1, 2))


@pytest.mark.parametrize(
    "value", [*CHOICES, np.int64(18), np.float64(0.5), np.str_("a")]
)
def test_choices(value):
    assert check_choice("depth", value, CHOICES) is value
    assert check_choice("depth", False, (False,)) is False


@pytest.mark.parametrize(
    "value", [True, 1.0, 18.0, "18", False, [1, 2], np.ones(2), np.True_, {}]
)
def test_choices_are_of_one_type(value):
    with pytest.raises(ConfigError, match="depth=.*: accepted are 1, 18, 0.5, 'a'"):
        check_choice("depth", value, CHOICES)
    with pytest.raises(ConfigError, match="flag=1: accepted are True, False"):
        check_choice("flag", 1, (True, False))


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


def arguments(*kinds):
    """Every argument of these types, of the classes that a config may name.

    Those of parents are left out.
    """
    for registry in (REGISTERED, DATASETS, HOOKS):
        registry.import_from_location()
        for name, kind in registry.module_dict.items():
            init = getattr(kind, "__init__", None)
            if isinstance(kind, type) and "__init__" in vars(kind):
                for p in inspect.signature(init).parameters.values():
                    if p.annotation in kinds:
                        yield pytest.param(kind, p.name, id=f"{name}.{p.name}")


# As of PyTorch's own convolution, errors too
PLAIN = [(DynamicConv2d, name) for name in ("in_channels", "out_channels", "groups")]
NEEDED = dict(
    in_channels=4,
    out_channels=4,
    kernel_size=3,
    depth=101,  # which every ResNet has
    data_root="data",
    ann_file="a.json",
)


def check_refused(kind, name, value):
    needed = {
        p.name: NEEDED[p.name]
        for p in inspect.signature(kind).parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    }
    with pytest.raises(ConfigError, match=f"{name}='?{value}'?: "):
        kind(**{**needed, name: value})


@pytest.mark.parametrize("value", ["no", 1, 0, 1.0])
@pytest.mark.parametrize("kind, name", [*arguments(bool)])
def test_no_flag_takes_another_type(kind, name, value):
    check_refused(kind, name, value)


@pytest.mark.parametrize("value", [True, np.inf, np.nan, "1"])
@pytest.mark.parametrize("kind, name", [*arguments(float)])
def test_no_number_takes_another_type(kind, name, value):
    check_refused(kind, name, value)


@pytest.mark.parametrize("value", [True, 1.0, "1"])
@pytest.mark.parametrize("kind, name", [*arguments(int, int | None)])
def test_no_integer_takes_another_type(kind, name, value):
    if (kind, name) not in PLAIN:
        check_refused(kind, name, value)
