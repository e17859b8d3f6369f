"""Every pool as an ONNX graph of a free size, against PyTorch at many sizes."""

import numpy as np
import onnxruntime
import pytest
import torch
from kill_points import forked, limit_file_size
from oracles import randomized
from pool_configs import ABLATIONS, ATTENTIVE, CONFIGS, DEFORMABLE, LOCAL
from torch import nn

from attnpool_mm.deploy.onnx import export_onnx
from attnpool_mm.deploy.onnx_network import OnnxNetwork, difference
from attnpool_mm.pooling import build_pool
from attnpool_mm.utils.errors import ConfigError

PATCHES = [
    dict(ATTENTIVE, patch_size=3, normalize=False),
    # Patches that tile the map of some sizes alone
    dict(ATTENTIVE, patch_size=4, normalize=False),
    dict(ATTENTIVE, patch_size=3, conv_cfg=dict(type="DynamicConv2d")),
    dict(type="SoftPool2d", window=3, padding=1),
]
# The least map, counted by hand: one window, one patch, or enough to be reflected
LEAST = [
    (dict(type="MaxPool2d"), 2, 2),
    (dict(type="MaxPool2d"), 5, 5),
    (dict(type="AvgPool2d", kernel_size=3, padding=1), 2, 1),
    (dict(type="StridedConv2d"), 2, 1),
    (ATTENTIVE, 2, 2),
    (dict(ATTENTIVE, patch_size=5), 2, 5),
    (dict(ATTENTIVE, patch_size=2, normalize=False), 4, 4),
    (dict(LOCAL, window=4, padding=1), 2, 2),
    (dict(type="BlurPool2d", kernel_size=7), 2, 4),
]
pytestmark = pytest.mark.filterwarnings("ignore:SelfAttentivePool2d with patch_size")


def exported(cfg, stride, path, dynamic=True, size=(24, 20)):
    """A pool with random weights, and the network of its ONNX file."""
    pool = randomized(build_pool(cfg, 4, stride)).eval()
    export_onnx(pool, path / "pool.onnx", (4, *size), dynamic)
    return pool, OnnxNetwork(path / "pool.onnx", threads=1)


@pytest.mark.parametrize(
    "cfg",
    [
        *CONFIGS,
        *(pytest.param(c, marks=pytest.mark.slow) for c in ABLATIONS + PATCHES[1:]),
        PATCHES[0],
    ],
    ids=lambda c: str(c)[9:60],
)
def test_a_free_size_is_right_at_every_size(cfg, tmp_path):
    pool, network = exported(cfg, 2, tmp_path)
    (least, _) = network.info.least_size
    # odd ones, not square ones, one past the table of positions
    for size in [(least, least), (least + 1, 9), (24, 20), (19, 23), (300, 5)]:
        images = torch.randn(2, 4, *(max(least, side) for side in size))
        assert difference(pool, network, images) < 1e-5, size


@pytest.mark.parametrize("cfg, stride, least", LEAST, ids=lambda c: str(c)[9:60])
def test_the_least_size_is_stated_and_the_file_checks_it(cfg, stride, least, tmp_path):
    _, network = exported(cfg, stride, tmp_path)
    assert network.info.least_size == [least, least]
    if least == 1:
        return
    small = np.zeros((1, 4, least, least - 1), np.float32)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
                       match=f"image_below_least_size_{least}x{least}"):  # fmt: skip
        network.session.run(None, {"input": small})
    with pytest.raises(ConfigError, match=f"{least}x{least}"):
        network(torch.from_numpy(small))


@pytest.mark.parametrize("cfg, stride", [
    (dict(ATTENTIVE, patch_size=4, normalize=False), 2),
    (dict(ATTENTIVE, sigmoid=False), 5),
    (dict(type="BlurPool2d", kernel_size=7), 2),
    (dict(DEFORMABLE, patch_size=4), 2),
], ids=lambda c: str(c)[9:60])  # fmt: skip
@pytest.mark.filterwarnings("ignore:patch_size=.*is larger than")
def test_one_size_may_be_smaller_than_stride_and_patch(cfg, stride, tmp_path):
    pool, network = exported(cfg, stride, tmp_path, dynamic=False, size=(3, 2))
    assert difference(pool, network, torch.randn(2, 4, 3, 2)) < 1e-5
    with pytest.raises(ConfigError, match="3x2"):
        network(torch.zeros(1, 4, 3, 3))


def test_nearest_upsampling_is_rounded_as_in_pytorch(tmp_path):
    # 24 patches of 3 pixels on 74: where onnxruntime's own takes the pixel beside
    cfg = dict(ATTENTIVE, patch_size=3, normalize=False)
    for dynamic in (False, True):
        pool, network = exported(cfg, 2, tmp_path, dynamic, size=(74, 6))
        assert difference(pool, network, torch.randn(1, 4, 74, 6)) < 1e-5


class Baked(nn.Module):
    """A network that does something else for large images."""

    def __init__(self, most):
        super().__init__()
        self.most = most
        self.conv = nn.Conv2d(3, 4, 3, stride=2)

    def forward(self, x):
        return self.conv(x if x.shape[2] <= self.most else 2 * x)


def test_a_graph_that_depends_on_the_size_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="least size"):
        export_onnx(Baked(10), tmp_path / "baked.onnx", (3, 9, 9), dynamic=True)
    network = Baked(4)
    info = export_onnx(network, tmp_path / "ok.onnx", (3, 9, 9), dynamic=True)
    assert info.least_size == (5, 5)


def test_without_room_the_old_file_stays(tmp_path):
    exported(ATTENTIVE, 2, tmp_path, dynamic=False)
    old = (tmp_path / "pool.onnx").read_bytes()

    def full():
        limit_file_size(1000)
        with pytest.raises(ConfigError, match="pool.onnx: it cannot be written"):
            exported(CONFIGS[-1], 2, tmp_path, dynamic=False)

    assert forked(full) == 0
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [old]
