"""SPEM in training: its penalty as a weight decay, and its λ in the logs."""

import warnings
from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.runner import Runner
from torch import nn
from torch.optim import Optimizer

from ..layers import SPEM, spem_layers, spem_penalty
from ..registry import HOOKS, OPTIM_WRAPPER_CONSTRUCTORS
from ..utils.checks import check_int
from ..utils.errors import ConfigError

# The optimizers that add weight_decay · p to the gradient of p, as a loss would.
EXACT_OPTIMIZERS = tuple(
    getattr(torch.optim, name)
    for name in (
        *("SGD", "Adam", "Adamax", "Adagrad", "RMSprop"),
        *("ASGD", "Adadelta", "NAdam", "RAdam"),
    )
)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class SPEMOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    r"""Train with SPEM's penalty :math:`Σ α (p_0^2 + p_1^2)`, as a weight decay.

    The penalty's gradient is 2α·p, so a weight decay of 2α on `p` is the penalty, in
    any model, at any loss scaling and on any number of GPUs. Each penalised `p` gets
    a parameter group of its own, with the options that the default constructor and
    `paramwise_cfg` give it and 2α added to its weight decay. Where no SPEM has
    α > 0, this is the default constructor.

    It is exact with SGD and every other optimizer of PyTorch that adds the decay to
    the gradient. One that applies it otherwise (AdamW, LARS, …) gets the same 2α,
    and a warning. Gradient clipping sees the gradients before any decay: it neither
    counts nor clips the penalty, as it would in the loss.

    Args:
        optim_wrapper_cfg (dict): As for the default constructor.
        paramwise_cfg (dict | None): As for the default constructor. Default: None.

    Raises:
        ConfigError: The optimizer has no weight decay, or does not let its parameters
            be regrouped. Raised when it is built.

    Source:
        "SPEM: Self-adaptive Pooling Enhanced Attention Module for Image
        Recognition", MMM 2023, arXiv 2208.10322.

    Example:
        >>> from mmengine.optim import build_optim_wrapper
        >>> wrapper = build_optim_wrapper(nn.Sequential(SPEM(8), nn.Linear(8, 2)), dict(
        ...     constructor='attnpool_mm.SPEMOptimWrapperConstructor',
        ...     optimizer=dict(type='SGD', lr=0.1, weight_decay=1e-4)))
        >>> [round(g['weight_decay'], 6) for g in wrapper.optimizer.param_groups]
        [0.0001, 0.2001]
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer and its wrapper for `model`."""
        wrapper = super().__call__(model)
        layers = penalized_layers(model)
        if layers:
            _check_optimizer(wrapper.optimizer)
        for layer in layers:
            _add_decay(wrapper.optimizer, layer.p, 2 * layer.alpha)
        return wrapper


def penalized_layers(model: nn.Module) -> list[SPEM]:
    """The SPEM layers of `model` whose `p` is penalised: α > 0 and not frozen.

    One whose `pooling` is not 'adaptive' has no `p`.
    """
    layers = [layer for _, layer in spem_layers(model) if layer.p is not None]
    return [layer for layer in layers if layer.alpha > 0 and layer.p.requires_grad]


def group_of(optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Any] | None:
    """The parameter group of `optimizer` that holds `parameter`."""
    for group in optimizer.param_groups:
        if any(other is parameter for other in group["params"]):
            return group
    return None


def _check_optimizer(optimizer: Optimizer) -> None:
    name = type(optimizer).__name__
    if any("weight_decay" not in group for group in optimizer.param_groups):
        raise ConfigError(
            f"optimizer type={name!r} has no weight_decay, through which SPEM's "
            "penalty acts: one that has it is accepted, such as SGD, or SPEM(alpha=0)"
        )
    if hasattr(optimizer, "optim"):
        raise ConfigError(
            f"optimizer type={name!r} deals its parameters out when it is built, and "
            "the penalty of SPEM needs a group of its own: a plain optimizer is "
            "accepted, such as SGD, or SPEM(alpha=0)"
        )
    decoupled = any(g.get("decoupled_weight_decay") for g in optimizer.param_groups)
    if decoupled or not isinstance(optimizer, EXACT_OPTIMIZERS):
        _warn_of_other_decay(name)


@master_only
def _warn_of_other_decay(name: str) -> None:
    warnings.warn(
        f"{name} does not add its weight decay to the gradient, or is not known to. "
        "SPEM's penalty, α·(p0² + p1²), is applied as its weight decay of 2α, in its "
        "own way, and not as a part of the loss; SGD and Adam do the latter.",
        stacklevel=4,
    )


def _add_decay(optimizer: Optimizer, p: nn.Parameter, decay: float) -> None:
    group = group_of(optimizer, p)
    if group is None:
        raise ConfigError(
            "optim_wrapper: the `p` of a SPEM layer is in none of the optimizer's "
            "parameter groups; a constructor that gives it to the optimizer, or "
            "SPEM(alpha=0), is accepted"
        )
    if len(group["params"]) > 1:
        group["params"] = [other for other in group["params"] if other is not p]
        optimizer.add_param_group({**group, "params": [p]})
        group = optimizer.param_groups[-1]
    group["weight_decay"] += decay


@HOOKS.register_module()
class SPEMLoggerHook(Hook):
    """Log what SPEM learns: its penalty in the log line, λ for the visualizer.

    The penalty, Σ α·(p0² + p1²) after the step, is the scalar `spem_penalty` of
    MMEngine's `LoggerHook`: in the terminal's line and wherever that hook writes.
    Each layer's λ goes to the visualizer's backends alone (`vis_data/scalars.json`,
    TensorBoard, …), as `spem_lambda/layer1.0`: the block that holds the layer, less
    "backbone."; where that is not unique, the layer's whole name. A layer whose
    `pooling` is not 'adaptive' has no λ to record, and no penalty.

    Args:
        interval (int): Iterations between two records of λ, counted over all epochs.
            Default: 10.

    Raises:
        ConfigError: `interval` is not a positive integer; or, before the training,
            the model has no SPEM.

    Example:
        >>> custom_hooks = [dict(type='attnpool_mm.SPEMLoggerHook', interval=50)]
    """

    def __init__(self, interval: int = 10):
        self.interval = check_int("interval", interval)

    def before_train(self, runner: Runner) -> None:
        """Find the layers that learn λ."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        layers = layers_by_block(model)
        self._layers = {k: v for k, v in layers.items() if v.p is not None}
        if not layers:
            raise ConfigError(
                "custom_hooks SPEMLoggerHook: the model has no SPEM layer; "
                "attention_cfg=dict(type='SPEM') in the backbone puts it there"
            )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Record the penalty, and every `interval` iterations λ."""
        with torch.no_grad():
            penalty = spem_penalty(nn.ModuleList(self._layers.values()))
            runner.message_hub.update_scalar("train/spem_penalty", penalty.item())
            if self._layers and self.every_n_train_iters(runner, self.interval):
                values = torch.stack([layer.lam for layer in self._layers.values()])
                names = [f"spem_lambda/{name}" for name in self._layers]
                runner.visualizer.add_scalars(
                    dict(zip(names, values.tolist(), strict=True)), step=runner.iter + 1
                )


def layers_by_block(model: nn.Module) -> dict[str, SPEM]:
    """The SPEM layers of `model` by the names of their blocks, in order.

    Example:
        >>> block = nn.ModuleDict(dict(attention=SPEM(8)))
        >>> backbone = nn.ModuleDict(dict(layer1=nn.Sequential(block)))
        >>> list(layers_by_block(nn.ModuleDict(dict(backbone=backbone))))
        ['layer1.0']
    """
    layers = dict(spem_layers(model))
    blocks = [name.removeprefix("backbone.").rpartition(".")[0] for name in layers]
    names = blocks if all(blocks) and len(set(blocks)) == len(blocks) else layers
    return dict(zip(names, layers.values(), strict=True))
