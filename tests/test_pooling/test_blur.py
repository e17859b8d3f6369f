from math import comb

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from attnpool_mm.pooling import BlurPool2d
from attnpool_mm.utils.errors import ConfigError

ROWS = {  # the paper's, and those in between
    1: [1],
    2: [1, 1],
    3: [1, 2, 1],
    4: [1, 3, 3, 1],
    5: [1, 4, 6, 4, 1],
    6: [1, 5, 10, 10, 5, 1],
    7: [1, 6, 15, 20, 15, 6, 1],
}
every_kernel = pytest.mark.parametrize("kernel_size", ROWS)


def filtered(x, kernel_size, stride, mode):
    """The filter as a convolution over NumPy's padding."""
    row = torch.tensor(ROWS[kernel_size], dtype=x.dtype)
    kernel = torch.outer(row, row) / row.sum() ** 2
    pad = ((kernel_size - 1) // 2, kernel_size // 2)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), pad, pad), mode)
    kernel = kernel.expand(x.shape[1], 1, -1, -1)
    return F.conv2d(torch.from_numpy(padded), kernel, None, stride, groups=x.shape[1])


@every_kernel
@pytest.mark.parametrize("mode", ["reflect", "zeros"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_filter(kernel_size, mode, stride):
    pool = BlurPool2d(3, stride, kernel_size, mode).double()
    numpys = {"reflect": "reflect", "zeros": "constant"}[mode]
    for size in [(9, 8), (7, 4), (3, 2), (2, 1), (1, 1)]:
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        y = pool(x)
        assert y.shape[2:] == tuple(-(-side // stride) for side in size)
        torch.testing.assert_close(y, filtered(x, kernel_size, stride, numpys))


@every_kernel
def test_a_constant_stays_in_every_data_type(kernel_size):
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        pool = BlurPool2d(2, 2, kernel_size).to(dtype)
        x = torch.full((1, 2, 5, 6), 3.0, dtype=dtype)
        assert pool(x).equal(x[:, :, :3, :3])
        row = torch.tensor([comb(kernel_size - 1, k) for k in range(kernel_size)])
        exact = torch.outer(row, row).double() / 4 ** (kernel_size - 1)
        assert pool.kernel.double().equal(exact)


def test_nothing_is_learned_or_saved():
    pool = BlurPool2d(3)
    assert not pool.state_dict() and not list(pool.parameters())
    assert pool.half().kernel.dtype == torch.float16


@pytest.mark.parametrize("kwargs, message", [
    (dict(kernel_size=0), "kernel_size=0"),
    (dict(kernel_size=8), "kernel_size=8.*7"),
    (dict(kernel_size=2.5), "kernel_size=2.5"),
    (dict(padding_mode="circular"), "padding_mode='circular'.*'reflect', 'zeros'"),
    (dict(stride=0), "stride=0"),
    (dict(in_channels=0), "in_channels=0"),
])  # fmt: skip
def test_bad_arguments(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        BlurPool2d(**{"in_channels": 3, **kwargs})
