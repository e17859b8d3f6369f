"""What the tools share: configs, options, mixed precision, errors."""

import argparse
import errno
import os
import sys
from urllib.request import urlopen

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.optim import AmpOptimWrapper, build_optim_wrapper
from mmengine.runner import EpochBasedTrainLoop

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
    args = parser.parse_args(["tiny.py", "--cfg-options", "a.b=1", "c=[x,2]"])
    assert args.cfg_options == {"a.b": 1, "c": ["x", 2]}
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

    def test_auto_scale_lr(self):
        cfg = Config({"auto_scale_lr": {"base_batch_size": 64}})
        launch.enable_auto_scale_lr(cfg)
        assert cfg.auto_scale_lr.enable is True
        for cfg in (Config({}), Config({"auto_scale_lr": {"enable": False}})):
            with pytest.raises(ConfigError, match="auto_scale_lr.base_batch_size"):
                launch.enable_auto_scale_lr(cfg)


class TestDataloaderDefaults:
    def defaults(self, scope, **loader):
        cfg = Config({"default_scope": scope, "train_dataloader": loader})
        launch.set_dataloader_defaults(cfg)
        return cfg.train_dataloader

    def test_classification(self):
        loader = self.defaults("mmpretrain", num_workers=2)
        assert loader.persistent_workers is True
        assert loader.pin_memory is torch.cuda.is_available()
        assert loader.collate_fn.type == "default_collate"

    def test_what_the_config_says_stays(self):
        given = {"num_workers": 1, "persistent_workers": False, "pin_memory": True}
        loader = self.defaults("mmpretrain", **given, collate_fn={"type": "mine"})
        assert {key: loader[key] for key in given} == given
        assert loader.collate_fn.type == "mine"

    def test_detection_is_left_alone(self):
        assert self.defaults("mmdet", num_workers=2) == {"num_workers": 2}

    @pytest.mark.parametrize("scope", launch.SCOPES)
    def test_no_persistent_workers_without_workers(self, scope):
        loader = self.defaults(scope, num_workers=0, persistent_workers=True)
        # PyTorch's own loader is the judge
        workers = {k: loader[k] for k in loader if "workers" in k}
        torch.utils.data.DataLoader([1, 2], **workers)


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


class TestMixedPrecision:
    def config(self):
        optimizer = {"type": "SGD", "lr": 0.1}
        return Config({"optim_wrapper": {"optimizer": optimizer}})

    def test_needs_an_optimizer(self):
        with pytest.raises(ConfigError, match="optim_wrapper"):
            launch.use_amp(Config({}))

    def test_given_loss_scale_stays(self):
        cfg = self.config()
        cfg.optim_wrapper.loss_scale = 512.0
        launch.use_amp(cfg)
        assert cfg.optim_wrapper.loss_scale == 512.0

    @pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without GPU")
    def test_a_step_on_the_cpu_computes_in_bfloat16(self):
        cfg = self.config()
        launch.use_amp(cfg)
        cfg.optim_wrapper.dtype = "float16"
        launch.adapt_to_device(cfg)
        model = torch.nn.Linear(4, 2)
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        before = model.weight.detach().clone()
        with wrapper.optim_context(model):
            output = model(torch.randn(3, 4))
        assert output.dtype == torch.bfloat16
        wrapper.update_params(output.float().square().mean())
        assert model.weight.dtype == torch.float32
        assert not torch.equal(model.weight, before)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without GPU")
    def test_proposals_on_the_cpu_are_refused(self):
        cfg = self.config()
        cfg.model = {"type": "FasterRCNN", "rpn_head": {}}
        launch.adapt_to_device(cfg)
        launch.use_amp(cfg)
        for kind in ("AmpOptimWrapper", "mmengine.AmpOptimWrapper", AmpOptimWrapper):
            cfg.optim_wrapper.type = kind
            with pytest.raises(ConfigError, match="--amp: FasterRCNN"):
                launch.adapt_to_device(cfg)

    def test_other_wrappers_are_left_alone(self):
        cfg = self.config()
        expected = cfg.to_dict()
        launch.adapt_to_device(cfg)
        assert cfg.to_dict() == expected


def test_errors_of_the_user_are_one_line(capsys):
    with pytest.raises(SystemExit) as caught, launch.one_line_errors():
        raise ConfigError("depth=7:\n  expected 18 or 34")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: depth=7: expected 18 or 34\n"


def test_other_errors_keep_their_traceback():
    with pytest.raises(FileNotFoundError), launch.one_line_errors():
        raise FileNotFoundError("an image")


def test_a_failed_download_is_one_line_that_says_what_to_do(capsys):
    with pytest.raises(SystemExit) as exit_, launch.one_line_errors():
        urlopen("http://nowhere.invalid/cifar.tar.gz")
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: a download failed (") and "data_root" in message
    assert message.count("\n") == 1


class TestResumableTraining:
    HOOK, LOOP = "attnpool_mm.AtomicCheckpointHook", "attnpool_mm.ResumableEpochLoop"

    def adapted(self, **cfg):
        cfg = Config(cfg)
        launch.use_resumable_training(cfg)
        return cfg

    @pytest.mark.parametrize(
        "kind", ["CheckpointHook", "mmengine.CheckpointHook", CheckpointHook]
    )
    def test_mmengines_hook_is_replaced(self, kind):
        hook = dict(type=kind, interval=2)
        cfg = self.adapted(default_hooks=dict(checkpoint=hook, timer=None))
        assert cfg.default_hooks.checkpoint == dict(type=self.HOOK, interval=2)
        assert cfg.default_hooks.timer is None
        assert self.adapted(custom_hooks=[hook]).custom_hooks[0].type == self.HOOK

    def test_so_is_the_one_that_the_runner_would_add(self):
        for cfg in (self.adapted(), self.adapted(default_hooks=None)):
            assert cfg.default_hooks.checkpoint == dict(type=self.HOOK, interval=1)

    @pytest.mark.parametrize(
        "loop",
        [dict(by_epoch=True), dict(type="EpochBasedTrainLoop"),
         dict(type=EpochBasedTrainLoop)],
    )  # fmt: skip
    def test_mmengines_loop_is_replaced(self, loop):
        cfg = self.adapted(train_cfg=dict(loop, max_epochs=3))
        assert cfg.train_cfg == dict(type=self.LOOP, max_epochs=3)

    @pytest.mark.parametrize("kind", ["EpochBasedTrainLop", "IterBasedTrainLoop"])
    def test_a_loop_by_name_is_not_overruled_by_by_epoch(self, kind):
        loop = dict(type=kind, by_epoch=True)
        assert self.adapted(train_cfg=loop).train_cfg == loop

    def test_others_stay(self):
        hooks = dict(checkpoint=dict(type="MyCheckpointHook"))
        cfg = self.adapted(default_hooks=hooks, train_cfg=dict(by_epoch=False))
        assert cfg.default_hooks == hooks and cfg.train_cfg == dict(by_epoch=False)
        cfg = self.adapted(default_hooks=dict(checkpoint=None))
        assert cfg.default_hooks == dict(checkpoint=None)


def test_default_hooks_that_are_none_are_left_out_but_mmengines():
    hooks = dict(visualization=None, invalid_loss=None, timer=None, mine=dict(type="A"))
    cfg = Config(dict(default_hooks=hooks))
    launch.drop_disabled_hooks(cfg)
    assert cfg.default_hooks == dict(timer=None, mine=dict(type="A"))
    for none in ({}, dict(default_hooks=None)):
        launch.drop_disabled_hooks(Config(none))


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
