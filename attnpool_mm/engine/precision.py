"""Can a model be tested in mixed precision on a CPU?"""

from typing import Any

import torch
from mmengine.device import get_device
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner, autocast
from torch import nn

from ..utils.errors import ConfigError
from .runner_checks import model_of

LACKING = "BFloat16"  # in what PyTorch and MMCV say of a type that they do not have


def check_precision(runner: Runner) -> None:
    """Send the first test image through a model that is tested in mixed precision.

    On a CPU that is bfloat16, which some operators do not have, MMCV's NMS and its
    deformable convolution among them. What else goes wrong is left to the test.

    Args:
        runner (Runner): The runner, with its model built, with whatever weights.

    Raises:
        ConfigError: If it runs on a CPU, and the model has such an operator.
    """
    fp16 = (runner.cfg.get("test_cfg") or {}).get("fp16")
    network = model_of(runner)
    if not fp16 or network is None or get_device() != "cpu":
        return
    model = runner.model
    while is_model_wrapper(model):
        model = model.module
    loader = runner.test_dataloader
    reason = _reason(model.eval(), network, loader.collate_fn([loader.dataset[0]]))
    if reason is not None:
        raise ConfigError(
            "--amp, test_cfg.fp16=True: on a CPU it is bfloat16, and an operation of "
            f"{type(network).__name__} has none ({reason}); leave --amp out there"
        )


def _reason(model: nn.Module, network: nn.Module, data: Any) -> str | None:
    """Why a model does not take a batch of one image in bfloat16, if it does not."""
    try:
        with torch.no_grad(), autocast():
            (sample,) = model.test_step(data)
    except Exception as error:  # anything, as the weights are not the checkpoint's
        return str(error).splitlines()[0] if LACKING in str(error) else None
    boxes = getattr(getattr(sample, "pred_instances", None), "bboxes", None)
    if getattr(boxes, "dtype", None) != torch.bfloat16:
        return None
    # Where this image had no detection, no NMS ran
    suppresses = "nms" in (getattr(network, "test_cfg", None) or {})
    suppresses = suppresses or isinstance(model, BaseTTAModel)
    return f"NMS of boxes in {LACKING}" if suppresses else None
