"""Draw where a trained network's pools look, over the images of its test set.

    python tools/visualization/pooling_weights.py CONFIG CHECKPOINT --num-images 4
    python tools/visualization/pooling_weights.py CONFIG --checkpoints WORK_DIR --video

The second over a training: a picture a pool, with a row an image and a column an epoch.
"""

import argparse
import sys
from copy import deepcopy
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from mmengine.config import Config
from mmengine.device import get_device
from torch import nn

from attnpool_mm.analysis.maps import draw_maps
from attnpool_mm.analysis.results import write_picture
from attnpool_mm.analysis.weight_history import draw_frames, draw_strips, write_video
from attnpool_mm.engine import launch, preflight, samples, trained
from attnpool_mm.engine.work_dir import check_folder
from attnpool_mm.utils.checks import check_int
from attnpool_mm.utils.config import images_are_rgb
from attnpool_mm.utils.errors import ConfigError

SAVED = ("epoch_*.pth", "iter_*.pth")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Draw the weights of the pools over images"
    )
    trained.add_arguments(parser, optional=True)
    parser.add_argument(
        "--checkpoints",
        nargs="+",
        metavar="FILE",
        help="those of a training instead of one, or its work folder: the weights over "
        "the epochs",
    )
    parser.add_argument(
        "--video", action="store_true", help="of --checkpoints, write a GIF, too"
    )
    parser.add_argument(
        "--work-dir", help="where `--out-dir` is (default: ./work_dirs/NAME_OF_CONFIG)"
    )
    parser.add_argument(
        "--images",
        nargs="+",
        metavar="FILE",
        help="draw on these images instead of the test set's",
    )
    parser.add_argument(
        "--num-images", type=int, default=4, help="how many of the test set's images"
    )
    parser.add_argument(
        "--out-dir", help="folder for the pictures (default: WORK_DIR/pooling_weights)"
    )
    return parser.parse_args()


def saved_files(names: list[str]) -> list[str]:
    """Checkpoint files; a folder stands for those that its training has saved.

    Raises:
        ConfigError: A file is not there, or a folder has none.
    """
    files = []
    for name in names:
        found = [name]
        if Path(name).is_dir():
            found = [str(file) for kind in SAVED for file in Path(name).glob(kind)]
            if not found:
                raise ConfigError(
                    f"--checkpoints {name}: no {' or '.join(SAVED)} in it"
                )
        files += found
    for file in files:
        preflight.check_checkpoint_path(file)
    return files


def draw(model: nn.Module, sample: dict, rgb: bool) -> np.ndarray:
    """Run one sample and draw the weights of its pools; uint8 RGB.

    Args:
        model: The network.
        sample: The sample.
        rgb: As in `picture_of`.
    """
    batch = samples.batch_of(model, sample)
    maps = samples.pool_maps(model, batch)
    image = samples.picture_of(sample, rgb)
    return draw_maps(image, maps, batch["inputs"].shape[-2:])


def step_of(file: str, checkpoint: dict) -> tuple[int, int]:
    """The iteration and the epoch after which a checkpoint was saved.

    Raises:
        ConfigError: It does not say them.
    """
    meta = checkpoint.get("meta") or {}
    found = meta.get("iter"), meta.get("epoch")
    if not all(isinstance(number, int) for number in found):
        raise ConfigError(
            f"checkpoint {file}: it does not say its epoch; one that a training has "
            "saved is accepted"
        )
    return found


def captions(steps: dict[str, tuple[int, int]]) -> dict[str, str]:
    """The files in the order of their steps → when that was, in words.

    Raises:
        ConfigError: Two are of the same time.
    """
    ordered = sorted(steps, key=steps.get)
    for first, second in zip(ordered, ordered[1:], strict=False):
        if steps[first] == steps[second]:
            raise ConfigError(
                f"--checkpoints: {first} and {second} are of the same epoch; one of "
                "each is accepted"
            )
    if len({epoch for _, epoch in steps.values()}) == len(steps):
        return {file: f"epoch {steps[file][1]}" for file in ordered}
    return {file: f"iteration {steps[file][0]}" for file in ordered}


def draw_history(
    cfg: Config, args: argparse.Namespace, files: list[str], out_dir: Path
) -> None:
    """Draw the weights that the checkpoints of a training give."""
    model = trained.build_network(cfg).to(get_device())
    rgb = images_are_rgb(cfg)
    pictures, batches = [], []
    for _, sample in samples.named_samples(cfg, args.images, args.num_images):
        batches.append(samples.batch_of(model, sample))
        size = batches[-1]["inputs"].shape[-2:]
        pictures.append((samples.picture_of(sample, rgb), size))
    steps, maps = {}, {}
    for file in files:
        network = deepcopy(model)  # what a file lacks is not that of the one before
        steps[file] = step_of(file, trained.load_weights(network, file, args))
        maps[file] = [samples.pool_maps(network, batch) for batch in batches]
    history = {when: maps[file] for file, when in captions(steps).items()}
    for pool, strip in draw_strips(pictures, history).items():
        write(out_dir / f"{pool}.png", strip)
    if args.video:
        path = out_dir / "weights.gif"
        write_video(path, draw_frames(pictures, history))
        print(path)


def write(path: Path, picture: np.ndarray) -> None:
    """Write a picture, uint8 RGB, and its folder; say where."""
    write_picture(path, picture, "--out-dir")
    print(path)


def run(args: argparse.Namespace) -> None:
    """Draw as the command line says."""
    if (args.checkpoint is None) == (args.checkpoints is None):
        raise ConfigError("a CHECKPOINT or --checkpoints is accepted, one of the two")
    if args.video and args.checkpoints is None:
        raise ConfigError("--video is one of --checkpoints")
    samples.check_image_files(args.images)
    check_int("--num-images", args.num_images)
    cfg = trained.read_config(args)
    files = saved_files(args.checkpoints or [])
    work_dir = args.work_dir or cfg.get("work_dir")
    work_dir = work_dir or Path("work_dirs", Path(args.config).stem)
    out_dir = Path(args.out_dir or Path(work_dir, "pooling_weights"))
    check_folder("--out-dir", out_dir)
    if args.images is None:
        preflight.check_data_paths(cfg, ("test",))
    if args.checkpoints:
        draw_history(cfg, args, files, out_dir)
        return
    model = trained.load_trained(cfg, args).to(get_device())
    for name, sample in samples.named_samples(cfg, args.images, args.num_images):
        write(out_dir / f"{name}.png", draw(model, sample, images_are_rgb(cfg)))


def main() -> None:
    """Draw."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
