"""A config and its checkpoint as a network in evaluation, and images to run it on."""

import argparse
from collections.abc import Iterator
from copy import deepcopy

from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope, init_default_scope
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from ..checkpoint import find_state_dict, load_fitting, use_safe_loading
from ..utils.config import datasets_of, one_line_build
from ..utils.errors import ConfigError
from . import launch, preflight
from .arguments import check_arguments
from .samples import batch_of


def add_arguments(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    """Add a config, a checkpoint and the options of how they are read.

    Args:
        parser (argparse.ArgumentParser): The parser.
        optional (bool): Whether the checkpoint may be left out. Default: False.
    """
    parser.add_argument("config", help="config file")
    words = dict(nargs="?") if optional else {}
    parser.add_argument("checkpoint", help="checkpoint file or URL", **words)
    launch.add_options(parser)
    launch.add_partial(parser)


def read_config(args: argparse.Namespace) -> Config:
    """Read the config of a command line, with its options, and check its arguments.

    Raises:
        ConfigError: It cannot be read, it has no `model` or no `test_dataloader`, or
            there is no such checkpoint file.
    """
    cfg = launch.read_config(args.config)
    launch.merge_options(cfg, args.cfg_options)
    for section in ("model", "test_dataloader"):
        if cfg.get(section) is None:
            raise ConfigError(f"config {args.config}: there is no {section}")
    check_arguments(cfg, ("test",))
    preflight.check_checkpoint_path(args.checkpoint)
    return cfg


def load_trained(cfg: Config, args: argparse.Namespace) -> nn.Module:
    """Build a config's model, with the weights of a checkpoint, in evaluation.

    Its scope becomes MMEngine's default scope.

    Args:
        cfg (Config): A whole config; it stays as it is.
        args (argparse.Namespace): `checkpoint`, `partial` and `trust_checkpoint` of the
            command line.

    Raises:
        ConfigError: The model cannot be built, the checkpoint cannot be read, or its
            weights are not the model's.
    """
    model = build_network(cfg)
    load_weights(model, args.checkpoint, args)
    return model


def build_network(cfg: Config) -> nn.Module:
    """Build a config's model, in evaluation; its scope becomes the default scope.

    Args:
        cfg (Config): A whole config; it stays as it is.

    Raises:
        ConfigError: The model cannot be built.
    """
    init_default_scope(cfg.default_scope)
    part = deepcopy(cfg.model)  # which some heads change, DETR's for one
    if cfg.get("data_preprocessor") is not None:
        part.setdefault("data_preprocessor", cfg.data_preprocessor)
    with one_line_build():
        return MODELS.build(part).eval()


def load_weights(model: nn.Module, path: str, args: argparse.Namespace) -> dict:
    """Load a checkpoint's weights into a model.

    Args:
        model (nn.Module): The model.
        path (str): File or URL.
        args (argparse.Namespace): `partial` and `trust_checkpoint` of the command line.

    Returns:
        The checkpoint.

    Raises:
        ConfigError: As in `load_trained`.
    """
    use_safe_loading(args.trust_checkpoint)
    checkpoint = CheckpointLoader.load_checkpoint(path, "cpu", "silent")
    load_fitting(model, find_state_dict(checkpoint, path), path, args.partial)
    return checkpoint


def network_inputs(
    cfg: Config, model: nn.Module, split: str = "test", count: int | None = None
) -> Iterator[Tensor]:
    """Images as the network gets them in a test: resized, padded, normalized.

    Those of the training set go through the test pipeline, too, without augmentation.

    Args:
        cfg (Config): The model's whole config.
        model (nn.Module): The model, whose preprocessor is applied.
        split (str): 'train', 'val' or 'test'. Default: 'test'.
        count (int | None): How many; spread evenly over the data set, since some are
            sorted by class. Default: all.

    Returns:
        Batches of one image, (1, C, H, W), each made when it is asked for.

    Raises:
        ConfigError: The config has no such data, its files are missing, or `count` is
            larger than the data set. At the call, before any image.
    """
    for name in (split, "test"):
        if (cfg.get(f"{name}_dataloader") or {}).get("dataset") is None:
            raise ConfigError(f"the config has no {name}_dataloader with a dataset")
    preflight.check_data_paths(cfg, (split,))
    _, tested = next(datasets_of(cfg.test_dataloader.dataset, ""))
    _, wanted = next(datasets_of(cfg[f"{split}_dataloader"].dataset, ""))
    wanted = deepcopy(wanted)
    wanted.pipeline = deepcopy(tested.pipeline)
    named = one_line_build(f"{split}_dataloader.dataset")
    with DefaultScope.overwrite_default_scope(cfg.default_scope), named:
        dataset = DATASETS.build(wanted)
    count = len(dataset) if count is None else count
    if not 1 <= count <= len(dataset):
        raise ConfigError(
            f"{count} images of {split}_dataloader.dataset: 1 to {len(dataset)} are "
            "there"
        )
    samples = (dataset[index * len(dataset) // count] for index in range(count))
    return (batch_of(model, sample)["inputs"] for sample in samples)
