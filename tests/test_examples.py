"""The examples in the docstrings run and print what they say."""

import doctest
import importlib.util
import pkgutil
from pathlib import Path

import pytest
import torch

import attnpool_mm


def has_examples(name):
    return ">>>" in Path(importlib.util.find_spec(name).origin).read_text()


MODULES = [m.name for m in pkgutil.walk_packages(attnpool_mm.__path__, "attnpool_mm.")]
MODULES = list(filter(has_examples, MODULES))


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    done = doctest.testmod(module, extraglobs={"torch": torch})
    assert done.failed == 0 and done.attempted > 0


def test_the_layers_have_examples():
    assert {
        "attnpool_mm.pooling.self_attentive",
        "attnpool_mm.pooling.weighted",
        "attnpool_mm.models.resnet",
        "attnpool_mm.models.mobilenet_v2",
    } <= set(MODULES)
