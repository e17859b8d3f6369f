"""Packaging of attnpool_mm. The requirements stand in `requirements/`."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """The requirement lines of `requirements/<name>.txt`."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def version() -> str:
    """The version, without importing the package (which needs MMEngine)."""
    scope: dict = {}
    exec((ROOT / "attnpool_mm" / "version.py").read_text(), scope)
    return scope["__version__"]


setup(
    name="attnpool_mm",
    version=version(),
    description="Self-attentive pooling and SPEM attention for OpenMMLab",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["attnpool_mm", "attnpool_mm.*"]),
    # `.mim` holds links to what MMEngine, MMPretrain and mim look for in a package
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
