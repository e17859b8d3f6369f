"""What the tools share: configs, options, errors."""

import argparse
import errno
import os
import sys
from urllib.request import urlopen

import pytest
from mmengine.config import Config

from attnpool_mm.engine import launch
from attnpool_mm.utils.errors import ConfigError


def make_args(config, **options):
    defaults = {"work_dir": None, "launcher": "none", "local_rank": 0}
    return argparse.Namespace(config=str(config), **{**defaults, **options})


@pytest.fixture
def config_file(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    path = tmp_path / "tiny.py"
    path.write_text("default_scope = 'mmpretrain'\nmodel = dict(depth=18)\n")
    return path


def test_options_are_key_and_value(capsys):
    parser = argparse.ArgumentParser()
    launch.add_arguments(parser)
    words = ["a.b=1", "c=[x,2]", "d=/a b/c", "e='/a,b'", "f='[1,2]'", "g=x,y"]
    words += ["h='x','y'", "i='1'"]
    args = parser.parse_args(["tiny.py", "--cfg-options", *words])
    expected = {"a.b": 1, "c": ["x", 2], "d": "/a b/c", "e": "/a,b", "f": [1, 2]}
    expected |= {"g": ["x", "y"], "h": ["x", "y"], "i": 1}
    assert args.cfg_options == expected
    with pytest.raises(SystemExit):
        parser.parse_args(["tiny.py", "--cfg-options", "a.b=1", "model.depth"])
    assert "'model.depth'" in capsys.readouterr().err


class TestConfig:
    def test_work_dir_of_command_line_then_file_then_name(self, config_file):
        assert launch.load_config(make_args(config_file)).work_dir == os.path.join(
            ".", "work_dirs", "tiny"
        )
        config_file.write_text(config_file.read_text() + "work_dir = 'mine'\n")
        assert launch.load_config(make_args(config_file)).work_dir == "mine"
        args = make_args(config_file, work_dir="here")
        assert launch.load_config(args).work_dir == "here"

    @pytest.mark.parametrize("name", ["absent.py", "tiny.txt"])
    def test_unreadable_file(self, tmp_path, name):
        (tmp_path / "tiny.txt").write_text("")
        with pytest.raises(ConfigError, match=name):
            launch.load_config(make_args(tmp_path / name))

    @pytest.mark.parametrize("text", ["model = (", "_base_ = 'mmdet::nothing.py'"])
    def test_wrong_config_text(self, tmp_path, text):
        (tmp_path / "wrong.py").write_text(text)
        with pytest.raises(ConfigError, match="config .*wrong.py"):
            launch.load_config(make_args(tmp_path / "wrong.py"))

    @pytest.mark.parametrize("line", ["", "default_scope = 'mmseg'"])
    def test_scope_must_be_known(self, tmp_path, line):
        (tmp_path / "a.py").write_text(line)
        with pytest.raises(ConfigError, match="default_scope=.*mmpretrain, mmdet"):
            launch.load_config(make_args(tmp_path / "a.py"))

    def test_options(self):
        cfg = Config({"model": {"depth": 18, "heads": [{"k": 1}]}})
        launch.merge_options(cfg, None)
        launch.merge_options(cfg, {"model.depth": 34, "model.heads.0.k": 2})
        assert cfg.model.to_dict() == {"depth": 34, "heads": [{"k": 2}]}
        with pytest.raises(ConfigError, match="--cfg-options"):
            launch.merge_options(cfg, {"model.heads.3.k": 2})


class TestCompile:
    @pytest.mark.parametrize(
        "options", [None, False, {"backend": "eager"}, {"backend": print}]
    )
    def test_accepted(self, options):
        launch.check_compile(Config({"compile": options}))

    @pytest.mark.parametrize(
        ("options", "message"),
        [("yes", "compile='yes'"), ({"backend": "no"}, "backend='no': .*eager")],
    )
    def test_refused(self, options, message):
        with pytest.raises(ConfigError, match=message):
            launch.check_compile(Config({"compile": options}))

    def test_no_compiler(self, monkeypatch):
        monkeypatch.setenv("PATH", "")
        monkeypatch.delenv("CXX", raising=False)
        with pytest.raises(ConfigError, match="compile: .*CXX"):
            launch.check_compile(Config({"compile": True}))
        monkeypatch.setenv("CXX", sys.executable)
        launch.check_compile(Config({"compile": True}))


@pytest.mark.parametrize("name, package", [
    ("Tensorboard", "tensorboard"), ("Wandb", "wandb"), ("MLflow", "mlflow"),
])  # fmt: skip
def test_what_a_visualizer_writes_for_is_missing(monkeypatch, name, package):
    monkeypatch.setattr(launch, "find_spec", lambda package: None)
    backends = [{"type": "LocalVisBackend"}]
    launch.check_visualizer(Config({"visualizer": {"vis_backends": backends}}))
    backends.append({"type": f"mmengine.{name}VisBackend"})
    with pytest.raises(ConfigError, match=f"{name}VisBackend .* {package}"):
        launch.check_visualizer(Config({"visualizer": {"vis_backends": backends}}))


def test_errors_of_the_user_are_one_line(capsys):
    with pytest.raises(SystemExit) as caught, launch.one_line_errors():
        raise ConfigError("depth=7:\n  expected 18 or 34")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: depth=7: expected 18 or 34\n"


def test_other_errors_keep_their_traceback():
    with pytest.raises(FileNotFoundError), launch.one_line_errors():
        raise FileNotFoundError("an image")


def test_a_failed_download_is_one_line_that_says_what_to_do(capsys, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(SystemExit) as exit_, launch.one_line_errors():
        urlopen("http://127.0.0.1:1/cifar.tar.gz", timeout=10)
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: a download failed (") and "data_root" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_line(capsys, number):
    with pytest.raises(SystemExit) as stop, launch.one_line_errors():
        raise OSError(number, os.strerror(number), "scalars.json")
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error:") and "scalars.json" in line


def test_other_system_errors_are_not_hidden():
    with pytest.raises(PermissionError), launch.one_line_errors():
        raise PermissionError(errno.EACCES, "denied", "scalars.json")


def test_a_path_with_spaces_is_an_option():
    words = ["a.b=/my data/c d/", 'c="my data"', "d=[1, 2]", "e=x, y", "f=None"]
    parser = argparse.ArgumentParser()
    launch.add_options(parser)
    options = parser.parse_args(["--cfg-options", *words]).cfg_options
    assert options == {
        "a.b": "/my data/c d/", "c": "my data", "d": [1, 2], "e": ["x", "y"], "f": None
    }  # fmt: skip
