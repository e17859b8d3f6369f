"""Do the images of a data set open?"""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mmengine.registry import TRANSFORMS
from mmengine.utils import track_iter_progress

from ..utils.config import type_name
from ..utils.errors import ConfigError
from .preflight import is_remote

SAMPLES = 5
THREADS = 8  # reading waits for the disk, decoding for no lock
NAMED = 3  # of the files that fail


def image_reader(pipeline: Sequence[Any], scope: str | None) -> Callable | None:
    """The step of a pipeline that reads the image of a file.

    None if the pipeline has none, or one that lets missing images pass or reads from
    another storage than the disk.
    """
    for step in pipeline or []:
        if type_name(step) == "LoadImageFromFile":
            if step.get("ignore_empty") or is_remote(step):
                return None
            with TRANSFORMS.switch_scope_and_registry(scope) as registry:
                return registry.build(dict(step))
    return None


def check_images(
    key: str, paths: Sequence[str], read: Callable, every: bool = False
) -> None:
    """Check that images open: the first, the last and a few between, or all.

    Args:
        key (str): What of the config says where they are, for messages.
        paths (Sequence[str]): The files.
        read (Callable): The step of the pipeline that reads one.
        every (bool): Whether to read them all, with a progress bar. Default: False.

    Raises:
        ConfigError: Some do not, with their number and the first names.
    """
    last = len(paths) - 1
    tried = list(paths)
    if not every:
        places = {round(i * last / (SAMPLES - 1)) for i in range(SAMPLES)}
        tried = [paths[i] for i in sorted(places)] if paths else []

    def problem(path: str) -> str | None:
        try:
            opened = read({"img_path": path})
        except Exception as error:  # whatever a decoder or a storage raises
            return f"{path} ({type(error).__name__})"
        return None if opened is not None else path

    with ThreadPoolExecutor(THREADS) as threads:
        found = threads.map(problem, tried)
        if every:
            print(f"{key}: opening {len(tried)} images", file=sys.stderr)
            found = track_iter_progress((found, len(tried)), file=sys.stderr)
        broken = [text for text in found if text is not None]
    if broken:
        advice = "" if every else "; train.py --check-data tries all"
        named = ", ".join(broken[:NAMED]) + (", …" if len(broken) > NAMED else "")
        raise ConfigError(
            f"{key}: {len(broken)} of {len(tried)} images that were tried do not open: "
            f"{named}{advice}"
        )
