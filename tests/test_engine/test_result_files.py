"""What a test writes to `--out`: read back, and whole or as it was."""

import json
import pickle

import pytest
import torch
import yaml
from kill_points import forked, limit_file_size
from mmengine.config import Config
from mmengine.structures import BaseDataElement

from attnpool_mm.engine.result_files import dump_predictions, write_metrics
from attnpool_mm.utils.errors import ConfigError

METRICS = {"accuracy/top1": 98.5, "accuracy/top5": 100.0}


@pytest.mark.parametrize("suffix, read", [
    ("json", json.loads), ("yaml", yaml.safe_load), ("yml", yaml.safe_load),
    ("pkl", pickle.loads), ("pickle", pickle.loads),
])  # fmt: skip
def test_metrics(tmp_path, suffix, read):
    path = tmp_path / f"new/metrics.{suffix}"
    write_metrics(str(path), METRICS)
    assert read(path.read_bytes()) == METRICS


def dumped(scope, path):
    """Write the predictions of 100 images."""
    metric = dump_predictions(Config(dict(default_scope=scope)), str(path))
    scores = torch.rand(100, 10, generator=torch.manual_seed(0))
    for score in scores:
        metric.process({}, [BaseDataElement(pred_score=score).to_dict()])
    assert metric.evaluate(100) == {}
    return scores


@pytest.mark.parametrize("scope", ["mmpretrain", "mmdet"])
def test_predictions(tmp_path, scope):
    scores = dumped(scope, tmp_path / "a.pkl")
    found = pickle.loads((tmp_path / "a.pkl").read_bytes())
    assert torch.equal(torch.stack([one["pred_score"] for one in found]), scores)


@pytest.mark.parametrize("scope", ["mmpretrain", "mmdet", None])
def test_without_room_the_old_file_stays(tmp_path, scope):
    (tmp_path / "a.pkl").write_bytes(b"old")

    def full():
        limit_file_size(10)
        with pytest.raises(ConfigError, match="--out .*a.pkl: it cannot be written"):
            if scope is None:
                write_metrics(str(tmp_path / "a.pkl"), METRICS)
            else:
                dumped(scope, tmp_path / "a.pkl")

    assert forked(full) == 0
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
