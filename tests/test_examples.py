"""The examples in the docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import attnpool_mm

MODULES = [m.name for m in pkgutil.walk_packages(attnpool_mm.__path__, "attnpool_mm.")]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), extraglobs=GLOBALS)
    assert result.failed == 0


def _globals():
    import torch

    return {"torch": torch}


GLOBALS = _globals()
