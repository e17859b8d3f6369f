"""MMDetection's SSD head, able to predict."""

from mmdet.models.dense_heads import SSDHead as MMDetSSDHead

from ..registry import MODELS


@MODELS.register_module()
class SSDHead(MMDetSSDHead):
    """MMDetection's `SSDHead`, with the attribute that its prediction asks for.

    Since 3.3 the dense heads of MMDetection look at their `loss_cls` when they
    predict, and its SSD head has none: testing an SSD ends in an AttributeError.

    Example:
        >>> config = dict(
        ...     custom_imports=dict(imports=['attnpool_mm.models.heads']),
        ...     model=dict(bbox_head=dict(type='attnpool_mm.SSDHead')))
    """

    loss_cls = None
