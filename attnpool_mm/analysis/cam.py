"""Class activation maps: which parts of an image speak for a class, at any layer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..utils.checks import check_choice, nearest
from ..utils.errors import ConfigError
from ..utils.extras import require

METHODS = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "xgradcam": "XGradCAM",
    "layercam": "LayerCAM",
    "hirescam": "HiResCAM",
    "eigengradcam": "EigenGradCAM",
    "eigencam": "EigenCAM",
}
LISTED = 12  # layers that an error names


class ClassScores(nn.Module):
    """A network as a function of an image that gives a number for each class.

    A classifier's are its logits. A detector's are the sum of the scores of its
    detections of the class, of those that are certain enough; where none is, the score
    of the most certain one.

    Args:
        model (nn.Module): MMPretrain's or MMDetection's.
        data_samples (list | None): Those of the image, for a detector. Default: None,
            for a classifier.
        num_classes (int): Classes of a detector. Default: 0.
        score_thr (float): How certain a detection must be. Default: 0.3.
    """

    def __init__(
        self,
        model: nn.Module,
        data_samples: list | None = None,
        num_classes: int = 0,
        score_thr: float = 0.3,
    ):
        super().__init__()
        self.model = model
        self.data_samples = data_samples
        self.num_classes = num_classes
        self.score_thr = score_thr

    def forward(self, inputs: Tensor) -> Tensor:
        """The scores (1, classes) of one image (1, C, H, W)."""
        if self.data_samples is None:
            return self.model(inputs, mode="tensor")
        with _Attached():
            (sample,) = self.model(inputs, self.data_samples, mode="predict")
        found = sample.pred_instances
        scores, labels = found.scores, found.labels
        certain = scores >= min(self.score_thr, scores.max()) if len(scores) else []
        sums = scores.new_zeros(self.num_classes)
        return sums.index_add(0, labels[certain], scores[certain])[None]


class _Attached(TorchFunctionMode):
    """Keeps the gradients of what MMDetection's dense heads detach in a prediction."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Call a function of PyTorch's."""
        if getattr(func, "__name__", "") == "detach":
            return args[0]
        return func(*args, **(kwargs or {}))


def map_layers(scores: nn.Module, inputs: Tensor) -> list[str]:
    """The layers at which there can be a map, in the order in which they end.

    They run once for an image, and give one tensor (1, C, H, W) of more than a pixel,
    on which the scores depend, if they depend on any (where a detector finds nothing,
    they do not).

    Args:
        scores (nn.Module): A function of the image, such as `ClassScores`.
        inputs (Tensor): An image (1, C, H, W).

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1))
        >>> map_layers(network, torch.rand(1, 3, 8, 8))
        ['0']
    """
    outputs: dict[str, list] = {}

    def hook_of(name: str):
        return lambda _, args, output: outputs.setdefault(name, []).append(output)

    handles = [m.register_forward_hook(hook_of(n)) for n, m in scores.named_modules()]
    try:
        with trainable(scores):
            found = scores(inputs)
    finally:
        for handle in handles:
            handle.remove()
    maps = {n: given[0] for n, given in outputs.items() if len(given) == 1}
    maps = {n: given for n, given in maps.items() if _is_map(given)}
    if found.requires_grad:
        maps = {n: given for n, given in maps.items() if given.requires_grad}
    if not found.requires_grad or not maps:
        return list(maps)
    gradients = torch.autograd.grad(found.sum(), [*maps.values()], allow_unused=True)
    return [n for n, g in zip(maps, gradients, strict=True) if g is not None]


def _is_map(output: Any) -> bool:
    return (
        isinstance(output, Tensor)
        and output.dim() == 4
        and len(output) == 1
        and output.shape[2:].numel() > 1
    )


def check_layer(name: str, layers: list[str]) -> str:
    """Return `name` if it is one of the layers.

    Raises:
        ConfigError: It is not; the nearest one is named, or those that hold others.
    """
    if name in layers:
        return name
    hint = nearest(name, layers)
    if not hint.startswith("did"):
        outer = sorted(layers, key=lambda layer: layer.count("."))[:LISTED]
        hint = f"there are {', '.join(n for n in layers if n in outer)}, …"
    raise ConfigError(
        f"--layer {name}: it is no layer that gives one map for an image, of more than "
        f"a pixel, on which a score depends; {hint}"
    )


def class_activation(
    scores: nn.Module,
    layer: str,
    inputs: Tensor,
    target: int | None = None,
    method: str = "gradcam",
) -> Tensor:
    """What of an image speaks for a class, by the maps and gradients of a layer.

    Args:
        scores (nn.Module): A function of the image that gives (1, classes), such as
            `ClassScores`; in evaluation mode.
        layer (str): A module of `scores`, one of `map_layers`.
        inputs (Tensor): An image (1, C, H, W).
        target (int | None): The class. Default: that of the largest score.
        method (str): One of `METHODS`, of grad-cam's. Default: 'gradcam'.

    Returns:
        (H, W) on the CPU, stretched to the range from 0 to 1; all 0 where nothing
        speaks for the class.

    Raises:
        ConfigError: There is no such method; grad-cam is not installed; or the score
            does not depend on the layer.

    Source:
        "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
        Localization", ICCV 2017, and those that grad-cam names.
    """
    check_choice("--method", method, tuple(METHODS))
    package = require("pytorch_grad_cam", "cam")
    targets = None
    if target is not None:
        targets = [lambda output: output[target]]
    # In-place layers would change what is kept of this one. It calls `eval`, by which
    # a backbone freezes its stages, so it comes first.
    kind = getattr(package, METHODS[method])
    cam = kind(scores, [scores.get_submodule(layer)], torch.clone)
    try:
        with trainable(scores):
            found = cam(inputs, targets)
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        reached = cam.activations_and_grads.gradients or not cam.uses_gradients
        broken = isinstance(error, RuntimeError) and "require grad" not in str(error)
        if reached or broken:
            raise
        raise ConfigError(
            f"--layer {layer}: no score depends on it in this image"
        ) from error
    finally:
        cam.activations_and_grads.release()
    return torch.from_numpy(found[0])


@contextmanager
def trainable(model: nn.Module) -> Iterator[None]:
    """Let gradients pass a model, frozen stages as well, and leave none behind."""
    frozen = [p for p in model.parameters() if not p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            yield
    finally:
        model.zero_grad()
        for parameter in frozen:
            parameter.requires_grad_(False)
