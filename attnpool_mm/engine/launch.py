"""From command line to runner: what `tools/train.py` and `tools/test.py` share."""

import argparse
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any
from urllib.error import URLError

import torch
from mmengine._strategy import SingleDeviceStrategy
from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..utils.config import one_line_build, type_name
from ..utils.config_errors import config_error
from ..utils.errors import ConfigError
from ..utils.safe_yaml import use_safe_yaml
from ..utils.signatures import package_of
from .arguments import check_option

SCOPES = ("mmpretrain", "mmdet")
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Types of models whose name says the framework, where no class does
BUILDERS = {
    "AttnPoolClassifier": "mmpretrain",
    "AttnPoolDetector": "mmdet",
    "attn_pool_detector": "mmdet",
}
# Of each backend of a visualizer, the packages one of which it needs
PACKAGES = {
    "AimVisBackend": ("aim",),
    "ClearMLVisBackend": ("clearml",),
    "DVCLiveVisBackend": ("dvclive",),
    "MLflowVisBackend": ("mlflow",),
    "NeptuneVisBackend": ("neptune",),
    "TensorboardVisBackend": ("tensorboard", "tensorboardX"),
    "WandbVisBackend": ("wandb",),
}


class KeyValueAction(DictAction):
    """MMEngine's `DictAction`; a word without '=' is an error that says so.

    A text keeps its spaces, as the path of a folder may have some. In quotes of its own
    it may have commas, and is no list: key="'a,b'".
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: list[str],
        option_string: str | None = None,
    ) -> None:
        """Parse the words."""
        for word in values:
            if "=" not in word:
                raise argparse.ArgumentError(self, f"{word!r}: expected KEY=VALUE")
        super().__call__(parser, namespace, values, option_string)

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        inside = val[1:-1]
        quoted = len(val) > 2 and val[0] == val[-1] in "'\"" and val[0] not in inside
        if quoted and "," in inside and inside[0] not in "[(":
            return inside
        parsed = DictAction._parse_iterable(val)
        return val.strip("'\"") if isinstance(parsed, str) else parsed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that both tools have."""
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--work-dir", help="folder for logs (default: ./work_dirs/NAME_OF_CONFIG)"
    )
    add_options(parser)
    parser.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm", "mpi"),
        default="none",
        help="how the processes were started",
    )
    # torch.distributed.launch passes it in either spelling
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of how a config and a checkpoint are read."""
    add_cfg_options(parser)
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="load checkpoints even if they name code, which then runs",
    )


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add the option that overrides values of a config."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=KeyValueAction,
        metavar="KEY=VALUE",
        help="config values to override, such as model.head.num_classes=5, "
        'key="[a,b]" or key="[(a,b),(c,d)]" (quoted, without spaces)',
    )


def add_shape(parser: argparse.ArgumentParser) -> None:
    """Add the option whose values `attnpool_mm.utils.config.input_shape` takes."""
    parser.add_argument(
        "--shape",
        type=int,
        nargs="+",
        metavar="N",
        help="channels, height and width of the image; height and width; or one number "
        "for both (default: the backbone's channels, the size of the test pipeline)",
    )


def add_partial(parser: argparse.ArgumentParser) -> None:
    """Add the option of the tools that judge a network by its weights."""
    parser.add_argument(
        "--partial",
        action="store_true",
        help="go on where the checkpoint lacks some of the model's weights, which then "
        "stay random",
    )


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print what a user can mend as one line and exit with 2.

    That is a `ConfigError`, a failed download, or a disk that is full.
    """
    try:
        yield
    except (ConfigError, OSError) as error:
        message = " ".join(str(error).split())
        if isinstance(error, URLError):
            message = (
                f"a download failed ({message}); without a network, put the data where "
                "the config's data_root says, and weights into a file that it names"
            )
        elif not isinstance(error, ConfigError) and error.errno not in NO_SPACE:
            raise
        print("error:", message, file=sys.stderr)
        raise SystemExit(2) from None


def read_config(path: str) -> Config:
    """Read a config file.

    Raises:
        ConfigError: If the file cannot be read, or its `default_scope` is neither
            MMPretrain's nor MMDetection's.
    """
    use_safe_yaml()
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # whatever the code in the file raises
        raise config_error(path, error) from error
    if cfg.get("default_scope") is None:  # as in MMDetection's configs of classes
        cfg.default_scope = _scope_of(cfg.get("model"))
    if cfg.get("default_scope") not in SCOPES:
        raise ConfigError(
            f"config {path}: default_scope={cfg.get('default_scope')!r}, "
            f"expected one of {', '.join(SCOPES)}"
        )
    return cfg


def _scope_of(model: Any) -> str | None:
    """The framework that a model is of, whose class, or builder, is its type."""
    kind = model.get("type") if isinstance(model, dict) else None
    if type_name(model) in BUILDERS:
        return BUILDERS[type_name(model)]
    packages = [package_of(c) for c in getattr(kind, "__mro__", ())]
    return next((name for name in packages if name in SCOPES), None)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config file; take the work folder and the launcher from `args`.

    Raises:
        ConfigError: As in `read_config`.
    """
    cfg = read_config(args.config)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = os.path.join(".", "work_dirs", Path(args.config).stem)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return cfg


def merge_options(cfg: Config, options: dict | None) -> None:
    """Merge `--cfg-options`.

    Raises:
        ConfigError: If neither the config nor a runner has such a section, an index is
            past its list, or a value replaces a dict.
    """
    for option in options or {}:
        check_option(cfg, option)
    try:
        cfg.merge_from_dict(options or {})
    except (KeyError, TypeError) as error:
        raise ConfigError(f"--cfg-options: {error.args[0]}") from error


def check_compile(cfg: Config) -> None:
    """Check what the config's `compile` says, and that there is a compiler.

    Raises:
        ConfigError: If it is neither a boolean nor a dict, names an unknown backend,
            or needs a C++ compiler that is not installed.
    """
    options = cfg.get("compile")
    if not options:
        return
    if not isinstance(options, bool | dict):
        raise ConfigError(f"compile={options!r}: True, False or a dict is accepted")
    options = {} if options is True else options
    backend = options.get("backend", "inductor")
    every = torch.compiler.list_backends(exclude_tags=())
    if isinstance(backend, str) and backend not in every:
        known = (*torch.compiler.list_backends(), "aot_eager", "eager")
        raise ConfigError(
            f"compile.backend={backend!r}: one of {', '.join(known)} is accepted"
        )
    compilers = [os.environ.get("CXX"), "g++", "clang++", "c++"]
    if backend == "inductor" and not any(map(which, filter(None, compilers))):
        raise ConfigError(
            "compile: torch.compile needs a C++ compiler; install g++, or say which "
            "with the environment variable CXX"
        )


def check_visualizer(cfg: Config) -> None:
    """Check that what the config's visualizer writes for is installed.

    Raises:
        ConfigError: If it is not, of TensorBoard, Weights & Biases and the others that
            MMEngine knows.
    """
    backends = (cfg.get("visualizer") or {}).get("vis_backends") or []
    for backend in backends if isinstance(backends, list | tuple) else [backends]:
        packages = PACKAGES.get(type_name(backend), ())
        if packages and not any(map(find_spec, packages)):
            raise ConfigError(
                f"visualizer.vis_backends: {type_name(backend)} needs a package that "
                f"is not installed: pip install {packages[0]}"
            )


def stop_workers(runner: Runner) -> None:
    """End the workers of the data loaders now, in order.

    Persistent ones live as long as their loader, and print tracebacks when the
    garbage collector takes their queues apart.
    """
    for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
        loader = getattr(loop, "dataloader", None)
        if getattr(loader, "_iterator", None) is not None:
            loader._iterator._shutdown_workers()  # an exception may refer to it
            loader._iterator = None


def build_runner(cfg: Config) -> Runner:
    """Build the runner, of the config's `runner_type` if it has one, and its model.

    A `FlexibleRunner` leaves its model to its strategy, which builds it when training
    starts. Strategies that do no more than that build it here, to be checked.

    Raises:
        ConfigError: A part of the config cannot be built.
    """
    with one_line_build("the config"):
        if "runner_type" not in cfg:
            return Runner.from_cfg(cfg)
        runner = RUNNERS.build(cfg)
        strategy = getattr(runner, "strategy", None)
        if isinstance(strategy, SingleDeviceStrategy):  # the parent of DDP's, too
            runner.model = strategy.build_model(runner.model)
        return runner
