import numpy as np
import pytest
import torch
from torch import nn

from attnpool_mm.analysis import draw_weights, record_weights
from attnpool_mm.models import AttnPoolResNet
from attnpool_mm.pooling import LocalImportancePool2d, WeightedPool2d
from attnpool_mm.utils.errors import ConfigError


@pytest.fixture
def backbone():
    pool = dict(type="SelfAttentivePool2d", patch_size=2, normalize=False)
    backbone = AttnPoolResNet(18, pool_cfg=pool)
    backbone.eval()
    return backbone


def test_records_each_pools_weights_on_the_grid_of_its_input(backbone):
    with torch.no_grad(), record_weights(backbone) as weights:
        backbone(torch.rand(2, 3, 64, 64))
    assert {name: tuple(w.shape) for name, w in weights.items()} == {
        "layer2.pool": (2, 128, 16, 16),
        "layer3.pool": (2, 256, 8, 8),
        "layer4.pool": (2, 512, 4, 4),
    }
    patches = weights["layer2.pool"]
    assert torch.equal(patches[..., ::2, ::2], patches[..., 1::2, 1::2])


def test_the_weights_explain_the_output():
    pool = LocalImportancePool2d(4).eval()
    x = torch.rand(1, 4, 6, 6)
    with torch.no_grad(), record_weights(pool) as weights:
        y = pool(x)
    (w,) = weights.values()
    window = np.s_[0, :, 2:4, 4:6]
    expected = (x * w)[window].sum((1, 2)) / w[window].sum((1, 2))
    torch.testing.assert_close(y[0, :, 1, 2], expected)


def test_recording_changes_nothing_and_ends(backbone):
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = backbone(x)[0]
        with record_weights(backbone) as weights:
            assert torch.equal(backbone(x)[0], before)
        weights.clear()
        backbone(x)
    assert weights == {}


def test_a_network_without_pools_is_refused():
    with (
        pytest.raises(ConfigError, match="Conv2d: "),
        record_weights(nn.Conv2d(3, 3, 1)),
    ):
        pass


def test_training_mode_is_refused():
    with (
        pytest.raises(ConfigError, match=r"model\.eval\(\)"),
        record_weights(LocalImportancePool2d(4)),
    ):
        pass


def test_pictures_stand_in_a_row_and_show_where_the_weight_is():
    image = np.zeros((32, 32, 3), np.uint8)
    weight = torch.zeros(1, 8, 8)
    weight[:, :4, 4:] = 1  # heavy in the upper right
    picture = draw_weights(image, {"pool": weight})
    caption = picture.shape[0] - 256
    assert picture.shape == (256 + caption, 2 * 256, 3)
    overlay = picture[caption:, 256:].astype(int)
    red_less_blue = overlay[..., 0] - overlay[..., 2]
    assert red_less_blue[10:118, 138:246].min() > 0
    assert red_less_blue[138:, :].max() < 0


def test_padding_is_cut_off():
    image = np.zeros((16, 32, 3), np.uint8)
    weight = torch.zeros(1, 4, 4)
    weight[:, 2:] = 1  # heavy in the padding alone, rows 16 to 32
    inside = draw_weights(image, {"pool": weight}, padded_size=(32, 32))
    whole = draw_weights(image, {"pool": weight})
    half = inside.shape[1] // 2
    assert (inside[30:, half:] == inside[-1, -1]).all()
    assert not (whole[30:, half:] == whole[-1, -1]).all()


def test_constant_weights_can_be_drawn():
    class One(WeightedPool2d):
        def compute_weight(self, x):
            return torch.ones_like(x)

    pool = One(3).eval()
    with torch.no_grad(), record_weights(pool) as weights:
        pool(torch.rand(1, 3, 8, 8))
    draw_weights(np.zeros((8, 8, 3), np.uint8), {k: w[0] for k, w in weights.items()})
