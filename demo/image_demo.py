"""Classify an image or detect in it: print the prediction, draw it.

    python demo/image_demo.py photo.jpg CONFIG_OR_NAME --weights epoch_12.pth

MMPretrain's `ImageClassificationInferencer` or MMDetection's `DetInferencer`, as the
config's default scope says.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mmcv
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner.checkpoint import CheckpointLoader

from attnpool_mm.apis import config_path
from attnpool_mm.checkpoint import find_state_dict, use_safe_loading
from attnpool_mm.engine import launch, preflight
from attnpool_mm.engine.arguments import check_arguments
from attnpool_mm.utils.config import (
    build_for_counting,
    images_are_rgb,
    registered_class,
)
from attnpool_mm.utils.errors import ConfigError

CHECKED = "checked://"  # the scheme of weights that are loaded already
SMALLEST = 256  # pixels of the drawn picture's short edge, which the text needs


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("image", help="image file")
    parser.add_argument(
        "config", help="config file, or the name of a model of this package"
    )
    parser.add_argument("--weights", required=True, help="checkpoint file or URL")
    parser.add_argument(
        "--out-dir",
        type=Path,
        default=Path("outputs"),
        help="folder for the picture (default: ./outputs)",
    )
    parser.add_argument("--device", help="cpu, cuda:0, ... (default: a GPU if any)")
    parser.add_argument(
        "--score-thr",
        type=float,
        default=0.3,
        help="least score of a detection (default: 0.3)",
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=launch.KeyValueAction,
        metavar="KEY=VALUE",
        help="override settings of the config",
    )
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="let the checkpoint run code",
    )
    return parser.parse_args()


def check(args: argparse.Namespace) -> None:
    """Check the arguments before anything is built.

    Raises:
        ConfigError: One of them cannot be used.
    """
    if not Path(args.image).is_file():
        raise ConfigError(f"image {args.image}: there is no such file")
    if mmcv.imread(args.image) is None:
        raise ConfigError(f"image {args.image}: not an image that OpenCV reads")
    preflight.check_checkpoint_path(args.weights)
    if not 0 <= args.score_thr <= 1:
        raise ConfigError(f"--score-thr {args.score_thr}: 0 to 1 is accepted")
    folders = (args.out_dir, *args.out_dir.parents)
    existing = next(folder for folder in folders if folder.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        raise ConfigError(
            f"--out-dir {args.out_dir}: {existing} is not a folder that can be written"
        )
    if args.out_dir.resolve() == Path(args.image).resolve().parent:
        raise ConfigError(
            f"--out-dir {args.out_dir}: another folder than the image's own is "
            "accepted, since the picture has its name"
        )
    if args.device is not None:
        try:
            torch.empty(0, device=args.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"--device {args.device}: {reason}") from error


def load_weights(cfg: Config, weights: str) -> tuple[str, Sequence[str] | None]:
    """Load a checkpoint and check that it is one of the config's model.

    Loading it into the model only warns, or takes no notice of a file that is not
    laid out as MMEngine's.

    Returns:
        The name by which MMEngine loads it from now on, and the names of its classes.

    Raises:
        ConfigError: It lacks tensors of the model, or has them in other shapes; or
            there are fewer names than classes.
    """
    checkpoint = CheckpointLoader.load_checkpoint(
        weights, map_location="cpu", logger="silent"
    )
    state = find_state_dict(checkpoint, weights)
    theirs = {key.removeprefix("module."): value.shape for key, value in state.items()}
    model = build_for_counting(cfg)
    ours = model.state_dict()
    missing = [name for name in ours if theirs.get(name) != ours[name].shape]
    if missing:
        raise ConfigError(
            f"--weights {weights}: {len(missing)} of the model's {len(ours)} tensors "
            f"are not in it, or have another shape, such as {missing[0]}"
        )
    meta = checkpoint.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    names = class_names(cfg, meta)
    heads = [head for name, head in model.named_modules() if "head" in name]
    count = max((getattr(head, "num_classes", 0) or 0 for head in heads), default=0)
    if names is not None and len(names) < count:
        raise ConfigError(
            f"--weights {weights}: {len(names)} names of classes ({names[0]}, …), of "
            f"the checkpoint or else of the config's data set, for the model's {count}"
        )
    dataset_meta = {**(meta.get("dataset_meta") or {}), "classes": names}

    def load_from_checked(filename: str, map_location: Any = None) -> dict:
        return dict(state_dict=state, meta=dict(dataset_meta=dataset_meta))

    CheckpointLoader.register_scheme(CHECKED, load_from_checked, force=True)
    return CHECKED + weights, names


def dataset_of(cfg: Config) -> tuple[Config, type]:
    """The config and the class of the data set that a config tests with.

    Raises:
        ConfigError: It has none, or an unknown one.
    """
    loader = cfg.get("test_dataloader") or {}
    for key, dataset in preflight.datasets_of(loader.get("dataset"), "dataset"):
        kind = registered_class(dataset.type, DATASETS, cfg.default_scope)
        if kind is None:
            raise ConfigError(f"test_dataloader.{key}.type={dataset.type!r} is unknown")
        return dataset, kind
    raise ConfigError("the config has no test_dataloader.dataset")


def class_names(cfg: Config, meta: dict) -> Sequence[str] | None:
    """Names of classes: of the checkpoint's meta data, or else of the data set."""
    dataset, kind = dataset_of(cfg)
    of_weights = meta.get("dataset_meta") or {}
    names = {key.lower(): value for key, value in {**meta, **of_weights}.items()}
    if names.get("classes"):
        return names["classes"]
    of_config = dataset.get("metainfo") or {}
    names = {**(getattr(kind, "METAINFO", None) or {}), **of_config}.get("classes")
    return names if isinstance(names, list | tuple) else None  # not a file of names


def expect_photograph(cfg: Config) -> None:
    """Have R and B swapped for a classifier of images that are R, G, B, as CIFAR's."""
    if images_are_rgb(cfg):
        key = "data_preprocessor"  # the model's own, or else the config's
        cfg.model[key] = {**(cfg.model.get(key) or cfg.get(key) or {}), "to_rgb": True}


def classify(
    cfg: Config, weights: str, names: Sequence[str] | None, args: argparse.Namespace
) -> None:
    """Print the likeliest classes and save the picture."""
    from mmpretrain import ImageClassificationInferencer

    expect_photograph(cfg)
    inferencer = ImageClassificationInferencer(
        cfg, pretrained=weights, device=args.device, classes=names
    )
    short_edge = min(mmcv.imread(args.image).shape[:2])
    resize = SMALLEST if short_edge < SMALLEST else None
    (result,) = inferencer(args.image, show_dir=str(args.out_dir), resize=resize)
    scores = torch.from_numpy(result["pred_scores"])
    for score, label in zip(*scores.topk(min(5, len(scores))), strict=True):
        print(f"{names[label] if names else int(label)}: {score:.3f}")
    print((args.out_dir / Path(args.image).stem).with_suffix(".png"))


def detect(
    cfg: Config, weights: str, names: Sequence[str] | None, args: argparse.Namespace
) -> None:
    """Print the boxes above the threshold and save the picture."""
    from mmdet.apis import DetInferencer

    inferencer = DetInferencer(
        cfg, weights=weights, device=args.device, show_progress=False
    )
    found = inferencer(
        args.image, out_dir=str(args.out_dir), pred_score_thr=args.score_thr
    )
    (result,) = found["predictions"]
    boxes = zip(result["labels"], result["scores"], result["bboxes"], strict=True)
    for label, score, box in boxes:
        if score >= args.score_thr:
            corners = ", ".join(f"{value:.0f}" for value in box)
            name = names[label] if names else label
            print(f"{name}: {score:.3f} at ({corners})")
    print(args.out_dir / "vis" / Path(args.image).name)


def run(args: argparse.Namespace) -> None:
    """Do as the command line says."""
    check(args)
    config = args.config
    if not Path(config).is_file() and "/" not in config:
        config = config_path(config)
    cfg = launch.read_config(config)
    launch.merge_options(cfg, args.cfg_options)
    check_arguments(cfg, which=())
    use_safe_loading(args.trust_checkpoint)
    weights, names = load_weights(cfg, args.weights)
    try:
        args.out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out-dir {args.out_dir}: {error}") from error
    predict = classify if cfg.default_scope == "mmpretrain" else detect
    predict(cfg, weights, names, args)


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
