"""Bad input is said in one line before training starts."""

import pytest
import torch
from mmengine.config import Config
from mmpretrain.datasets import CIFAR10, BaseDataset

from attnpool_mm.engine import preflight
from attnpool_mm.utils.errors import ConfigError


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
        message = error_of(absent)
        assert message.startswith("val_dataloader.dataset.data_root: ")
        offered = "val_dataloader.dataset.download=True" in message
        assert offered == (kind == "attnpool_mm.STL10")  # the others cannot
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
