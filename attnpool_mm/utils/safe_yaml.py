"""Configs in YAML are data."""

from typing import Any, TextIO

import yaml
from mmengine.fileio import register_handler
from mmengine.fileio.handlers import YamlHandler

from .errors import ConfigError

# In C where PyYAML has it: MMDetection's index of configs takes seconds in Python
SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class SafeYamlHandler(YamlHandler):
    """Reads YAML without the tags of Python objects, which PyYAML's loader calls."""

    def load_from_fileobj(self, file: TextIO, **kwargs: Any) -> Any:
        """Read a file, whatever loader is asked for.

        Raises:
            ConfigError: It is no YAML, or has a tag of something other than data.
        """
        try:
            return yaml.load(file, Loader=SAFE_LOADER)
        except yaml.YAMLError as error:
            raise ConfigError(f"YAML: {' '.join(str(error).split())}") from error


def use_safe_yaml() -> None:
    """Make MMEngine read YAML by a safe loader, from now on: configs, and their bases.

    Example:
        >>> from mmengine.config import Config
        >>> use_safe_yaml()
        >>> Config.fromstring('lr: 0.1', '.yaml').lr
        0.1
    """
    register_handler(["yaml", "yml"])(SafeYamlHandler)
