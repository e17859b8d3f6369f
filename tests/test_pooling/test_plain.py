import pytest
import torch
from torch import nn

from attnpool_mm.pooling import AvgPool2d, MaxPool2d, StridedConv2d
from attnpool_mm.utils.errors import ConfigError

PAIRS = [(MaxPool2d, nn.MaxPool2d), (AvgPool2d, nn.AvgPool2d)]


@pytest.mark.parametrize("ours, theirs", PAIRS)
def test_kernel_is_the_stride_by_default(ours, theirs):
    x = torch.randn(2, 3, 9, 8)
    for stride in (1, 2, 3, 4):
        assert torch.equal(ours(3, stride)(x), theirs(stride)(x))


@pytest.mark.parametrize("ours, theirs", PAIRS)
def test_other_arguments_are_pytorchs(ours, theirs):
    x = torch.randn(2, 3, 9, 8)
    ours = ours(3, stride=2, kernel_size=3, padding=1, ceil_mode=True)
    assert torch.equal(ours(x), theirs(3, 2, 1, ceil_mode=True)(x))


@pytest.mark.parametrize("ours, theirs", PAIRS)
def test_a_smaller_map_is_one_window(ours, theirs):
    x = torch.randn(2, 3, 1, 3)
    assert torch.equal(ours(3, stride=4)(x), theirs((1, 3))(x))


def test_strided_convolution():
    layer = StridedConv2d(4, stride=2)
    x = torch.randn(2, 4, 9, 8)
    conv = nn.functional.conv2d(x, layer.conv.weight, stride=2, padding=1)
    mean, var = conv.mean((0, 2, 3)), conv.var((0, 2, 3), unbiased=False)
    expected = (conv - mean[:, None, None]) / (var + 1e-5).sqrt()[:, None, None]
    torch.testing.assert_close(layer(x), expected.clamp(min=0), atol=1e-5, rtol=1e-4)
    assert layer(torch.randn(2, 4, 1, 1)).shape == (2, 4, 1, 1)


@pytest.mark.parametrize("layer", [MaxPool2d, AvgPool2d, StridedConv2d])
def test_bad_arguments(layer):
    with pytest.raises(ConfigError, match="stride=0"):
        layer(3, stride=0)
    with pytest.raises(ConfigError, match="kernel_size=-1"):
        layer(3, kernel_size=-1)


def test_a_kernel_has_a_centre():
    with pytest.raises(ConfigError, match="kernel_size=2"):
        StridedConv2d(3, kernel_size=2)


@pytest.mark.parametrize("layer", [MaxPool2d, AvgPool2d])
@pytest.mark.parametrize("padding", [-1, 2, 0.5])
def test_bad_padding(layer, padding):
    with pytest.raises(ConfigError, match=f"padding={padding}"):
        layer(3, kernel_size=3, padding=padding)
