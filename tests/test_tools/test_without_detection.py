"""Classifiers need neither MMDetection nor MMCV's compiled operators."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIG = "configs/demo/resnet18-half-nlp_digits.py"
SCRIPT = """
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, *args):
        missing = name in ("mmdet", "mmcv._ext")
        return None if missing else super().find_spec(name, *args)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
from tool_modules import load_tool, run_tool

folder, config = sys.argv[1:]
splits = [f"{split}_dataloader.dataset.indices=8" for split in ("train", "val", "test")]
options = ["--cfg-options", *splits]
run_tool("train.py", config, f"--work-dir={folder}", *options, "train_cfg.max_epochs=1")
checkpoint = f"{folder}/epoch_1.pth"
run_tool("test.py", config, checkpoint, f"--work-dir={folder}", *options)
tool = "visualization/pooling_weights.py"
run_tool(tool, config, checkpoint, f"--out-dir={folder}", "--num-images=1", *options)
load_tool("demo.py")
assert not {"mmdet", "mmcv._ext"} & set(sys.modules)
"""


def test_train_test_and_draw(tmp_path):
    variables = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), CONFIG],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (tmp_path / "000000.png").is_file()
