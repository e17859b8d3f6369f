"""Self-attentive pooling and SPEM attention for MMPretrain and MMDetection."""

from mmengine.config.utils import MODULE2PACKAGE

from .version import __version__

# MMEngine resolves 'package::path/of/config.py' for the packages in this table alone
MODULE2PACKAGE.setdefault(__name__, __name__)

__all__ = ["__version__"]
