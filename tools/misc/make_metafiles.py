"""Write model-index.yml, and the metafile.yml of each folder, from the configs there.

    python tools/misc/make_metafiles.py            # after a config came or went
    python tools/misc/make_metafiles.py --check    # say which files are out of date

A model's name is that of its file. Parameters and FLOPs are those of docs/configs.md:
of the whole model, and of its backbone on a test image, with 2 for a multiplication and
an addition. `Weights` is empty in every entry, since none are hosted, but MMEngine's
inferencers read the key. `Results` are those that were measured here.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import yaml
from config_table import config_row
from mmengine.config import Config

from attnpool_mm.engine import launch
from attnpool_mm.utils.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = {
    "Self-Attentive Pooling": dict(
        URL="https://arxiv.org/abs/2209.07659",
        Title="Self-Attentive Pooling for Efficient Deep Learning",
    ),
    "SPEM": dict(
        URL="https://arxiv.org/abs/2208.10322",
        Title="SPEM: Self-adaptive Pooling Enhanced Attention Module for Image "
        "Recognition",
    ),
}
# The data set is the last word of a file's name, up to a hyphen
DATASETS = dict(
    cifar10="CIFAR-10",
    cifar100="CIFAR-100",
    coco="COCO",
    coco8="COCO, 8 classes",
    digits="scikit-learn digits",
    in1k="ImageNet-1k",
    mnist="MNIST",
    stl10="STL-10",
    vww="Visual Wake Words",
)
# In per cent; `make test-slow PYTEST_ARGS='-k spem'`
TOP1 = {"resnet20-spem_b64_digits": 98.06}


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 2 if they differ"
    )
    return parser.parse_args(arguments)


def files() -> dict[Path, str]:
    """What each file has to hold, model-index.yml first."""
    paths = sorted(
        {
            path.with_name("metafile.yml")
            for task in ("classification", "detection")
            for path in (ROOT / "configs" / task).rglob("*.py")
        }
    )
    index = dict(Import=[path.relative_to(ROOT).as_posix() for path in paths])
    texts = {path: metafile(path.parent) for path in paths}
    return {ROOT / "model-index.yml": as_yaml(index)} | texts


def metafile(folder: Path) -> str:
    """The text of a folder's metafile."""
    models = [entry(path) for path in sorted(folder.glob("*.py"))]
    names = {model["In Collection"] for model in models}
    collections = [
        dict(Name=name, Paper=paper)
        for name, paper in COLLECTIONS.items()
        if name in names
    ]
    return as_yaml(dict(Collections=collections, Models=models))


def entry(path: Path) -> dict:
    """A model's entry.

    Raises:
        ConfigError: The name of the file does not end in a data set.
    """
    name = path.relative_to(ROOT).as_posix()
    word = path.stem.rpartition("_")[2].partition("-")[0]
    if word not in DATASETS:
        raise ConfigError(
            f"{name}: the last word of the name is the data set, one of "
            f"{', '.join(DATASETS)}; got {word!r}"
        )
    cfg = launch.read_config(str(path))
    row = config_row(path)
    metadata = {
        "Training Data": DATASETS[word],
        "Epochs": cfg.train_cfg.get("max_epochs"),
        "Parameters": row.parameters,
        "FLOPs": row.flops,
    }
    found = {
        "Name": path.stem,
        "In Collection": collection(cfg),
        "Config": name,
        "Metadata": {key: value for key, value in metadata.items() if value},
    }
    if path.stem in TOP1:
        found["Results"] = [
            {
                "Task": "Image Classification",
                "Dataset": DATASETS[word],
                "Metrics": {"Top 1 Accuracy": TOP1[path.stem]},
            }
        ]
    return found | {"Weights": None}


def collection(cfg: Config) -> str:
    """The paper that a config is from: SPEM's networks have attention, or are CIFAR's.

    The other configs compare pools.
    """
    backbone = cfg.model.backbone
    spem = (
        backbone.type.endswith("ResNetCIFAR")
        or backbone.get("attention_cfg") is not None
        or backbone.get("plugins") is not None
    )
    return "SPEM" if spem else "Self-Attentive Pooling"


def as_yaml(content: dict) -> str:
    """As text, in the given order."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=88)


def run(args: argparse.Namespace) -> None:
    """Write the files that differ, or name them.

    Raises:
        ConfigError: With `--check`, some differ.
    """
    wanted = files()
    changed = [
        path
        for path, text in wanted.items()
        if not path.is_file() or path.read_text() != text
    ]
    stale = sorted(set(ROOT.glob("configs/**/metafile.yml")) - set(wanted))
    names = [path.relative_to(ROOT).as_posix() for path in (*changed, *stale)]
    if args.check and names:
        raise ConfigError(
            f"out of date: {', '.join(names)}; python tools/misc/make_metafiles.py "
            "writes them anew"
        )
    for path in changed:
        path.write_text(wanted[path])
    for path in stale:
        path.unlink()
    print(f"{len(names)} of {len(wanted)} files were out of date")


def main() -> None:
    """Run the command line."""
    args = parse_args()
    with launch.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
