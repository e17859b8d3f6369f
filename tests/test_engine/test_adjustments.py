"""What the tools change in a config: mixed precision, loaders, hooks, loops."""

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.optim import AmpOptimWrapper, build_optim_wrapper
from mmengine.runner import EpochBasedTrainLoop

from attnpool_mm.engine import adjustments, launch
from attnpool_mm.utils.errors import ConfigError


def test_auto_scale_lr():
    cfg = Config({"auto_scale_lr": {"base_batch_size": 64}})
    adjustments.enable_auto_scale_lr(cfg)
    assert cfg.auto_scale_lr.enable is True
    for cfg in (Config({}), Config({"auto_scale_lr": {"enable": False}})):
        with pytest.raises(ConfigError, match="auto_scale_lr.base_batch_size"):
            adjustments.enable_auto_scale_lr(cfg)


class TestDataloaderDefaults:
    def defaults(self, scope, **loader):
        cfg = Config({"default_scope": scope, "train_dataloader": loader})
        adjustments.set_dataloader_defaults(cfg)
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


class TestMixedPrecision:
    def config(self):
        optimizer = {"type": "SGD", "lr": 0.1}
        return Config({"optim_wrapper": {"optimizer": optimizer}})

    def test_needs_an_optimizer(self):
        with pytest.raises(ConfigError, match="optim_wrapper"):
            adjustments.use_amp(Config({}))

    def test_a_test_needs_its_part_of_the_config(self):
        cfg = Config({"test_cfg": {"type": "TestLoop"}})
        adjustments.use_test_amp(cfg)
        assert cfg.test_cfg == {"type": "TestLoop", "fp16": True}
        for cfg in (Config({}), Config({"test_cfg": None}), Config({"test_cfg": "a"})):
            with pytest.raises(ConfigError, match="--amp.* test_cfg"):
                adjustments.use_test_amp(cfg)

    def test_given_loss_scale_stays(self):
        cfg = self.config()
        cfg.optim_wrapper.loss_scale = 512.0
        adjustments.use_amp(cfg)
        assert cfg.optim_wrapper.loss_scale == 512.0

    @pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without GPU")
    def test_a_step_on_the_cpu_computes_in_bfloat16(self):
        cfg = self.config()
        adjustments.use_amp(cfg)
        cfg.optim_wrapper.dtype = "float16"
        adjustments.adapt_to_device(cfg)
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
        adjustments.adapt_to_device(cfg)
        adjustments.use_amp(cfg)
        for kind in ("AmpOptimWrapper", "mmengine.AmpOptimWrapper", AmpOptimWrapper):
            cfg.optim_wrapper.type = kind
            with pytest.raises(ConfigError, match="--amp: FasterRCNN"):
                adjustments.adapt_to_device(cfg)

    def test_other_wrappers_are_left_alone(self):
        cfg = self.config()
        expected = cfg.to_dict()
        adjustments.adapt_to_device(cfg)
        assert cfg.to_dict() == expected


class TestResumableTraining:
    HOOK, LOOP = "attnpool_mm.AtomicCheckpointHook", "attnpool_mm.ResumableEpochLoop"

    def adapted(self, **cfg):
        cfg = Config(cfg)
        adjustments.use_resumable_training(cfg)
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
    adjustments.drop_disabled_hooks(cfg)
    assert cfg.default_hooks == dict(timer=None, mine=dict(type="A"))
    for none in ({}, dict(default_hooks=None)):
        adjustments.drop_disabled_hooks(Config(none))
