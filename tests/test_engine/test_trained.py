"""A config and its checkpoint as a network, and images as it gets them."""

from argparse import Namespace
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from attnpool_mm.engine.launch import build_runner
from attnpool_mm.engine.trained import build_network, load_trained, network_inputs
from attnpool_mm.utils.config import one_line_build
from attnpool_mm.utils.errors import ConfigError

CONFIG = "configs/classification/digits/resnet18-nlp-stage-end_1xb64_digits.py"


@pytest.fixture(scope="module")
def digits():
    cfg = Config.fromfile(Path(__file__).parents[2] / CONFIG)
    init_default_scope("mmpretrain")
    preprocessor = dict(cfg.data_preprocessor, type="ClsDataPreprocessor")
    model = nn.Module()
    model.data_preprocessor = MODELS.build(preprocessor)
    return cfg, model


def test_images_are_normalised_and_spread_over_the_data(digits):
    batches = [*network_inputs(*digits, "train", 3)]
    assert [batch.shape for batch in batches] == [(1, 3, 32, 32)] * 3
    assert all(-1 <= batch.min() < -0.9 for batch in batches)  # of 0 to 255, by 127.5
    ends = [*network_inputs(*digits, "train", 6)][::2]
    assert all(map(torch.equal, batches, ends))


def test_more_images_than_there_are_are_refused_at_the_call(digits):
    with pytest.raises(ConfigError, match="1438 images.* 1437"):
        network_inputs(*digits, "train", 1438)  # and no image is asked for


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model.head.loss.type": "CrossEntropyLos"}, "model: .*CrossEntropyLos"),
        (
            {"model.backbone": dict(_delete_=True, type="RegNet", arch="x")},
            r'model: .*"x".*\(mmpretrain\..*regnet, line \d+\)',
        ),
    ],
)
@pytest.mark.parametrize("build", [build_network, build_runner])
def test_a_model_that_cannot_be_built_is_one_line(
    digits, build, changes, match, tmp_path
):
    cfg = deepcopy(digits[0])
    cfg.merge_from_dict(changes)
    cfg.work_dir = str(tmp_path)
    match = match if build is build_network else match.replace("model", "the config")
    with pytest.raises(ConfigError, match=match) as caught:
        build(cfg)
    assert "\n" not in str(caught.value)


def test_what_is_wrong_in_ones_own_code_keeps_its_traceback():
    with pytest.raises(KeyError), one_line_build():
        raise KeyError


class Head(nn.Linear):
    """A layer that changes the dicts of its config, as DETR's head does."""

    def __init__(self, sizes, data_preprocessor):
        super().__init__(**sizes)
        sizes.update(in_features=self.weight)


def test_the_config_stays_as_it_is(tmp_path, tools_undone):
    path = tmp_path / "head.pth"
    torch.save(nn.Linear(2, 3).state_dict(), path)
    model = dict(type=Head, sizes=dict(in_features=2, out_features=3))
    cfg = Config(dict(default_scope="mmpretrain", model=model, data_preprocessor={}))
    before = deepcopy(cfg.to_dict())
    args = Namespace(checkpoint=str(path), partial=False, trust_checkpoint=False)
    assert load_trained(cfg, args).out_features == 3
    assert cfg.to_dict() == before
