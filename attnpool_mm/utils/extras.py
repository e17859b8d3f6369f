"""Packages that only some of the tools need."""

import importlib
from types import ModuleType

from .errors import ConfigError


def require(package: str, extra: str) -> ModuleType:
    """Import a package that an extra of this one installs.

    Args:
        package (str): Its import name.
        extra (str): The extra, as in `pip install attnpool_mm[onnx]`.

    Raises:
        ConfigError: It is not installed, or fails to import.

    Example:
        >>> require('json', 'onnx').dumps([1])
        '[1]'
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"{package} is needed here ({error}): pip install 'attnpool_mm[{extra}]'"
        ) from error
