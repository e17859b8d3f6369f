"""Draw where a trained network's pools look, over the images of its test set.

python tools/visualization/pooling_weights.py CONFIG CHECKPOINT --num-images 4
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.registry import DATASETS, TRANSFORMS
from torch import nn

from attnpool_mm.analysis import draw_weights, record_weights
from attnpool_mm.engine import launch, preflight, trained
from attnpool_mm.utils.config import images_are_rgb, preprocessor_of, type_name
from attnpool_mm.utils.errors import ConfigError


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Draw the weights of the pools over images"
    )
    trained.add_arguments(parser)
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


def samples(cfg: Config, args: argparse.Namespace) -> list[tuple[str, dict]]:
    """The name and the sample, out of the test pipeline, of each image.

    Its channels are in the order that the network is tested with.
    """
    if args.images is None:
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        count = min(args.num_images, len(dataset))
        return [(f"{index:06d}", dataset[index]) for index in range(count)]
    pipeline = file_pipeline(cfg)
    named = []
    for index, file in enumerate(args.images):
        try:
            sample = pipeline({"img_path": file, "img_id": index})
        except (AssertionError, OSError, ValueError) as error:
            raise ConfigError(f"--images {file}: it is no image ({error})") from error
        if images_are_rgb(cfg) and len(sample["inputs"]) == 3:
            sample["inputs"] = sample["inputs"].flip(0)
        named.append((f"{index:06d}_{Path(file).stem}", sample))
    return named


def file_pipeline(cfg: Config) -> Compose:
    """The test pipeline, for an image file without annotations.

    Where it loads no file, a network of one channel gets a grey image.
    """
    _, dataset = next(preflight.datasets_of(cfg.test_dataloader.dataset, ""))
    steps = [s for s in dataset.pipeline if not type_name(s).startswith("Load")]
    load = {"type": "LoadImageFromFile"}
    mean = preprocessor_of(cfg).get("mean") or ()
    if len(mean) == 1:
        load["color_type"] = "grayscale"
    loads = [s for s in dataset.pipeline if type_name(s) == "LoadImageFromFile"]
    load = loads[0] if loads else load
    return Compose([TRANSFORMS.build(step) for step in (load, *steps)])


def draw(model: nn.Module, sample: dict, rgb: bool) -> np.ndarray:
    """Run one sample and draw the weights of its pools; uint8 BGR.

    Args:
        model: The network.
        sample: The sample.
        rgb: Whether the image's channels, if they are three, are R, G, B, or else B,
            G, R.
    """
    image = sample["inputs"].permute(1, 2, 0).numpy()
    batch = model.data_preprocessor(pseudo_collate([sample]), False)
    with torch.no_grad(), record_weights(model) as weights:
        model(**batch, mode="predict")
    weights = {
        name.removeprefix("backbone."): weight[0] for name, weight in weights.items()
    }
    picture = draw_weights(as_rgb(image, rgb), weights, batch["inputs"].shape[-2:])
    return picture[..., ::-1]


def as_rgb(image: np.ndarray, rgb: bool) -> np.ndarray:
    """An image (H, W, C) of any type as uint8 R, G, B.

    Of other than three channels it is their mean, in grey. Values outside of 0 to 255
    are stretched to that range.
    """
    if image.shape[2] != 3:
        image = image.mean(2, keepdims=True).repeat(3, axis=2)
    elif not rgb:
        image = image[..., ::-1]
    if image.min() < 0 or image.max() > 255:
        image = image.astype(float) - image.min()
        image *= 255 / (image.max() or 1)
    return image.astype(np.uint8)


def main() -> None:
    """Draw."""
    args = parse_args()
    with launch.one_line_errors():
        for file in args.images or ():
            if not Path(file).is_file():
                raise ConfigError(f"--images {file}: there is no such file")
        cfg = trained.read_config(args)
        work_dir = args.work_dir or cfg.get("work_dir")
        work_dir = work_dir or Path("work_dirs", Path(args.config).stem)
        if args.images is None:
            preflight.check_data_paths(cfg, ("test",))
        model = trained.load_trained(cfg, args).to(get_device())
        out_dir = Path(args.out_dir or Path(work_dir, "pooling_weights"))
        out_dir.mkdir(parents=True, exist_ok=True)
        for name, sample in samples(cfg, args):
            path = out_dir / f"{name}.png"
            cv2.imwrite(str(path), draw(model, sample, images_are_rgb(cfg)))
            print(path)


if __name__ == "__main__":
    main()
