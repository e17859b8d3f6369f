"""Classify an image or detect in it: print the prediction, draw it.

    python demo/image_demo.py photo.jpg CONFIG_OR_NAME --weights epoch_12.pth

MMPretrain's `ImageClassificationInferencer` or MMDetection's `DetInferencer`, as the
config's default scope says.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mmcv
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

from attnpool_mm.analysis.from_config import build_for_counting
from attnpool_mm.apis import config_path
from attnpool_mm.checkpoint import use_safe_loading
from attnpool_mm.engine import launch, preflight
from attnpool_mm.errors import ConfigError

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
    """Check image, weights and device before anything is built.

    Raises:
        ConfigError: One of them cannot be used.
    """
    if not Path(args.image).is_file():
        raise ConfigError(f"image {args.image}: there is no such file")
    if mmcv.imread(args.image) is None:
        raise ConfigError(f"image {args.image}: not an image that OpenCV reads")
    preflight.check_checkpoint_path(args.weights)
    if args.device is not None:
        try:
            torch.empty(0, device=args.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"--device {args.device}: {reason}") from error


def check_weights(cfg: Config, weights: str) -> None:
    """Check that a checkpoint is one of the config's model; loading it only warns.

    Raises:
        ConfigError: It lacks tensors of the model, or has them in other shapes.
    """
    checkpoint = CheckpointLoader.load_checkpoint(
        weights, map_location="cpu", logger="silent"
    )
    state = checkpoint.get("state_dict", checkpoint)
    theirs = {key.removeprefix("module."): value.shape for key, value in state.items()}
    ours = build_for_counting(cfg).state_dict()
    missing = [name for name in ours if theirs.get(name) != ours[name].shape]
    if missing:
        raise ConfigError(
            f"--weights {weights}: {len(missing)} of the model's {len(ours)} tensors "
            f"are not in it, or have another shape, such as {missing[0]}"
        )


def classify(cfg: Config, args: argparse.Namespace) -> None:
    """Print the likeliest classes and save the picture."""
    from mmpretrain import ImageClassificationInferencer

    inferencer = ImageClassificationInferencer(
        cfg, pretrained=args.weights, device=args.device
    )
    short_edge = min(mmcv.imread(args.image).shape[:2])
    resize = SMALLEST if short_edge < SMALLEST else None
    (result,) = inferencer(args.image, show_dir=str(args.out_dir), resize=resize)
    scores = torch.from_numpy(result["pred_scores"])
    for score, label in zip(*scores.topk(min(5, len(scores))), strict=True):
        name = inferencer.classes[label] if inferencer.classes else int(label)
        print(f"{name}: {score:.3f}")
    print((args.out_dir / Path(args.image).stem).with_suffix(".png"))


def detect(cfg: Config, args: argparse.Namespace) -> None:
    """Print the boxes above the threshold and save the picture."""
    from mmdet.apis import DetInferencer

    inferencer = DetInferencer(
        cfg, weights=args.weights, device=args.device, show_progress=False
    )
    found = inferencer(
        args.image, out_dir=str(args.out_dir), pred_score_thr=args.score_thr
    )
    (result,) = found["predictions"]
    classes = inferencer.model.dataset_meta["classes"]
    boxes = zip(result["labels"], result["scores"], result["bboxes"], strict=True)
    for label, score, box in boxes:
        if score >= args.score_thr:
            corners = ", ".join(f"{value:.0f}" for value in box)
            print(f"{classes[label]}: {score:.3f} at ({corners})")
    print(args.out_dir / "vis" / Path(args.image).name)


def run(args: argparse.Namespace) -> None:
    """Do as the command line says."""
    check(args)
    config = args.config
    if not Path(config).is_file() and "/" not in config:
        config = config_path(config)
    cfg = launch.read_config(config)
    launch.merge_options(cfg, args.cfg_options)
    use_safe_loading(args.trust_checkpoint)
    check_weights(cfg, args.weights)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    if cfg.default_scope == "mmpretrain":
        classify(cfg, args)
    else:
        detect(cfg, args)


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
