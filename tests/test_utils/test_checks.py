"""Checks of arguments: what passes, and the name and value in what does not."""

import numpy as np
import pytest

from attnpool_mm.utils.checks import argument_names, check_int, check_known_arguments
from attnpool_mm.utils.errors import ConfigError


class Parent:
    def __init__(self, depth, width=1):
        pass


class Child(Parent):
    def __init__(self, *args, stride=2, **kwargs):
        pass


class Closed(Child):
    def __init__(self, stride):
        pass


@pytest.mark.parametrize("value", [2, np.int64(2)])
def test_integers(value):
    assert check_int("stride", value, 2) is value


@pytest.mark.parametrize("value", [1, 2.0, True, "2", None])
def test_other_values(value):
    with pytest.raises(ConfigError, match=f"stride={value!r}"):
        check_int("stride", value, 2)


def test_arguments_that_are_handed_on():
    assert set(argument_names(Child)) == {"stride", "depth", "width"}
    assert argument_names(Closed) == ["stride"]
    check_known_arguments(Child, ["width"])
    with pytest.raises(ConfigError, match="width"):
        check_known_arguments(Closed, ["width"])
