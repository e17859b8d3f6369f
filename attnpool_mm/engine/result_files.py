"""What a test writes to `--out`: metrics or predictions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mmengine
from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.logging import print_log

from ..utils.atomic_files import write_atomically

TABLES = (".json", ".yaml", ".yml")  # the kinds of files that a person can read
PICKLES = (".pkl", ".pickle")


def write_metrics(path: str, metrics: Mapping[str, float]) -> None:
    """Write metrics, in the format that the name ends in.

    Args:
        path (str): The file, with one of the suffixes `TABLES` and `PICKLES`.
        metrics (Mapping[str, float]): By name.

    Raises:
        ConfigError: It cannot be written; what was there before stays.

    Example:
        >>> write_metrics('metrics.json', {'accuracy/top1': 98.5})
        >>> Path('metrics.json').read_text()
        '{"accuracy/top1": 98.5}'
    """
    write_atomically(path, _as_bytes(dict(metrics), path), "--out")


def dump_predictions(cfg: Config, path: str) -> DumpResults:
    """The metric that writes the predictions of a test, of a file that appears whole.

    Args:
        cfg (Config): Its `default_scope` says the framework.
        path (str): The file, with one of the suffixes `PICKLES`.
    """
    if cfg.default_scope == "mmpretrain":
        return _WholeResults(out_file_path=path)
    from mmdet.evaluation import DumpDetResults

    kind = type("WholeDetResults", (_WholeResults, DumpDetResults), {})
    return kind(out_file_path=path)


class _WholeResults(DumpResults):
    def compute_metrics(self, results: list) -> dict:
        """Write the predictions; there are no metrics."""
        path = self.out_file_path
        write_atomically(path, _as_bytes(results, path), "--out")
        print_log(f"Results has been saved to {path}.", logger="current")
        return {}


def _as_bytes(value: Any, path: str) -> bytes:
    text = mmengine.dump(value, file_format=Path(path).suffix.removeprefix("."))
    return text.encode() if isinstance(text, str) else text
