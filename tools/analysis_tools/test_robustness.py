"""Test a detector on corrupted images: mAP by corruption and severity.

    python tools/analysis_tools/test_robustness.py CONFIG CHECKPOINT --out FILE.pkl

MMDetection's script, with its options: `--corruptions fog contrast --severities 0 3`
takes some of the corruptions. For classifiers: `robustness.py`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.runner import Runner

from attnpool_mm.analysis.corruptions import corrupt
from attnpool_mm.engine import launch, preflight
from attnpool_mm.engine.framework_tools import check_scope, options_of, run_config_tool
from attnpool_mm.utils.config import datasets_of, type_name
from attnpool_mm.utils.errors import ConfigError
from attnpool_mm.utils.extras import require

from_cfg = Runner.from_cfg


class Corrupt(BaseTransform):
    """MMDetection's transform, which OneDL's package has no more.

    Each image has a seed of its own.
    """

    def __init__(self, corruption: str, severity: int = 1) -> None:
        self.corruption = corruption
        self.severity = severity

    def transform(self, results: dict) -> dict:
        """Corrupt the image, which is B, G, R."""
        image = np.ascontiguousarray(results["img"][..., ::-1])
        seed = (results["sample_idx"],)
        image = corrupt(image, self.corruption, self.severity, seed)
        results["img"] = np.ascontiguousarray(image[..., ::-1])
        return results


def build_runner(cfg: Config) -> Runner:
    """Build the runner of a config whose backbone starts from no weights.

    Not every backbone takes what `prepare` adds for the script.
    """
    cfg.model.backbone.pop("init_cfg")
    return from_cfg(cfg)


def prepare(cfg: Config, words: list[str]) -> list[str]:
    """Check what the script needs, and say what it reads off the config."""
    check_scope(cfg, "mmdet", "; tools/analysis_tools/robustness.py tests classifiers")
    require("imagecorruptions", "robustness")
    out = options_of(words, "out")["out"] or ""
    if not out.endswith((".pkl", ".pickle")):
        raise ConfigError("--out FILE.pkl is needed, from which the means are computed")
    preflight.check_data_paths(cfg, ("test",))
    cfg.model.backbone.init_cfg = dict(type=None)  # in which the script sets the type
    _, dataset = next(datasets_of(cfg.test_dataloader.dataset, ""))
    cfg.setdefault("dataset_type", type_name(dataset))
    return words


if __name__ == "__main__":
    with launch.one_line_errors():
        Runner.from_cfg = build_runner
        TRANSFORMS.register_module(module=Corrupt, force=True)
        name = "analysis_tools/test_robustness.py"
        run_config_tool(name, package="mmdet", prepare=prepare)
