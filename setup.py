"""Packaging of attnpool_mm. The requirements stand in `requirements/`.

`python setup.py --version` makes the links of a checkout that is not installed.
"""

import shutil
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
# What MMEngine, MMPretrain and mim look for in a package's folder `.mim`
CARRIED = ("configs", "demo", "model-index.yml", "tools")


def requirements(name: str) -> list[str]:
    """The requirement lines of `requirements/<name>.txt`."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def version() -> str:
    """The version, without importing the package (which needs MMEngine)."""
    scope: dict = {}
    exec((ROOT / "attnpool_mm" / "version.py").read_text(), scope)
    return scope["__version__"]


def link_mim() -> None:
    """Put links to what the package carries into its `.mim`.

    Wheels and source distributions get the files themselves. In a source distribution
    they are in `.mim` already, and nowhere else.
    """
    folder = ROOT / "attnpool_mm" / ".mim"
    folder.mkdir(exist_ok=True)
    for name in CARRIED:
        source, target = ROOT / name, folder / name
        if not source.exists() or (target.exists() and target.samefile(source)):
            continue
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        try:
            target.symlink_to(Path("..", "..", name), source.is_dir())
        except OSError:  # a file system, or Windows, that allows no links
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, target)


link_mim()
setup(
    name="attnpool_mm",
    version=version(),
    description="Self-attentive pooling and SPEM attention for OpenMMLab",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["attnpool_mm", "attnpool_mm.*"]),
    package_data={
        "attnpool_mm": [
            ".mim/model-index.yml",
            ".mim/configs/README.md",
            ".mim/configs/**/*.py",
            ".mim/configs/**/metafile.yml",
            ".mim/tools/**/*.py",
            ".mim/tools/**/*.sh",
            ".mim/demo/*.py",
        ]
    },
    exclude_package_data={"attnpool_mm": [".mim/tools/benchmarks/*"]},
    python_requires=">=3.10",
    install_requires=requirements("runtime"),
    extras_require={
        name: requirements(name)
        for name in (
            *("onedl", "openmmlab", "demo", "dev"),
            *("cam", "onnx", "prune", "robustness", "docs"),
        )
    },
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
