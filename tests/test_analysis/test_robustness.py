"""Shift consistency and accuracy under corruptions of networks with known answers."""

from itertools import product

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmpretrain.models import ClsDataPreprocessor
from torch import nn

from attnpool_mm.analysis.corruptions import corrupt
from attnpool_mm.analysis.predictions import (
    TestImages,
    accuracy,
    check_classifier,
    predict,
)
from attnpool_mm.analysis.robustness import (
    corrupted_accuracy,
    measure_robustness,
    shift,
    shift_consistency,
)
from attnpool_mm.utils.errors import ConfigError


class Network(BaseModel):
    """Predicts what `rule` makes of the images, which are not normalised."""

    def __init__(self, rule):
        super().__init__(ClsDataPreprocessor(to_rgb=False))
        self.rule = rule
        self.norm = nn.BatchNorm2d(3)

    def forward(self, inputs, data_samples, mode):
        assert mode == "predict" and not self.norm.training
        assert not torch.is_grad_enabled()
        predicted = self.rule(inputs.float())
        return [
            sample.set_pred_label(label)
            for sample, label in zip(data_samples, predicted, strict=True)
        ]


def config(**dataset):
    dataset = {"type": "attnpool_mm.Digits", "split": "test", **dataset}
    dataset.setdefault("pipeline", [dict(type="PackInputs")])
    loader = dict(batch_size=50, dataset=dataset)
    return Config(dict(default_scope="mmpretrain", test_dataloader=loader))


@pytest.fixture
def images():
    return TestImages(config(), 120)


def consistency(network, images, *arguments):
    return shift_consistency(network, images.samples, images.batch_size, *arguments)


@pytest.mark.parametrize("circular", [False, True])
def test_shift_moves_every_pixel(circular):
    image = torch.arange(1, 2 * 3 * 4 + 1).reshape(2, 3, 4)
    for down, right in product(range(-5, 6), repeat=2):
        moved = shift(image, down, right, circular)
        for c, i, j in product(range(2), range(3), range(4)):
            row, column = i - down, j - right
            inside = 0 <= row < 3 and 0 <= column < 4
            there = image[c, row % 3, column % 4] if circular or inside else 0
            assert moved[c, i, j] == there
    assert (image.flatten() == torch.arange(1, 25)).all()


def test_a_constant_answer_is_consistent(images):
    network = Network(lambda x: torch.zeros(len(x), dtype=torch.long))
    assert consistency(network, images) == 100
    right = [sample["data_samples"].gt_label.item() for sample in images.samples()]
    assert accuracy(network, images.samples(), 7) == 100 * right.count(0) / len(right)


def test_a_strided_convolution_alone_makes_an_answer_depend_on_circular_shifts(images):
    convolution = nn.Conv2d(3, 10, 3, padding=1, padding_mode="circular").double()
    with torch.no_grad():  # edges, of which each digit has its own
        weight = torch.randn(10, 1, 3, 3, dtype=torch.double).expand(-1, 3, -1, -1)
        convolution.weight.copy_(weight - weight.mean((2, 3), keepdim=True))
        convolution.bias.zero_()

    def rule(x):
        return convolution(x.double()).relu().mean((2, 3)).argmax(1)

    assert consistency(Network(rule), images, 3, 0, True) == 100
    assert consistency(Network(rule), images, 3, 0, False) < 100
    convolution.stride = (4, 4)
    assert consistency(Network(rule), images, 3, 0, True) < 100
    assert consistency(Network(rule), images, 3, 0, True) > 0


def test_a_shift_that_may_leave_nothing_is_refused(images):
    network = Network(lambda x: (x[:, 0, 3, 4] > 100).long())
    assert consistency(network, images, 7) > 0  # of 8 pixels
    for shifts in (0, 8):
        with pytest.raises(ConfigError, match=f"max_shift={shifts}"):
            consistency(network, images, shifts)


@pytest.mark.parametrize("seed, max_shift", [(0, 2), (1, 5)])
def test_a_network_that_reads_one_pixel(images, seed, max_shift):
    network = Network(lambda x: (x[:, 0, 3, 4] > 100).long())
    same = []
    for number, image in enumerate(images.images()):
        drawn = np.random.default_rng((seed, number))
        pairs = drawn.integers(-max_shift, max_shift + 1, size=(2, 2))
        larger = np.pad(image[..., 0], max_shift)
        first, second = (larger[3 - i + max_shift, 4 - j + max_shift] for i, j in pairs)
        same.append((first > 100) == (second > 100))
    expected = 100 * np.mean(same)
    assert 0 < expected < 100
    assert consistency(network, images, max_shift, seed) == pytest.approx(expected)


def test_accuracy_on_corrupted_images_is_that_by_hand(images, tmp_path):
    network = Network(lambda x: x.mean((1, 2, 3)).long() % 10)
    read = list(enumerate(images.images()))
    labels = [sample["data_samples"].gt_label.item() for sample in images.samples()]

    def expected(change):
        answers = [int(change(image, i).mean()) % 10 for i, image in read]
        return pytest.approx(100 * np.mean(np.equal(answers, labels)))

    assert accuracy(network, images.samples(), 50) == expected(lambda image, _: image)
    for name, seed in (("shot_noise", 0), ("shot_noise", 3), ("brightness", 0)):
        hand = expected(lambda im, i: corrupt(im, name, 2, (seed, i)))  # noqa: B023
        assert corrupted_accuracy(network, images, name, 2, seed) == hand
        for _ in range(2):
            cached = corrupted_accuracy(network, images, name, 2, seed, tmp_path)
            assert cached == hand
    names = ["brightness", "fog"]
    measured = measure_robustness(network, images, 2, names, 2, 3, tmp_path)
    assert measured == {
        "shift_consistency": consistency(network, images, 2, 3),
        "corruption/brightness": corrupted_accuracy(network, images, names[0], 2, 3),
        "corruption/fog": corrupted_accuracy(network, images, names[1], 2, 3),
        "corruption/mean": pytest.approx(
            sum(measured[f"corruption/{name}"] for name in names) / 2
        ),
    }
    assert list(measure_robustness(network, images, 2, [])) == ["shift_consistency"]


def test_files_are_corrupted_as_red_green_blue(tmp_path):
    (tmp_path / "a").mkdir()
    red = np.zeros((40, 36, 3), np.uint8)
    red[..., 2] = 255  # OpenCV's order
    cv2.imwrite(str(tmp_path / "a" / "red.png"), red)
    pipeline = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]
    cfg = config(type="CustomDataset", data_root=str(tmp_path), pipeline=pipeline)
    del cfg.test_dataloader.dataset["split"]
    images = TestImages(cfg)
    (image,) = images.images()
    assert (image == [255, 0, 0]).all()
    (plain,), (same,) = images.samples(), images.samples(lambda image, _: image)
    assert (plain["inputs"] == same["inputs"]).all()
    assert (plain["inputs"][2] == 255).all()  # the pipeline's order stays
    (green,) = images.samples(lambda image, _: np.roll(image, 1, axis=2))
    assert green["inputs"].float().mean((1, 2)).tolist() == [0, 255, 0]


def test_images_are_spread_evenly():
    assert TestImages(config(), 3).indices == [0, 120, 240]
    for count in (0, 361):
        with pytest.raises(ConfigError, match="num_images="):
            TestImages(config(), count)


def test_other_configs_are_refused():
    cfg = config()
    two = dict(type="ConcatDataset", datasets=[cfg.test_dataloader.dataset] * 2)
    for changed, said in (
        (dict(default_scope="mmdet"), "default_scope='mmdet'"),
        (dict(test_dataloader=dict(dataset=two)), "2 data sets"),
        (dict(test_dataloader=None), "0 data sets"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_classifier(Config({**cfg, **changed}))


def test_the_mode_stays_and_several_classes_an_image_are_refused(images):
    network = Network(lambda x: torch.zeros(len(x), 2, dtype=torch.long))
    network.train()
    with pytest.raises(ConfigError, match="one class"):
        predict(network, images.samples(), 50)
    assert network.training and network.norm.training
