"""Self-attentive pooling and SPEM attention for MMPretrain and MMDetection."""

from mmengine.config.utils import MODULE2PACKAGE

from .version import __version__

# MMEngine resolves 'package::path/of/config.py' for the packages in this table alone.
# A module in the place of the distribution's name: of a distribution, MMEngine 0.10.7
# takes the folder beside its metadata, where an editable install has nothing.
MODULE2PACKAGE.setdefault(__name__, f"{__name__}.version")

__all__ = ["__version__"]
