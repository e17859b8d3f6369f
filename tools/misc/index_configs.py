"""Write what lists the configs: docs/configs.md, each metafile.yml, model-index.yml.

    python tools/misc/index_configs.py            # after a config came, changed or went
    python tools/misc/index_configs.py --check    # say which files are out of date

Every config is built and measured once. A model's name is that of its file. FLOPs are
two for a multiplication and an addition on the page, and one in the metafiles, as in
OpenMMLab's. `Weights` is empty in every entry, since none are hosted, but MMEngine's
inferencers read the key. `Results` are those that were measured here.
"""

import argparse
import json
import os
import re
import sys
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import yaml
from mmengine.config import Config
from torch import nn

from attnpool_mm.analysis import Complexity, measure_complexity
from attnpool_mm.engine import launch
from attnpool_mm.utils.atomic_files import write_atomically
from attnpool_mm.utils.config import (
    build_for_counting,
    counted_method,
    datasets_of,
    input_shape,
    type_name,
)
from attnpool_mm.utils.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "python tools/misc/index_configs.py"
HEAD = f"""# The configs and what they cost

`{COMMAND}` writes this page, with `--check` it compares it.

- **image**: height × width in pixels that the config's test pipeline resizes or crops
  to, and the preprocessor pads to. Where the ratio of the sides is kept, the largest
  landscape photograph: 800×1333 for `scale=(1333, 800)`, padded to 800×1344.
- **parameters**: of the whole model, in millions.
- **FLOPs**: of the backbone on one such image, in billions (10⁹): convolutions and
  matrix products, those of attention included; a multiplication and an addition are 2.
- **peak memory**: the most that the backbone's activations take at a time on one such
  image in an ideal runtime, at 8 bits a value, 1 kB = 1000 bytes. A tensor lives from
  the operation that makes it to the last one that reads it, the backbone's outputs to
  its end; pointwise operations, norms and softmax write over an input that nothing
  reads any more; attention makes no matrix of tokens × tokens; weights do not count.
  [All the rules](../attnpool_mm/analysis/activation.py). TensorFlow Lite Micro, which
  has no fused attention, holds orders of magnitude more of a network with it, and
  somewhat more of others: [memory on the device](deployment/memory.md). Which network
  fits a limit there: [at equal memory](deployment/equal_memory.md).

`python tools/analysis_tools/get_complexity.py CONFIG` shows a config's cost layer by
layer, for the whole classifier, or for backbone and neck of a detector. The FLOPs in
each folder's `metafile.yml` are of these too, and multiply-adds, as in OpenMMLab's.
"""
TABLE = """
| config | image | parameters (M) | FLOPs (G) | peak memory (kB) |
|---|---|---|---|---|
"""
COLLECTIONS = {
    "Self-Attentive Pooling": dict(
        URL="https://arxiv.org/abs/2209.07659",
        Title="Self-Attentive Pooling for Efficient Deep Learning",
    ),
    "LIP": dict(
        URL="https://arxiv.org/abs/1908.04156",
        Title="LIP: Local Importance-based Pooling",
    ),
    "SPEM": dict(
        URL="https://arxiv.org/abs/2208.10322",
        Title="SPEM: Self-adaptive Pooling Enhanced Attention Module for Image "
        "Recognition",
    ),
}
# In per cent; `make test-slow PYTEST_ARGS='-k spem'`
TOP1 = {"resnet20-spem_1xb64_digits": 98.06}


@dataclass
class Row:
    """A config's measures, and its line of the page.

    Attributes:
        path: The config, relative to the repository.
        size: Height and width of the image in pixels.
        parameters: Of the whole model.
        flops: Of the backbone, a multiplication and an addition being two.
        peak_bytes: Of the backbone's activations, at 8 bits a value.
        multiply_adds: Of the whole classifier, or of a detector's backbone and neck.
    """

    path: str
    size: tuple[int, int]
    parameters: int
    flops: int
    peak_bytes: int
    multiply_adds: int

    def __str__(self) -> str:
        link = f"[{Path(self.path).name}](../{self.path})"
        size = "×".join(map(str, self.size))
        millions, billions = self.parameters / 1e6, self.flops / 1e9
        kilobytes = f"{self.peak_bytes / 1e3:,.1f}"
        return f"| {link} | {size} | {millions:.2f} | {billions:,.3f} | {kilobytes} |"


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 2 if they differ"
    )
    return parser.parse_args(arguments)


def config_paths() -> list[Path]:
    """The configs, those of a folder together; no parts of them and no plans."""
    configs = ROOT / "configs"
    paths = [
        path
        for path in configs.rglob("*.py")
        if not {"_base_", "evidence"} & {*path.relative_to(configs).parts}
    ]
    if not paths:
        raise ConfigError(f"{configs}: there is no config")
    return sorted(paths, key=lambda path: (path.parent, path.name))


def config_row(
    path: str | Path, cfg: Config | None = None, model: nn.Module | None = None
) -> Row:
    """Measure a config. Equal models at equal sizes are measured once.

    Args:
        path: The config, relative to the repository or absolute.
        cfg: What is in it, if it has been read already.
        model: What it builds, if it has been built already; it is not changed.

    Raises:
        ConfigError: The config cannot be read, its model not be built, or its
            pipelines set no image size.
    """
    path = (ROOT / path).resolve()
    name = path.relative_to(ROOT).as_posix()
    try:
        cfg = cfg or launch.read_config(str(path))
        shape, method = input_shape(cfg), counted_method(cfg)
        key = json.dumps([_without_init(cfg.model), shape], default=str)
        if key not in _measured:
            model = build_for_counting(cfg) if model is None else model
            _measured[key] = measure_complexity(model, shape, method=method)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    whole, size = _measured[key], shape[1:]
    peak_bytes = max(
        operation.live_bytes
        for operation in whole.operations
        if operation.module.partition(".")[0] == "backbone"
    )
    flops = whole.flops_by_module["backbone"]
    return Row(name, size, whole.parameters, flops, peak_bytes, whole.multiply_adds)


_measured: dict[str, Complexity] = {}


def _without_init(cfg: Any) -> Any:
    """A config without what says where its weights come from."""
    if isinstance(cfg, dict):
        return {k: _without_init(v) for k, v in cfg.items() if k != "init_cfg"}
    return [_without_init(v) for v in cfg] if isinstance(cfg, list | tuple) else cfg


def page(rows: list[Row]) -> str:
    """The text of docs/configs.md."""
    text = HEAD
    for folder, members in groupby(rows, lambda row: os.path.dirname(row.path)):
        lines = "\n".join(map(str, members))
        text += f"\n## {folder.removeprefix('configs/')}\n{TABLE}{lines}\n"
    return text


def metafile(rows: list[Row]) -> str:
    """The text of a folder's metafile."""
    models = [entry(row) for row in rows]
    names = {model["In Collection"] for model in models}
    collections = [
        dict(Name=name, Paper=paper)
        for name, paper in COLLECTIONS.items()
        if name in names
    ]
    return as_yaml(dict(Collections=collections, Models=models))


def entry(row: Row) -> dict[str, Any]:
    """A config's entry in a metafile."""
    cfg, name = launch.read_config(str(ROOT / row.path)), Path(row.path).stem
    metadata = {
        "Training Data": training_data(cfg),
        "Epochs": cfg.train_cfg.get("max_epochs"),
        "Parameters": row.parameters,
        "FLOPs": row.multiply_adds,
    }
    found = {
        "Name": name,
        "In Collection": collection(cfg),
        "Config": row.path,
        "Metadata": {key: value for key, value in metadata.items() if value},
    }
    if name in TOP1:
        found["Results"] = [
            {
                "Task": "Image Classification",
                "Dataset": metadata["Training Data"],
                "Metrics": {"Top 1 Accuracy": TOP1[name]},
            }
        ]
    return found | {"Weights": None}


def training_data(cfg: Config) -> str:
    """What a config trains on, as a reader knows it.

    It is the name of the data set's class, written as words: `CIFAR10` is CIFAR-10,
    `VisualWakeWords` Visual Wake Words, `CocoDataset` COCO, but for what
    `compose_coco.py` makes. Classes that the config names are counted.
    """
    _, dataset = next(datasets_of(cfg.train_dataloader.dataset, ""))
    if Path(dataset.get("data_root") or "").name == "fashion_coco":
        return "Fashion-MNIST on photographs"
    kind = type_name(dataset)
    name = kind.removesuffix("Dataset") or kind
    known = {  # what they are called else
        "Coco": "COCO",
        "FashionMNIST": "Fashion-MNIST",
        "ImageNet": "ImageNet-1k",
    }
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    name = known.get(name, re.sub(r"(?<=[A-Za-z])(?=\d)", "-", words))
    classes = (dataset.get("metainfo") or {}).get("classes")
    return f"{name}, {len(classes)} classes" if classes else name


def collection(cfg: Config) -> str:
    """The paper that a config is from.

    SPEM's networks have attention, or are CIFAR's with bottlenecks. LIP's have its
    name. The other configs compare pools.
    """
    backbone = cfg.model.backbone
    if type_name(backbone).startswith("LIP"):
        return "LIP"
    bottlenecks = backbone.get("block", "bottleneck") == "bottleneck"
    spem = (
        (type_name(backbone) == "AttnPoolResNetCIFAR" and bottlenecks)
        or backbone.get("attention_cfg") is not None
        or backbone.get("plugins") is not None
    )
    return "SPEM" if spem else "Self-Attentive Pooling"


def as_yaml(content: dict[str, Any]) -> str:
    """As text, in the given order."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=88)


def files() -> dict[str, str]:
    """What each file has to hold, by its path relative to the repository."""
    rows = [config_row(path) for path in config_paths()]
    texts = {"docs/configs.md": page(rows), "model-index.yml": ""}
    for folder, members in groupby(rows, lambda row: os.path.dirname(row.path)):
        if folder != "configs/demo":
            texts[f"{folder}/metafile.yml"] = metafile(list(members))
    imports = [name for name in texts if name.endswith("metafile.yml")]
    return texts | {"model-index.yml": as_yaml(dict(Import=imports))}


def run(args: argparse.Namespace) -> None:
    """Write the files that differ, or name them.

    Raises:
        ConfigError: With `--check`, some differ.
    """
    wanted = files()
    out_of_date = [name for name, text in wanted.items() if text != _text_of(name)]
    there = [
        p.relative_to(ROOT).as_posix() for p in ROOT.glob("configs/**/metafile.yml")
    ]
    gone = sorted(set(there) - set(wanted))
    if args.check and (out_of_date or gone):
        names = ", ".join(out_of_date + gone)
        raise ConfigError(f"out of date: {names}; {COMMAND} writes them anew")
    for name in out_of_date:
        write_atomically(ROOT / name, wanted[name].encode())
    for name in gone:
        (ROOT / name).unlink()
    print(f"{len(out_of_date + gone)} of {len(wanted)} files were out of date")


def _text_of(name: str) -> str | None:
    path = ROOT / name
    return path.read_text() if path.is_file() else None


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
