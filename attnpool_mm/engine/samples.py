"""Images to look at: of a config's test set, or files, as the network gets them."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DATASETS, TRANSFORMS
from torch import Tensor, nn

from ..analysis.maps import mean_weights, record_weights
from ..utils.config import (
    datasets_of,
    images_are_rgb,
    one_line_build,
    preprocessor_of,
    type_name,
)
from ..utils.errors import ConfigError


def check_image_files(files: list[str] | None) -> None:
    """Check that the files of `--images` are there.

    Raises:
        ConfigError: One is not.
    """
    for file in files or ():
        if not Path(file).is_file():
            raise ConfigError(f"--images {file}: there is no such file")


def named_samples(
    cfg: Config, files: list[str] | None = None, count: int = 4
) -> list[tuple[str, dict]]:
    """The name and the sample, out of the test pipeline, of each image.

    Their channels are in the order that the network is tested with.

    Args:
        cfg (Config): A whole config; its scope is MMEngine's default scope.
        files (list[str] | None): Image files. Default: the first of the test set.
        count (int): How many of the test set. Default: 4.

    Raises:
        ConfigError: A file is no image.
    """
    if files is None:
        with one_line_build("test_dataloader.dataset"):
            dataset = DATASETS.build(cfg.test_dataloader.dataset)
        count = min(count, len(dataset))
        return [(f"{index:06d}", dataset[index]) for index in range(count)]
    pipeline = file_pipeline(cfg)
    named = []
    for index, file in enumerate(files):
        try:
            sample = pipeline({"img_path": file, "img_id": index})
        except (AssertionError, OSError, ValueError, cv2.error) as error:
            raise ConfigError(f"--images {file}: it is no image ({error})") from error
        if images_are_rgb(cfg) and len(sample["inputs"]) == 3:
            sample["inputs"] = sample["inputs"].flip(0)
        named.append((f"{index:06d}_{Path(file).stem}", sample))
    return named


def file_pipeline(cfg: Config) -> Compose:
    """The test pipeline, for an image file without annotations.

    Where it loads no file, a network of one channel gets a grey image.
    """
    _, dataset = next(datasets_of(cfg.test_dataloader.dataset, ""))
    steps = [s for s in dataset.pipeline if not type_name(s).startswith("Load")]
    load = {"type": "LoadImageFromFile"}
    mean = preprocessor_of(cfg).get("mean") or ()
    if len(mean) == 1:
        load["color_type"] = "grayscale"
    loads = [s for s in dataset.pipeline if type_name(s) == "LoadImageFromFile"]
    load = loads[0] if loads else load
    return Compose([TRANSFORMS.build(step) for step in (load, *steps)])


def picture_of(sample: dict, rgb: bool) -> np.ndarray:
    """The image of a sample (H, W, 3), uint8 R, G, B.

    Of other than three channels it is their mean, in grey. Values outside of 0 to 255
    are stretched to that range.

    Args:
        sample (dict): The sample.
        rgb (bool): Whether the image's channels, if they are three, are R, G, B, or
            else B, G, R.
    """
    image = sample["inputs"].permute(1, 2, 0).numpy()
    if image.shape[2] != 3:
        image = image.mean(2, keepdims=True).repeat(3, axis=2)
    elif not rgb:
        image = image[..., ::-1]
    if image.min() < 0 or image.max() > 255:
        image = image.astype(float) - image.min()
        image *= 255 / (image.max() or 1)
    return image.astype(np.uint8)


def batch_of(model: nn.Module, sample: dict) -> dict:
    """A sample as the network's input, a batch of one: `inputs` and `data_samples`."""
    return model.data_preprocessor(pseudo_collate([sample]), False)


def pool_maps(model: nn.Module, batch: dict) -> dict[str, Tensor]:
    """Run a batch of one image; return the mean weights of the pools, by name.

    Raises:
        ConfigError: The network has no pool with weights.
    """
    with torch.no_grad(), record_weights(model) as weights:
        model(**batch, mode="predict")
    weights = {
        name.removeprefix("backbone."): weight[0] for name, weight in weights.items()
    }
    return mean_weights(weights)
