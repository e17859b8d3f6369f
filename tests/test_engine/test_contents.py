"""Bad data and values are one line before training starts."""

import shutil
from copy import deepcopy

import bad_input_cases
import pytest
from mmengine.config import Config

from attnpool_mm.engine import contents
from attnpool_mm.engine.class_names import class_counts
from attnpool_mm.engine.contents import check_contents
from attnpool_mm.engine.launch import KeyValueAction, merge_options
from attnpool_mm.engine.values import check_parts, check_values
from attnpool_mm.utils.errors import ConfigError


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The folder of the inputs, and the configs."""
    folder = tmp_path_factory.mktemp("inputs") / "good"
    bad_input_cases.write_inputs(folder)
    names = bad_input_cases.TEXTS
    return folder, {name: Config.fromfile(folder / f"{name}.py") for name in names}


@pytest.fixture
def config_of(good, tmp_path):
    """A config that reads a copy of the inputs, whose folder is the second value."""
    source, configs = good
    folder = tmp_path / "inputs"

    def make(name, *options, change=None):
        shutil.copytree(source, folder)
        if change is not None:
            change(folder)
        cfg = Config(_moved(deepcopy(configs[name]._cfg_dict), str(source), folder))
        words = [word.format(root=folder).split("=", 1) for word in options]
        parsed = {key: KeyValueAction._parse_iterable(v) for key, v in words}
        merge_options(cfg, parsed)
        return cfg

    return make


def _moved(part, source, folder):
    if isinstance(part, dict):
        return {key: _moved(value, source, folder) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return type(part)(_moved(value, source, folder) for value in part)
    return part.replace(source, str(folder)) if isinstance(part, str) else part


def check(cfg, tool="train", **options):
    check_parts(cfg, tool)
    check_values(cfg)
    return check_contents(
        cfg, ("train", "val") if tool == "train" else ("test",), **options
    )


@pytest.mark.parametrize("case", bad_input_cases.CASES, ids=lambda case: case.name)
def test_bad_inputs(case, config_of):
    cfg = config_of(case.config, *case.options, change=case.change)
    with pytest.raises(ConfigError) as caught:
        check(cfg, case.tool)
    message = str(caught.value)
    assert "\n" not in message
    place = 0
    for part in case.said:
        assert part in message[place:], message
        place = message.index(part, place) + len(part)


def test_there_are_many():
    assert len(bad_input_cases.CASES) >= 60
    assert len({case.name for case in bad_input_cases.CASES}) >= 60


@pytest.mark.parametrize("name", bad_input_cases.TEXTS)
def test_good_inputs_pass_without_a_word(config_of, name):
    cfg = config_of(name)
    assert check(cfg) == []
    assert check(cfg, "test") == []


class TestWarnings:
    def test_what_mmdetection_leaves_out_is_counted(self, config_of):
        def change(content):
            rows = content["annotations"]
            rows[0]["bbox"] = [float("nan"), 1, 5, 5]
            rows[1]["bbox"] = [2, 2, 0, 9]
            rows[2]["bbox"] = [-9, 2, 0.5, 9]
            rows[3]["bbox"] = [40, 2, 9, 9]
            rows[4].update(area=0)
            rows[5].update(category_id=9)
            rows[6].update(image_id=9)

        cfg = config_of("detector", change=bad_input_cases.edit(change))
        (warning,) = check(cfg)
        assert "\n" not in warning
        counts = ("7 of 12", "1 of an unknown image", "1 not a number",
                  "2 less than 1 pixel", "1 outside", "1 without an area",
                  "1 of an unknown category")  # fmt: skip
        assert all(count in warning for count in counts), warning

    def test_classes_in_another_order(self, config_of):
        option = "metainfo.classes=(plum,pear,apple)"
        names = [f"{split}_dataloader.dataset" for split in ("train", "val")]
        first, second = check(config_of("detector", *(f"{n}.{option}" for n in names)))
        assert "'apple', 'pear', 'plum'" in first and names[0] in first
        assert names[1] in second

    def test_images_that_only_the_evaluator_has(self, config_of):
        option = "val_dataloader.dataset.indices=1"
        (warning,) = check(config_of("detector", option))
        assert "val_evaluator.ann_file" in warning and "3 of its 4" in warning

    def test_a_head_with_more_classes_than_the_folders(self, config_of):
        (first, second) = check(config_of("classifier", "model.head.num_classes=10"))
        for warning, split in ((first, "train"), (second, "val")):
            assert f"{split}_dataloader.dataset has 3" in warning
            assert "model.head.num_classes=10" in warning


class TestWrappers:
    @pytest.mark.parametrize(
        "wrap, inner",
        [
            (lambda d: dict(type="RepeatDataset", times=2, dataset=d), "dataset"),
            (lambda d: dict(type="ClassBalancedDataset", oversample_thr=0.1, dataset=d),
             "dataset"),
            (lambda d: dict(type="MultiImageMixDataset", pipeline=[], dataset=d),
             "dataset"),
            (lambda d: dict(type="ConcatDataset", datasets=[d, deepcopy(d)]),
             "datasets.0"),
            (lambda d: dict(type="RepeatDataset", times=2, dataset=dict(
                type="ConcatDataset", datasets=[d])), "dataset.datasets.0"),
        ],
        ids=["repeat", "balanced", "mix", "concat", "two"],
    )  # fmt: skip
    def test_data_sets_in_wrappers(self, config_of, wrap, inner):
        change = bad_input_cases.without("annotations", "area")
        cfg = config_of("detector", change=change)
        cfg.train_dataloader.dataset = wrap(cfg.train_dataloader.dataset)
        with pytest.raises(ConfigError, match="area") as caught:
            check(cfg)
        key = f"train_dataloader.dataset.{inner}.ann_file="
        assert str(caught.value).startswith(key)

    def test_a_set_of_backgrounds_beside_another(self, config_of):
        change = bad_input_cases.having("annotations", "val.json", True, iscrowd=1)
        cfg = config_of("detector", change=change)
        boxes = cfg.train_dataloader.dataset
        cfg.train_dataloader.dataset = dict(
            type="ConcatDataset", datasets=[boxes, dict(boxes, ann_file="val.json")]
        )
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
        (warning,) = check(cfg)
        assert "dataset.datasets.1.ann_file=" in warning

    def test_a_file_is_read_once(self, config_of, monkeypatch):
        cfg = config_of("detector")
        cfg.val_evaluator = [cfg.val_evaluator, deepcopy(cfg.val_evaluator)]
        read = []
        real = contents.read_coco
        monkeypatch.setattr(
            contents, "read_coco", lambda *a: read.append(a[1]) or real(*a)
        )
        assert check(cfg) == []
        assert len(read) == len(set(read)) == 2


class TestAccepted:
    @pytest.mark.parametrize(
        "options, change",
        [
            (("train_dataloader.dataset.metainfo.classes={root}/names",),
             bad_input_cases.text("apple\npear\nplum\n", "names")),
            (("val_evaluator.format_only=True", "val_evaluator.outfile_prefix=x"),
             bad_input_cases.edit(lambda c: c.pop("annotations"), "val.json")),
            (("val_evaluator=[]",),
             bad_input_cases.edit(lambda c: c.pop("annotations"), "val.json")),
            ((), bad_input_cases.without("annotations", "iscrowd")),  # not evaluated
            ((), bad_input_cases.having("annotations", bbox=[-5, 0, 90, 9])),  # clipped
            ((), bad_input_cases.edit(lambda c: c["annotations"].append(
                dict(id=99, image_id=1, category_id=1, ignore=1)))),
            (("train_dataloader.dataset.pipeline.0.ignore_empty=True",),
             lambda folder: (folder / "images" / "1.png").unlink()),
            (("train_dataloader.dataset.type=LVISV1Dataset",
              "train_dataloader.dataset.metainfo.classes=(a,b,c)"),
             bad_input_cases.text("[]")),  # has a format of its own
        ],
        ids=["names in a file", "format_only", "no evaluator", "iscrowd", "outside",
             "ignored", "empty", "LVIS"],
    )  # fmt: skip
    def test_by_detectors(self, config_of, options, change):
        assert check(config_of("detector", *options, change=change)) == []

    @pytest.mark.parametrize(
        "options",
        [
            ("val_evaluator=[]", "val_dataloader.dataset.with_label=False"),
            ("train_dataloader.dataset.ann_file=train.txt",),
            ("train_dataloader.dataset.type=CIFAR10", "model.head.num_classes=10",
             "val_dataloader=None", "val_cfg=None", "val_evaluator=None"),
            ("train_dataloader.dataset.data_root=s3://bucket",),
        ],
        ids=["no labels", "list", "CIFAR-10", "s3"],
    )  # fmt: skip
    def test_by_classifiers(self, config_of, options):
        assert check(config_of("classifier", *options)) == []


def test_every_image_is_opened_if_asked(config_of, capsys):
    """A broken one that the sample misses: the sample has 5 of 12."""

    def change(folder):
        for name in bad_input_cases.NAMES:
            for i in range(2, 4):
                shutil.copy(
                    folder / f"train/{name}/0.png", folder / f"train/{name}/{i}.png"
                )
        (folder / "train/apple/1.png").write_bytes(b"")

    cfg = config_of("classifier", change=change)
    assert check(cfg) == []
    with pytest.raises(ConfigError, match=r"1 of 12 .*apple/1\.png"):
        check(cfg, every_image=True)
    assert "12/12" in capsys.readouterr().err


@pytest.mark.parametrize(
    "model, scope, expected",
    [
        (dict(roi_head=dict(type="CascadeRoIHead", bbox_head=[
            dict(type="Shared2FCBBoxHead", num_classes=5)] * 2,
            mask_head=dict(type="FCNMaskHead"),
            semantic_head=dict(type="FusedSemanticHead", num_classes=183)),
            rpn_head=dict(type="RPNHead", num_classes=1)), "mmdet",
         {"roi_head.bbox_head.0": 5, "roi_head.bbox_head.1": 5,
          "roi_head.mask_head": 80}),
        (dict(bbox_head=dict(type="SSDHead")), "mmdet", {"bbox_head": 80}),
        (dict(bbox_head=dict(type="YOLOXHead", num_classes=3)), "mmdet",
         {"bbox_head": 3}),
        (dict(bbox_head=dict(type="DETRHead", num_classes=4, loss_cls=dict(
            type="CrossEntropyLoss", num_classes=9))), "mmdet", {"bbox_head": 4}),
        (dict(bbox_head=dict(type="mmdet.RTMDetHead", num_classes=2)), None,
         {"bbox_head": 2}),
        (dict(type="SoftTeacher", detector=dict(bbox_head=dict(
            type="RetinaHead", num_classes=6))), "mmdet", {"detector.bbox_head": 6}),
        (dict(backbone=dict(type="VGG", depth=11, num_classes=1000), head=dict(
            type="LinearClsHead", num_classes=7)), "mmpretrain", {"head": 7}),
        (dict(head=dict(type="MAEPretrainHead")), "mmpretrain", {}),
    ],
    ids=["cascade", "SSD", "YOLOX", "DETR", "RTMDet", "teacher", "VGG", "MAE"],
)  # fmt: skip
def test_the_heads_that_have_classes(model, scope, expected):
    expected = {f"model.{key}.num_classes": n for key, n in expected.items()}
    assert dict(class_counts(model, scope)) == expected
