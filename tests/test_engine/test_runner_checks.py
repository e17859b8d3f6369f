"""What does not fit in a runner is said in one line before training starts."""

from pathlib import Path

import pytest
import torch
from mmdet.models import DetTTAModel
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from attnpool_mm.engine import adjustments, runner_checks
from attnpool_mm.models import AttnPoolResNet
from attnpool_mm.utils.errors import ConfigError

CONFIG = Path(__file__).parents[2] / "configs/classification/digits"


@pytest.fixture
def digits(tmp_path):
    cfg = Config.fromfile(CONFIG / "resnet18-nlp-stage-end_1xb64_digits.py")
    cfg.work_dir = str(tmp_path)
    cfg.log_level = "ERROR"
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    adjustments.set_dataloader_defaults(cfg)
    return cfg


def test_a_patch_larger_than_the_map(digits):
    # 32x32 images: the stages that pool get maps of 8, 4 and 2 pixels
    digits.model.backbone.pool_cfg.patch_size = 4
    message = "32x32: patch_size=4 .*2x2"
    with pytest.raises(ConfigError, match=message) as caught:
        runner_checks.check_patches(Runner.from_cfg(digits))
    assert "\n" not in str(caught.value)


def test_patches_that_fit(digits):
    digits.model.backbone.pool_cfg.patch_size = 2
    runner = Runner.from_cfg(digits)
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    runner_checks.check_patches(runner)
    after = runner.model.state_dict()
    assert all((after[k] == v).all() for k, v in before.items())
    assert runner.model.training


def test_a_head_of_other_channels(digits):
    digits.model.backbone.depth = 50
    digits.model.head.in_channels = 512
    with pytest.raises(ConfigError, match=r"in_channels=512, .* 2048"):
        runner_checks.check_classifier(Runner.from_cfg(digits))
    digits.model.head.in_channels = 2048
    runner_checks.check_classifier(Runner.from_cfg(digits))


def test_pretrained_weights_are_of_this_network(digits, tmp_path):
    file = str(tmp_path / "resnet18.pth")
    torch.save(AttnPoolResNet(18).state_dict(), file)
    backbone = digits.model.backbone
    backbone.init_cfg = dict(type="Pretrained", checkpoint=file)
    runner_checks.check_pretrained(Runner.from_cfg(digits))
    backbone.conv_cfg = dict(type="DynamicConv2d")
    runner_checks.check_pretrained(Runner.from_cfg(digits))
    backbone.update(depth=50, conv_cfg=None)
    key = f"model.backbone.init_cfg.checkpoint='{file}'"
    shapes = r"\(64, 64, 3, 3\) .*\(64, 64, 1, 1\)"
    with pytest.raises(ConfigError, match=f"{key}.* layer1.0.conv1.weight, {shapes}"):
        runner_checks.check_pretrained(Runner.from_cfg(digits))
    backbone.init_cfg.prefix = "backbone."
    with pytest.raises(ConfigError, match=f"{key}.* 0 entries"):
        runner_checks.check_pretrained(Runner.from_cfg(digits))


@pytest.mark.parametrize("options, message", [
    (dict(depth=20), "depth=20"),
    (dict(pool_cfg=dict(type="NlpPool")), "type='NlpPool'"),
], ids=str)  # fmt: skip
def test_a_wrong_model_is_one_line_while_the_runner_is_built(digits, options, message):
    digits.model.backbone.update(options)
    with pytest.raises(ConfigError, match=message) as caught:
        Runner.from_cfg(digits)
    assert "\n" not in str(caught.value)


def test_a_detector_whose_parts_do_not_fit(tmp_path):
    demo = "configs/demo/faster-rcnn_resnet18-half-nlp_fpn_digits-coco.py"
    cfg = Config.fromfile(Path(__file__).parents[2] / demo)
    cfg.work_dir = str(tmp_path)
    cfg.log_level = "ERROR"
    runner = Runner.from_cfg(cfg)
    runner_checks.check_detector(runner)
    detector = runner.model
    detector.rpn_head.prior_generator.strides = [(s, s) for s in (8, 16, 32, 64, 128)]
    for model in (
        detector,
        nn.parallel.DataParallel(detector),
        DetTTAModel(module=detector),
    ):
        runner.model = model
        with pytest.raises(ConfigError, match=r"\[4, 8, 16, 32, 64\]"):
            runner_checks.check_detector(runner)


def test_a_classifier_is_no_detector(digits):
    runner_checks.check_detector(Runner.from_cfg(digits))
