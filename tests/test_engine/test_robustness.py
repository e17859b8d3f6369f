"""What `RobustnessHook` measures after a training, in its log."""

import itertools
import json
import sys
import time

import pytest
from mmengine.config import Config

from attnpool_mm.analysis.logs import is_measured, read_measures, read_work_dir
from attnpool_mm.analysis.predictions import TestImages
from attnpool_mm.analysis.robustness import measure_robustness
from attnpool_mm.engine import launch
from attnpool_mm.engine.robustness import RobustnessHook
from attnpool_mm.utils.errors import ConfigError

RUN = itertools.count()  # MMEngine tells runners apart by their names
OPTIONS = dict(max_shift=2, corruptions=["contrast", "shot_noise"], severity=2, seed=1)


def config(work_dir, **changes):
    loader = dict(
        batch_size=32,
        num_workers=0,
        dataset=dict(
            type="attnpool_mm.Digits",
            split="test",
            indices=64,
            pipeline=[dict(type="PackInputs")],
        ),
        sampler=dict(type="DefaultSampler", shuffle=False),
    )
    cfg = dict(
        default_scope="mmpretrain",
        work_dir=str(work_dir),
        experiment_name=f"robustness_{next(RUN)}",
        model=dict(
            type="ImageClassifier",
            backbone=dict(
                type="ResNet_CIFAR", depth=18, base_channels=4, stem_channels=4
            ),
            neck=dict(type="GlobalAveragePooling"),
            head=dict(type="LinearClsHead", num_classes=10, in_channels=32),
        ),
        data_preprocessor=dict(num_classes=10, mean=[127.5] * 3, std=[127.5] * 3),
        train_dataloader=loader,
        val_dataloader=loader,
        test_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=1),
        val_cfg={},
        test_cfg={},
        val_evaluator=dict(type="Accuracy"),
        test_evaluator=dict(type="Accuracy"),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        default_hooks=dict(
            logger=dict(type="LoggerHook", interval=1),
            robustness=dict(
                type="attnpool_mm.RobustnessHook", num_images=40, **OPTIONS
            ),
        ),
        visualizer=dict(
            type="UniversalVisualizer", vis_backends=[dict(type="LocalVisBackend")]
        ),
        log_level="ERROR",
    )
    return Config({**cfg, **changes})


def train(cfg):
    runner = launch.build_runner(cfg)
    runner.train()
    return runner


def records(work_dir):
    return [
        json.loads(line)
        for path in sorted(work_dir.glob("*/vis_data/scalars.json"))
        for line in path.read_text().splitlines()
    ]


def test_the_log_has_one_record_of_the_final_weights_after_a_resumed_training_too(
    tmp_path,
):
    runner = train(config(tmp_path))
    expected = measure_robustness(runner.model, TestImages(runner.cfg, 40), **OPTIONS)
    assert list(expected) == [
        *("shift_consistency", "corruption/contrast", "corruption/shot_noise"),
        "corruption/mean",
    ]
    first = records(tmp_path)
    assert first[-1] == {**expected, "step": 2}
    assert [is_measured(record) for record in first[:-1]] == [False] * (len(first) - 1)
    assert read_measures(tmp_path) == expected
    trained = read_work_dir(tmp_path)
    assert len(trained) == len(first) - 1
    time.sleep(1 - time.time() % 1)  # MMEngine names a run by its second
    train(config(tmp_path, resume=True))
    assert [r for r in records(tmp_path) if is_measured(r)] == [first[-1]] * 2
    assert read_measures(tmp_path) == expected
    assert read_work_dir(tmp_path) == trained


def test_without_the_hook_nothing_is_measured(tmp_path):
    assert read_measures(tmp_path) == {}


@pytest.mark.parametrize(
    "changes, said",
    [
        (dict(test_dataloader=None), "test_dataloader"),
        (dict(default_scope="mmdet"), "default_scope='mmdet'"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_training(tmp_path, changes, said):
    cfg = config(tmp_path)
    runner = launch.build_runner(cfg)
    runner.cfg = Config({**cfg, **changes})
    hook = RobustnessHook(**OPTIONS)
    with pytest.raises(ConfigError, match=said):
        hook.before_train(runner)
    (tmp_path / "file").write_text("")
    runner.cfg = cfg
    hook = RobustnessHook(**{**OPTIONS, "max_shift": 8})
    with pytest.raises(ConfigError, match="max_shift=8"):
        hook.before_train(runner)
    hook = RobustnessHook(**OPTIONS, cache=tmp_path / "file")
    with pytest.raises(ConfigError, match="cache="):
        hook.before_train(runner)


def test_bad_arguments(monkeypatch):
    for arguments, said in (
        (dict(num_images=0), "num_images=0"),
        (dict(max_shift=0), "max_shift=0"),
        (dict(seed=-1), "seed=-1"),
        (dict(severity=6), "severity=6"),
        (dict(corruptions=["fogg"]), "'fog'"),
    ):
        with pytest.raises(ConfigError, match=said):
            RobustnessHook(**arguments)
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    RobustnessHook(corruptions=[])
    with pytest.raises(ConfigError, match=r"\[robustness\]"):
        RobustnessHook()
