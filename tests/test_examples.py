"""The examples in the docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest
import torch

import attnpool_mm

MODULES = [m.name for m in pkgutil.walk_packages(attnpool_mm.__path__, "attnpool_mm.")]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    assert doctest.testmod(module, extraglobs={"torch": torch}).failed == 0


def test_the_layers_have_examples():
    with_example = {
        name
        for name in MODULES
        if any(t.examples for t in doctest.DocTestFinder().find(
            importlib.import_module(name)))
    }  # fmt: skip
    assert {
        "attnpool_mm.pooling.self_attentive",
        "attnpool_mm.pooling.weighted",
        "attnpool_mm.models.resnet",
        "attnpool_mm.models.mobilenet_v2",
    } <= with_example
