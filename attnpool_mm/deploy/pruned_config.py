"""The config of a pruned network."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from mmengine.config import Config, ConfigDict

from ..utils.config import type_name

BUILDER = "PrunedModel"  # or the function, where types are classes


def pruned_config(
    cfg: Config,
    shapes: Mapping[str, str],
    image_size: Sequence[int],
    checkpoint: str,
) -> Config:
    """Make of a network's config that of the pruned network.

    Its model is `attnpool_mm.PrunedModel` with the network's own keys; a training
    starts from `checkpoint`, and so from no other pretrained weights.

    Args:
        cfg (Config): The network's whole config, which stays as it is; it may itself be
            of a pruned network.
        shapes (Mapping[str, str]): As in `pruned_model`.
        image_size (Sequence[int]): Height and width in pixels.
        checkpoint (str): File with the pruned weights.

    Example:
        >>> cfg = Config(dict(model=dict(type='Net', depth=18)))
        >>> cfg = pruned_config(cfg, {'fc.bias': '5'}, (32, 32), 'pruned.pth')
        >>> cfg.model.network, cfg.model.depth, cfg.load_from
        ('Net', 18, 'pruned.pth')
    """
    cfg = deepcopy(cfg)
    model = _without_pretrained(cfg.model)
    if type_name(model) in (BUILDER, "pruned_model"):
        shapes = {**model.pop("shapes"), **shapes}
    else:
        model["network"] = model.pop("type")
    own = dict(type=f"attnpool_mm.{BUILDER}", network=model.pop("network"))
    rest = dict(shapes=dict(shapes), image_size=tuple(image_size))
    cfg.model = ConfigDict({**own, **model, **rest})
    cfg.load_from, cfg.resume = checkpoint, False
    return cfg


def _without_pretrained(value: Any) -> Any:
    """A part of a config without the weights that its parts start from."""
    if isinstance(value, list | tuple):
        return type(value)(
            _without_pretrained(item)
            for item in value
            if type_name(item) != "Pretrained"
        )
    if not isinstance(value, dict):
        return value
    return type(value)(
        {
            key: _without_pretrained(item)
            for key, item in value.items()
            if type_name(item) != "Pretrained" and key != "pretrained"
        }
    )
