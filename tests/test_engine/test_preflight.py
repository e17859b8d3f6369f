"""Bad input is said in one line before training starts."""

from pathlib import Path

import pytest
import torch
from mmdet.models import DetTTAModel
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.datasets import CIFAR10, BaseDataset
from torch import nn

from attnpool_mm.engine import adjustments, preflight
from attnpool_mm.models import AttnPoolResNet
from attnpool_mm.utils.errors import ConfigError

CONFIG = Path(__file__).parents[2] / "configs/classification/digits"


class OwnImages(BaseDataset):
    """A data set of a user's, which nothing here knows of."""


class OwnCIFAR(CIFAR10):
    """One that downloads as its parent does."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)


def data_config(dataset, **keys):
    keys = {"default_scope": "mmpretrain", **keys}
    return Config({"val_dataloader": {"dataset": dataset}, **keys})


def check_val(dataset, **keys):
    preflight.check_data_paths(data_config(dataset, **keys), ("val",))


def error_of(dataset, **keys):
    with pytest.raises(ConfigError) as caught:
        check_val(dataset, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestDataPaths:
    def test_missing_annotation_file(self, tmp_path):
        dataset = {"type": "CocoDataset", "data_root": str(tmp_path)}
        message = error_of({**dataset, "ann_file": "annotations/a.json"})
        assert message.startswith("val_dataloader.dataset.ann_file: ")
        assert str(tmp_path / "annotations" / "a.json") in message
        assert "--cfg-options val_dataloader.dataset.data_root=" in message

    def test_missing_image_folder(self, tmp_path):
        (tmp_path / "a.json").write_text("{}")
        dataset = {"data_root": str(tmp_path), "ann_file": "a.json"}
        message = error_of({**dataset, "data_prefix": {"img": "val2017/"}})
        assert message.startswith("val_dataloader.dataset.data_prefix.img: ")
        assert str(tmp_path / "val2017") in message
        (tmp_path / "val2017").mkdir()
        check_val({**dataset, "data_prefix": {"img": "val2017/"}})

    @pytest.mark.parametrize(
        "kind",
        ["CustomDataset", "mmpretrain.ImageNet", "attnpool_mm.STL10", "DTD", OwnImages],
    )
    def test_missing_folder(self, tmp_path, kind):
        dataset = {"type": kind, "data_root": str(tmp_path)}
        assert str(tmp_path / "val") in error_of({**dataset, "data_prefix": "val"})
        check_val(dataset)
        absent = {"type": kind, "data_root": str(tmp_path / "no")}
        assert error_of(absent).startswith("val_dataloader.dataset.data_root: ")
        check_val({**absent, "download": True})

    def test_the_advice_helps(self, tmp_path):
        """Doing what the message says makes the check pass."""
        (tmp_path / "a.json").write_text("{}")
        for dataset in (
            {"type": "CocoDataset", "data_root": "nowhere", "ann_file": "a.json"},
            {"type": "CustomDataset", "data_root": "nowhere"},
            {"type": "CustomDataset", "data_prefix": "nowhere"},
            {"dataset": {"datasets": [{"ann_file": "a.json"}]}},
        ):
            cfg = data_config(dataset)
            advice = error_of(dataset).split("--cfg-options ")[1].split("=")[0]
            cfg.merge_from_dict({advice: str(tmp_path)})
            preflight.check_data_paths(cfg, ("val",))

    def test_wrapped_datasets(self):
        inner = {"type": "CocoDataset", "ann_file": "absent.json"}
        message = error_of({"type": "RepeatDataset", "dataset": inner})
        assert message.startswith("val_dataloader.dataset.dataset.ann_file: ")
        message = error_of({"datasets": [{"type": "CIFAR10"}, {"dataset": inner}]})
        assert message.startswith("val_dataloader.dataset.datasets.1.dataset.ann_file")

    def test_evaluators(self, tmp_path):
        digits = {"type": "attnpool_mm.Digits", "split": "test"}
        metric = {"type": "CocoMetric", "ann_file": "absent.json"}
        message = error_of(digits, val_evaluator=metric)
        assert message.startswith("val_evaluator.ann_file: 'absent.json'")
        message = error_of(digits, val_evaluator=[{"type": "Accuracy"}, metric])
        assert message.startswith("val_evaluator.1.ann_file: ")

    def test_only_the_named_loaders_are_checked(self):
        cfg = data_config({"ann_file": "absent.json"})
        preflight.check_data_paths(cfg, ("train", "test"))
        cfg.val_dataloader = None  # as --no-validate leaves it
        preflight.check_data_paths(cfg)

    @pytest.mark.parametrize(
        "dataset",
        [
            {"type": "attnpool_mm.Digits", "split": "test"},
            {"type": "CIFAR10", "data_prefix": "data/cifar10", "split": "test"},
            {"type": "CIFAR10", "data_root": "data/cifar10"},
            {"type": OwnCIFAR, "data_root": "data/cifar10"},
            {"type": "CocoDataset", "ann_file": "https://host/a.json"},
            {"type": "CocoDataset", "data_root": "s3://data/", "ann_file": "a.json"},
            {"type": "CustomDataset", "data_prefix": "openmmlab:s3://data"},
            {"ann_file": "a.json", "backend_args": {"backend": "petrel"}},
            {
                "type": "CustomDataset",
                "data_prefix": "train",
                "pipeline": [{"backend_args": {"backend": "petrel"}}],
            },
            {"type": "CocoDataset", "ann_file": ["a.json", "b.json"]},
            {"type": "Other", "data_root": "absent", "ann_file": ""},
        ],
    )
    def test_no_false_alarm(self, dataset):
        check_val(dataset)

    def test_home_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "data").mkdir()
        check_val({"type": "CustomDataset", "data_root": "~/data"})

    def test_checkpoint_path(self, tmp_path):
        for path in (None, str(tmp_path), "https://host/a.pth", "torchvision://a"):
            preflight.check_checkpoint_path(path)
        with pytest.raises(ConfigError, match="checkpoint absent.pth"):
            preflight.check_checkpoint_path("absent.pth")


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
        preflight.check_patches(Runner.from_cfg(digits))
    assert "\n" not in str(caught.value)


def test_patches_that_fit(digits):
    digits.model.backbone.pool_cfg.patch_size = 2
    runner = Runner.from_cfg(digits)
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    preflight.check_patches(runner)
    after = runner.model.state_dict()
    assert all((after[k] == v).all() for k, v in before.items())
    assert runner.model.training


def test_pretrained_weights_are_of_this_network(digits, tmp_path):
    file = str(tmp_path / "resnet18.pth")
    torch.save(AttnPoolResNet(18).state_dict(), file)
    backbone = digits.model.backbone
    backbone.init_cfg = dict(type="Pretrained", checkpoint=file)
    preflight.check_pretrained(Runner.from_cfg(digits))
    backbone.conv_cfg = dict(type="DynamicConv2d")
    preflight.check_pretrained(Runner.from_cfg(digits))
    backbone.update(depth=50, conv_cfg=None)
    key = f"model.backbone.init_cfg.checkpoint='{file}'"
    shapes = r"\(64, 64, 3, 3\) .*\(64, 64, 1, 1\)"
    with pytest.raises(ConfigError, match=f"{key}.* layer1.0.conv1.weight, {shapes}"):
        preflight.check_pretrained(Runner.from_cfg(digits))
    backbone.init_cfg.prefix = "backbone."
    with pytest.raises(ConfigError, match=f"{key}.* 0 entries"):
        preflight.check_pretrained(Runner.from_cfg(digits))


def test_resuming_needs_more_than_weights(tmp_path):
    weights, whole = str(tmp_path / "weights.pth"), str(tmp_path / "whole.pth")
    torch.save({"state_dict": {}}, weights)
    with pytest.raises(ConfigError, match="--resume .*message_hub, meta, optimizer"):
        preflight.check_resumable(weights)
    parts = dict(state_dict={}, message_hub={}, optimizer=dict(state={}))
    meta = dict(epoch=1, iter=4)
    torch.save(dict(parts, meta=meta), whole)
    preflight.check_resumable(whole)
    for odd, match in (
        (dict(parts, meta=dict(meta, epoch=-1)), "--resume .*meta.epoch=-1"),
        (dict(parts, meta=dict(meta, iter="4")), "--resume .*meta.iter='4'"),
        (dict(parts, meta=dict(meta, seed=2**40)), f"--resume .*meta.seed={2**40}"),
        (dict(parts, meta=meta, optimizer={}), "--resume .*optimizer is empty"),
    ):
        torch.save(odd, whole)
        with pytest.raises(ConfigError, match=match):
            preflight.check_resumable(whole)
    with pytest.raises(ConfigError, match="checkpoint .*absent.pth"):
        preflight.check_resumable(str(tmp_path / "absent.pth"))
    torch.save(dict(state_dict={}, message_hub={}, meta=meta), whole)
    with pytest.raises(ConfigError, match="--resume .*optimizer"):
        preflight.check_resumable(whole)
    preflight.check_resumable(whole, optimizer=False)
    preflight.check_resumable("https://host.invalid/epoch_1.pth")


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
    demo = "configs/demo/faster-rcnn_resnet18-nlp_fpn_digits-coco.py"
    cfg = Config.fromfile(Path(__file__).parents[2] / demo)
    cfg.work_dir = str(tmp_path)
    cfg.log_level = "ERROR"
    runner = Runner.from_cfg(cfg)
    preflight.check_detector(runner)
    detector = runner.model
    detector.rpn_head.prior_generator.strides = [(s, s) for s in (8, 16, 32, 64, 128)]
    for model in (
        detector,
        nn.parallel.DataParallel(detector),
        DetTTAModel(module=detector),
    ):
        runner.model = model
        with pytest.raises(ConfigError, match=r"\[4, 8, 16, 32, 64\]"):
            preflight.check_detector(runner)


def test_a_classifier_is_no_detector(digits):
    preflight.check_detector(Runner.from_cfg(digits))
