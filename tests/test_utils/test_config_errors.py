"""What is wrong with a config file is one line with the file and the line."""

import pytest

from attnpool_mm.engine.launch import read_config
from attnpool_mm.utils.errors import ConfigError

SCOPE = "default_scope = 'mmpretrain'\n"
READ_BASE = "from mmengine.config import read_base\nwith read_base():\n    "


@pytest.fixture
def error_of(tmp_path):
    (tmp_path / "base.py").write_text(f"{SCOPE}model = dict(depth=18)\n")
    (tmp_path / "broken.py").write_text(f"{SCOPE}\n\nx = undefined\n")

    def read(text, name="a.py"):
        (tmp_path / name).write_bytes(text.encode("latin-1"))
        with pytest.raises(ConfigError) as caught:
            read_config(str(tmp_path / name))
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"config {tmp_path / name}")
        return str(caught.value)

    return read


@pytest.mark.parametrize(
    "text, said",
    [
        ("x = undefined\n", ("line 2", "NameError", "undefined")),
        ("x = dict(a=1)['model']\n", ("line 2", "KeyError", "model")),
        ("\nx = dict(a=1\n", ("line 3",)),
        ("x = 1\n\n\nx = 1 / 0\n", ("line 5", "ZeroDivisionError")),
        ("x = int('a')\n", ("line 2", "ValueError", "'a'")),
        ("raise RuntimeError('two\\nlines')\n", ("line 2", "two lines")),
        ("assert False\n", ("line 2", "AssertionError")),
        ("_base_ = './broken.py'\n", ("broken.py, line 4", "NameError", "undefined")),
        ("_base_ = './base.py'\nx = _base_.modell\n", ("line 3", "modell")),
        ("_base_ = './base.py'\nx = {{_base_.modell}}\n", ("KeyError", "modell")),
        ("_base_ = './base.py'\nmodel = dict(depth=dict(a=1))\n", ("depth",)),
        ("_base_ = './absent.py'\n", ("absent.py",)),
        ("_base_ = f'{x}.py'\n", ("NameError", "x")),
        ("_base_ = 'mmdet::a/absent.py'\n", ("absent.py",)),
        ("_base_ = 'mmother::absent.py'\n", ("mmother",)),
        ("_base_ = './a.py'\n", ("_base_",)),
        ("custom_imports = dict(imports=['absent_module'])\n", ("absent_module",)),
        (f"{READ_BASE}from .absent import *\n", ("absent.py",)),
        (f"{READ_BASE}from .base import *\nx = undefined\n", ("line 5", "undefined")),
        ("x = '\xff'\n", ("utf-8", "0xff")),
    ],
)  # fmt: skip
def test_python(error_of, text, said):
    message = error_of(SCOPE + text)
    assert all(part in message for part in said), message
    assert len(message) < 400


def test_json(error_of):
    assert "line 2 column 5" in error_of('{"a": 1,\n"b" 2}', "a.json")
    error_of("[1, 2]", "b.json")


def test_no_file(tmp_path):
    for path in (tmp_path, tmp_path / "absent.py"):
        with pytest.raises(ConfigError, match=f"^config {path}: "):
            read_config(str(path))
