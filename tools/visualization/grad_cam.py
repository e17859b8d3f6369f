"""Draw what speaks for a class, by Grad-CAM at any layer, beside the pools' weights.

    python tools/visualization/grad_cam.py CONFIG CHECKPOINT --images photo.jpg
    python tools/visualization/grad_cam.py CONFIG CHECKPOINT --layer backbone.layer2

For classifiers and detectors: one row an image, with the image, the map of each layer
and the mean weights of each pool.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DATASETS
from torch import Tensor, nn

from attnpool_mm.analysis.cam import (
    METHODS,
    ClassScores,
    check_layer,
    class_activation,
    map_layers,
)
from attnpool_mm.analysis.maps import draw_maps, stack_rows
from attnpool_mm.analysis.results import write_picture
from attnpool_mm.engine import launch, preflight, samples, trained
from attnpool_mm.engine.class_names import class_counts, class_names
from attnpool_mm.engine.work_dir import check_file
from attnpool_mm.pooling import WeightedPool2d
from attnpool_mm.utils.checks import check_choice, check_int, check_number, nearest
from attnpool_mm.utils.config import datasets_of, images_are_rgb, registered_class
from attnpool_mm.utils.errors import ConfigError
from attnpool_mm.utils.extras import require

MODEL = "model."  # in front of its layers' names in `ClassScores`


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    trained.add_arguments(parser)
    parser.add_argument(
        "--images",
        nargs="+",
        metavar="FILE",
        help="these images instead of the test set's",
    )
    parser.add_argument(
        "--num-images", type=int, default=4, help="how many of the test set's images"
    )
    parser.add_argument(
        "--layer",
        nargs="+",
        metavar="NAME",
        help="names of modules, such as backbone.layer2.pool (default: the last of the "
        "backbone)",
    )
    parser.add_argument(
        "--method", default="gradcam", help=f"{', '.join(METHODS)} (default: gradcam)"
    )
    parser.add_argument(
        "--target",
        metavar="CLASS",
        help="name or number of a class (default: what each image is taken for)",
    )
    parser.add_argument(
        "--score-thr",
        type=float,
        default=0.3,
        help="of a detector, which detections count (default: %(default)s)",
    )
    parser.add_argument(
        "--out", help="the picture (default: work_dirs/NAME_OF_CONFIG/grad_cam.png)"
    )
    return parser.parse_args()


def names_of(cfg: Config) -> list[str]:
    """The names of the model's classes; their numbers where the data set has none."""
    key, dataset = next(datasets_of(cfg.test_dataloader.dataset, "dataset"))
    kind = registered_class(dataset.type, DATASETS, cfg.default_scope)
    names = class_names(f"test_dataloader.{key}", dataset, kind) or ()
    count = max((n for _, n in class_counts(cfg.model, cfg.default_scope)), default=0)
    names = names[: count or None]
    return [*names, *map(str, range(len(names), count))]


def target_of(word: str | None, names: list[str]) -> int | None:
    """The number of the class that `--target` says.

    Raises:
        ConfigError: There is none of that name or number.
    """
    if word is None or word in names:
        return None if word is None else names.index(word)
    if word.isdecimal() and int(word) < len(names):
        return int(word)
    raise ConfigError(
        f"--target {word}: a class or its number from 0 to {len(names) - 1} is "
        f"accepted; {nearest(word, names)}"
    )


def chosen_layers(
    args: argparse.Namespace, scores: nn.Module, inputs: Tensor
) -> list[str]:
    """The names of `--layer`, or of the last layer of the backbone.

    Raises:
        ConfigError: One is not there, or gives no map.
    """
    layers = [
        name.removeprefix(MODEL)
        for name in map_layers(scores, inputs)
        if name.startswith(MODEL)
    ]
    if args.layer is not None:
        return [check_layer(name, layers) for name in args.layer]
    inner = [name for name in layers if name.startswith("backbone.")] or layers
    if not inner:
        raise ConfigError("the network has no layer that gives one map of an image")
    return inner[-1:]


def row(
    cfg: Config,
    args: argparse.Namespace,
    model: nn.Module,
    sample: dict,
    target: int | None,
) -> np.ndarray:
    """Run an image, and draw its row; uint8 RGB."""
    batch = samples.batch_of(model, sample)
    inputs, names = batch["inputs"], names_of(cfg)
    detects = cfg.default_scope == "mmdet"
    data_samples = batch["data_samples"] if detects else None
    scores = ClassScores(model, data_samples, len(names), args.score_thr).eval()
    with torch.no_grad():
        (found,) = scores(inputs)
    label = found.argmax().item() if target is None else target
    absent = detects and not found[label]
    maps = {}
    for layer in chosen_layers(args, scores, inputs):
        if absent:
            maps[f"{layer}, not found"] = torch.zeros(1, 1)
        else:
            words = (scores, MODEL + layer, inputs, label, args.method)
            maps[f"{layer}, {names[label]}"] = class_activation(*words)
    if any(isinstance(module, WeightedPool2d) for module in model.modules()):
        maps |= samples.pool_maps(model, batch)
    image = samples.picture_of(sample, images_are_rgb(cfg))
    return draw_maps(image, maps, inputs.shape[-2:])


def run(args: argparse.Namespace) -> None:
    """Draw as the command line says."""
    check_choice("--method", args.method, tuple(METHODS))
    require("pytorch_grad_cam", "cam")
    samples.check_image_files(args.images)
    check_int("--num-images", args.num_images)
    cfg = trained.read_config(args)
    target = target_of(args.target, names_of(cfg))
    out = Path(args.out or Path("work_dirs", Path(args.config).stem, "grad_cam.png"))
    if out.suffix not in (".png", ".jpg"):
        raise ConfigError(f"--out {out}: a name that ends in .png or .jpg is accepted")
    check_file("--out", out, args.config, args.checkpoint, *(args.images or ()))
    check_number("--score-thr", args.score_thr, 0, below=1)
    if args.images is None:
        preflight.check_data_paths(cfg, ("test",))
    model = trained.load_trained(cfg, args).to(get_device())
    named = samples.named_samples(cfg, args.images, args.num_images)
    rows = [row(cfg, args, model, sample, target) for _, sample in named]
    write_picture(out, stack_rows(rows), "--out")
    print(out)


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
