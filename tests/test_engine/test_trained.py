"""Images as a network gets them."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from attnpool_mm.engine.trained import network_inputs
from attnpool_mm.utils.errors import ConfigError

CONFIG = "configs/classification/digits/resnet18-nlp-stage-end_1xb64_digits.py"


@pytest.fixture(scope="module")
def digits():
    cfg = Config.fromfile(Path(__file__).parents[2] / CONFIG)
    init_default_scope("mmpretrain")
    preprocessor = dict(cfg.data_preprocessor, type="ClsDataPreprocessor")
    model = torch.nn.Module()
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
