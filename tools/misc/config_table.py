"""Write docs/configs.md: what each config costs.

python tools/misc/config_table.py          writes the page
python tools/misc/config_table.py --check  compares it with the configs
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.config import Config
from torch import nn

from attnpool_mm.analysis import Complexity, measure_complexity
from attnpool_mm.engine import launch
from attnpool_mm.utils.config import build_for_counting, image_size
from attnpool_mm.utils.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "configs.md"
COMMAND = "python tools/misc/config_table.py"
HEAD = f"""# The configs and what they cost

`{COMMAND}` writes this page, with `--check` it compares it.

- **image**: height × width in pixels that the config's test pipeline resizes or crops
  to, and the preprocessor pads to. Where the ratio of the sides is kept, the largest
  landscape photograph: 800×1333 for `scale=(1333, 800)`, padded to 800×1344.
- **parameters**: of the whole model, in millions.
- **FLOPs**: of the backbone on one such image, in billions (10⁹): convolutions and
  matrix products, those of attention included; a multiplication and an addition are 2.
- **peak memory**: the most that the backbone's activations take at a time on one such
  image, at 8 bits a value, 1 kB = 1000 bytes. A tensor lives from the operation that
  makes it to the last one that reads it, the backbone's outputs to its end; pointwise
  operations, norms and softmax write over an input that nothing reads any more;
  attention makes no matrix of tokens × tokens; weights do not count.
  [All the rules](../attnpool_mm/analysis/activation.py).

`python tools/analysis_tools/get_complexity.py CONFIG` shows a config's cost layer by
layer, for the whole classifier, or for backbone and neck of a detector.
"""
TABLE = """
| config | image | parameters (M) | FLOPs (G) | peak memory (kB) |
|---|---|---|---|---|
"""


@dataclass
class Row:
    """A line of a table.

    Attributes:
        path: The config, relative to the repository.
        size: Height and width of the image in pixels.
        parameters: Of the whole model.
        flops: Of the backbone.
        peak_bytes: Of the backbone's activations, at 8 bits a value.
    """

    path: str
    size: tuple[int, int]
    parameters: int
    flops: int
    peak_bytes: int

    def __str__(self) -> str:
        link = f"[{Path(self.path).name}](../{self.path})"
        size = "×".join(map(str, self.size))
        millions, billions = self.parameters / 1e6, self.flops / 1e9
        kilobytes = f"{self.peak_bytes / 1e3:,.1f}"
        return f"| {link} | {size} | {millions:.2f} | {billions:,.3f} | {kilobytes} |"


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Write docs/configs.md")
    parser.add_argument(
        "--check",
        action="store_true",
        help="compare the page with the configs, and write nothing",
    )
    return parser.parse_args(arguments)


def config_paths() -> list[str]:
    """The configs, relative to the repository, those of a folder together."""
    paths = [p.relative_to(ROOT) for p in (ROOT / "configs").rglob("*.py")]
    paths = [path for path in paths if "_base_" not in path.parts]
    return [p.as_posix() for p in sorted(paths, key=lambda p: (p.parent, p.name))]


def config_row(
    path: str | Path, cfg: Config | None = None, model: nn.Module | None = None
) -> Row:
    """Measure a config. Equal backbones at equal sizes are measured once.

    Args:
        path: The config, relative to the repository or absolute.
        cfg: What is in it, if it has been read already.
        model: What it builds, if it has been built already; it is not changed.

    Raises:
        ConfigError: The config cannot be read, its model not be built, or its test
            pipeline sets no image size.
    """
    path = (ROOT / path).resolve()
    name = path.relative_to(ROOT).as_posix()
    try:
        cfg = cfg or launch.read_config(str(path))
        size = image_size(cfg)
        if model is None:
            model = build_for_counting(cfg)
        key = json.dumps([_without_init(cfg.model.backbone), size], default=str)
        if key not in _measured:
            _measured[key] = measure_complexity(model.backbone, (3, *size))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    backbone = _measured[key]
    parameters = sum(p.numel() for p in model.parameters())
    return Row(name, size, parameters, backbone.flops, backbone.peak.live_bytes)


_measured: dict[str, Complexity] = {}


def _without_init(cfg: Any) -> Any:
    """A config without what says where its weights come from."""
    if isinstance(cfg, dict):
        return {k: _without_init(v) for k, v in cfg.items() if k != "init_cfg"}
    return [_without_init(v) for v in cfg] if isinstance(cfg, list | tuple) else cfg


def page(rows: Iterable[Row]) -> str:
    """The text of the page."""
    text = HEAD
    for folder, members in groupby(rows, lambda row: os.path.dirname(row.path)):
        lines = "\n".join(map(str, members))
        text += f"\n## {folder.removeprefix('configs/')}\n{TABLE}{lines}\n"
    return text


def check(text: str) -> None:
    """Compare the page with what it should be.

    Raises:
        ConfigError: They differ; it names the first row that does.
    """
    expected = text.splitlines()
    found = PAGE.read_text().splitlines() if PAGE.is_file() else []
    if found == expected:
        return
    differ = (i for i, line in enumerate(expected) if found[i : i + 1] != [line])
    at = next(differ, len(expected))
    has, wanted = (lines[at] if at < len(lines) else "" for lines in (found, expected))
    raise ConfigError(
        f"docs/configs.md, line {at + 1}: it has '{has}', the configs give '{wanted}'; "
        f"{COMMAND} writes it anew"
    )


def run(args: argparse.Namespace) -> None:
    """Write the page, or compare it."""
    text = page(map(config_row, config_paths()))
    if args.check:
        check(text)
    else:
        PAGE.write_text(text)


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
