"""Whether a state dict is of a model."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..utils.errors import ConfigError

# How PyTorch's `load_state_dict` begins what it says of an entry
WRONG = re.compile(r'(?:size mismatch for |the parameter named ")([\w.]+)')
NAMED = 3  # entries that the error names


def load_fitting(
    model: nn.Module,
    state_dict: Mapping[str, Tensor],
    name: str,
    partial: bool = False,
    optional: bool = True,
) -> None:
    """Load a state dict into a model, and fail if it is not the model's.

    Layers may adapt what they are given, as they do for MMEngine: a plain
    convolution's weight fits a `DynamicConv2d`. Entries that the model has not are
    left out, and batch norm's `num_batches_tracked` may be missing.

    Args:
        model (nn.Module): The model; it takes what fits.
        state_dict (Mapping[str, Tensor]): The weights, with or without `module.` in
            front.
        name (str): What errors call them.
        partial (bool): Whether it is enough that one entry fits. Default: False.
        optional (bool): Whether the user has an option `--partial`, which the error
            names. Default: True.

    Raises:
        ConfigError: It is no state dict; or an entry of the model is missing or has
            another shape; or, with `partial`, all of them.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> load_fitting(model, {'bias': torch.ones(3)}, 'a.pth', partial=True)
        >>> model.bias.tolist()
        [1.0, 1.0, 1.0]
    """
    if not isinstance(state_dict, Mapping) or not all(
        isinstance(key, str) for key in state_dict
    ):
        raise ConfigError(f"checkpoint {name}: it has no state dict")
    plain = OrderedDict((k.removeprefix("module."), v) for k, v in state_dict.items())
    if hasattr(state_dict, "_metadata"):  # by which layers know an older version's
        plain._metadata = state_dict._metadata
    missing, wrong = _unfit(model, plain)
    entries = _counted(model.state_dict())
    if partial and len(missing) + len(wrong) < len(entries):
        return
    problems = [
        f"{len(names)} {what}, such as {', '.join(names[:NAMED])}"
        for names, what in ((missing, "are not in it"), (wrong, "have another shape"))
        if names
    ]
    if problems:
        advice = "weights of this model are expected"
        if optional and len(missing) + len(wrong) < len(entries):
            advice += ", or --partial, which takes what fits"
        raise ConfigError(
            f"checkpoint {name}: of the model's {len(entries)} entries "
            f"{'; '.join(problems)}: {advice}"
        )


def _unfit(
    model: nn.Module, state_dict: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    missing: list[str] = []
    hook = model.register_load_state_dict_post_hook(
        lambda _, keys: missing.extend(_counted(keys.missing_keys))
    )
    try:
        model.load_state_dict(state_dict, strict=False)
    except RuntimeError as error:
        wrong = WRONG.findall(str(error))
        if not wrong:
            raise
        return missing, wrong
    finally:
        hook.remove()
    return missing, []


def _counted(names: Any) -> list[str]:
    return [name for name in names if not name.endswith("num_batches_tracked")]
