import warnings

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """On tensors this small, threads only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small_maps_allowed():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "patch_size=.* is larger")
        yield
