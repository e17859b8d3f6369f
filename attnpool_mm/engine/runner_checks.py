"""What the tools look at in a runner that is built, before it starts."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.runner import CheckpointLoader, Runner
from torch import nn
from torch.optim import Optimizer

from ..layers import SPEM, DynamicConv2d
from ..models import detector
from ..pooling import SelfAttentivePool2d
from ..utils.checks import is_int
from ..utils.config import registered_class, type_name
from ..utils.errors import ConfigError
from .spem import SPEMOptimWrapperConstructor, group_of, penalized_layers


def check_pretrained(runner: Runner) -> None:
    """Check that the pretrained weights that a config names are of its network.

    MMEngine initialises with what matches, and logs the rest: a ResNet-50 would start
    from a few layers of a ResNet-18.

    Raises:
        ConfigError: An entry has another shape than in the network, or none matches.
    """
    model = model_of(runner)
    backbone = getattr(model, "backbone", None)
    for name, part in (("model", model), ("model.backbone", backbone)):
        init_cfg = getattr(part, "init_cfg", None)
        if type_name(init_cfg) == "Pretrained":
            _check_weights(init_cfg, f"{name}.init_cfg", part)


def _check_weights(init_cfg: dict, name: str, part: nn.Module) -> None:
    path, prefix = init_cfg["checkpoint"], init_cfg.get("prefix") or ""
    prefix = prefix.rstrip(".") + "." if prefix else ""
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location="cpu")
    given = {
        key.removeprefix("module.").removeprefix(prefix): tensor.shape
        for key, tensor in checkpoint.get("state_dict", checkpoint).items()
        if key.removeprefix("module.").startswith(prefix)
        and isinstance(tensor, torch.Tensor)
    }
    expected = {key: tensor.shape for key, tensor in part.state_dict().items()}
    wrong = []
    for key in expected.keys() & given.keys():
        owner = part.get_submodule(key.rpartition(".")[0])
        accepted = [expected[key]]
        if isinstance(owner, DynamicConv2d):  # takes a plain convolution's too
            accepted.append(expected[key][1:])
        if given[key] not in accepted:
            wrong.append(key)
    advice = f"weights of this network are expected, or {name}=None"
    if not expected.keys() & given.keys():
        raise ConfigError(
            f"{name}.checkpoint={path!r}: none of its {len(given)} entries is of this "
            f"network; {advice}"
        )
    if wrong:
        key = min(wrong)
        raise ConfigError(
            f"{name}.checkpoint={path!r}: {len(wrong)} entries have another shape than "
            f"in this network, such as {key}, {tuple(given[key])} and here "
            f"{tuple(expected[key])}; {advice}"
        )


def model_of(runner: Runner) -> nn.Module | None:
    """The model without its wrappers; None if the runner's strategy builds it later."""
    model = runner.model
    if not isinstance(model, nn.Module):
        return None
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


@contextmanager
def fitting_patches(size: Sequence[int]) -> Iterator[None]:
    """A context in which a network runs whose patches have to fit their maps.

    Args:
        size (Sequence[int]): Height and width of the image, for the message.

    Raises:
        ConfigError: A patch is larger than the map that it gets.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="patch_size=.* is larger than")
        try:
            yield
        except UserWarning as warning:
            image = "x".join(map(str, size))
            raise ConfigError(f"on an image of {image}: {warning}") from warning


def check_patches(runner: Runner) -> None:
    """Send the first training image through the backbone.

    A self-attentive pool whose patch is larger than its map works, on one token, but
    it is hardly what was meant: here it is an error, in the layer a warning, which
    training would show in its first iteration.

    Raises:
        ConfigError: If a patch is larger than the map that it gets.
    """
    model = model_of(runner)
    backbone = getattr(model, "backbone", None)
    if backbone is None or not any(
        isinstance(m, SelfAttentivePool2d) for m in backbone.modules()
    ):
        return
    data = pseudo_collate([runner.train_dataloader.dataset[0]])
    images = model.data_preprocessor(data, False)["inputs"]
    training = model.training
    model.eval()
    with torch.no_grad(), fitting_patches(images.shape[-2:]):
        backbone(images)
    model.train(training)


def check_detector(runner: Runner) -> None:
    """Check that the neck and the heads of a detector fit its backbone.

    Other models pass.

    Args:
        runner (Runner): The runner, with its model built.

    Raises:
        ConfigError: As in `attnpool_mm.models.detector.check_detector`.
    """
    detector.check_detector(model_of(runner))


def check_classifier(runner: Runner) -> None:
    """Check that a classifier's head fits its backbone, of which we know the channels.

    Other models pass.

    Args:
        runner (Runner): The runner, with its model built.

    Raises:
        ConfigError: It does not.
    """
    model = model_of(runner)
    backbone, head = (getattr(model, name, None) for name in ("backbone", "head"))
    channels = getattr(backbone, "out_channels", None)
    given = getattr(head, "in_channels", None)
    if type_name(dict(type=type(head))) == "LinearClsHead":
        given = head.fc.in_features  # which pruning changes
    pooled = type_name(dict(type=type(getattr(model, "neck", None))))
    if (
        pooled == "GlobalAveragePooling"
        and is_int(given)
        and hasattr(backbone, "out_strides")  # ours, or changed by us
        and isinstance(channels, Sequence)
        and channels[-1] != given
    ):
        raise ConfigError(
            f"model.head.in_channels={given}, and the backbone gives {channels[-1]}, "
            "which is accepted (type='attnpool_mm.AttnPoolClassifier' fills it in, if "
            "the head has none)"
        )


def check_spem(runner: Runner) -> None:
    """Warn, in the log, of a training that leaves SPEM's penalty out.

    It is a part of the method, and lives in the optimizer: a config with SPEM and
    without the constructor trains another network than the paper's.
    """
    model = model_of(runner)
    layers = penalized_layers(model) if model is not None else []
    if layers and not _penalizes(runner.optim_wrapper, layers):
        runner.logger.warning(
            f"{len(layers)} SPEM layers have alpha > 0, but their penalty is not in "
            "this training; to add it, in the config: "
            "optim_wrapper=dict(constructor='attnpool_mm.SPEMOptimWrapperConstructor') "
            "(alpha=0 in the layers says that it is not wanted)"
        )


def _penalizes(optim_wrapper: Any, layers: Sequence[SPEM]) -> bool:
    """Whether the optimizer decays the `p` of the layers, or will when it is built."""
    optimizer = getattr(optim_wrapper, "optimizer", None)
    if isinstance(optim_wrapper, dict):
        optimizer = optim_wrapper.get("optimizer")
        constructor = registered_class(
            optim_wrapper.get("constructor"), OPTIM_WRAPPER_CONSTRUCTORS
        )
        if constructor and issubclass(constructor, SPEMOptimWrapperConstructor):
            return True
    if not isinstance(optimizer, Optimizer):
        return False
    groups = [group_of(optimizer, layer.p) or {} for layer in layers]
    return all(
        group.get("weight_decay", 0) >= 2 * layer.alpha
        for group, layer in zip(groups, layers, strict=True)
    )
