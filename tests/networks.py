"""The networks that pools are put into: how to build a small one of each."""

from collections.abc import Callable
from functools import partial

import timm
import torchvision
from mmengine.registry import DefaultScope
from torch import nn

from attnpool_mm.registry import MODELS

FOUR = dict(out_indices=(0, 1, 2, 3))
# Smaller than any published HRNet
HRNET = {
    f"stage{i}": dict(
        num_modules=1,
        num_branches=i,
        block="BOTTLENECK" if i == 1 else "BASIC",
        num_blocks=(1,) * i,
        num_channels=(64,) if i == 1 else tuple(8 * 2**j for j in range(i)),
    )
    for i in range(1, 5)
}


def from_config(kind: str, **kwargs) -> nn.Module:
    """A backbone of OpenMMLab's, in the scope of its framework."""
    with DefaultScope.overwrite_default_scope(kind.partition(".")[0]):
        return MODELS.build(dict(type=kind, **kwargs))


MMPRETRAIN = {
    "ResNet": dict(depth=18, **FOUR),
    "ResNetV1d": dict(depth=50, base_channels=16, **FOUR),
    "ResNeXt": dict(depth=50, **FOUR),
    "SEResNet": dict(depth=50, **FOUR),
    "Res2Net": dict(depth=50, deep_stem=False, **FOUR),
    "ResNeSt": dict(depth=50, **FOUR),
    "RegNet": dict(arch="regnetx_400mf", **FOUR),
    "MobileNetV2": dict(widen_factor=0.35, out_indices=(1, 2, 4, 7)),
    "MobileNetV3": dict(arch="small_050"),
    "ShuffleNetV2": dict(widen_factor=0.5, out_indices=(0, 1, 2)),
    "EfficientNet": dict(arch="b0"),
    "ConvNeXt": dict(arch="atto", **FOUR),
    "DenseNet": dict(
        arch=dict(growth_rate=8, depths=[2, 2, 2, 2], init_channels=16), **FOUR
    ),
    "VGG": dict(depth=11, norm_cfg=dict(type="BN")),
    "RepVGG": dict(arch="A0", **FOUR),
    "CSPDarkNet": dict(depth=53, out_indices=(1, 2, 3, 4)),
    "HRNet": dict(extra=HRNET, multiscale_output=True),
}
MMDET = {
    "ResNet": dict(depth=18, **FOUR),
    "ResNeXt": dict(depth=50, groups=32, base_width=4, **FOUR),
    "RegNet": dict(arch="regnetx_400mf", **FOUR),
    "MobileNetV2": dict(widen_factor=0.5),
    "CSPDarknet": dict(deepen_factor=0.33, widen_factor=0.125),
    "CSPNeXt": dict(deepen_factor=0.167, widen_factor=0.125, expand_ratio=0.5),
}
TORCHVISION = {
    "resnet18": {},
    "mobilenet_v2": dict(width_mult=0.5),
    "mobilenet_v3_small": {},
    "regnet_x_400mf": {},
    "shufflenet_v2_x0_5": {},
    "efficientnet_b0": {},
    "convnext_tiny": {},
    "densenet121": {},
    "vgg11_bn": {},
    "squeezenet1_1": {},
    "googlenet": dict(init_weights=False, aux_logits=False),
}
TIMM = (
    "regnety_002",  # stages that run whatever is in them
    "resnet18d",
    "convnext_atto",
    "tf_efficientnet_b0",  # convolutions that pad by a rule of their own
    "mobilenetv4_conv_small",
    "ghostnet_050",  # blocks of blocks
    "nf_resnet26",
    "ese_vovnet19b_dw",
)
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{f"mmpretrain-{k}": partial(from_config, f"mmpretrain.{k}", **v)
       for k, v in MMPRETRAIN.items()},
    **{f"mmdet-{k}": partial(from_config, f"mmdet.{k}", **v)
       for k, v in MMDET.items()},
    **{f"torchvision-{k}": partial(getattr(torchvision.models, k), weights=None, **v)
       for k, v in TORCHVISION.items()},
    **{f"timm-{k}": partial(timm.create_model, k) for k in TIMM},
}  # fmt: skip
REFUSED: dict[str, Callable[[], nn.Module]] = {
    "mmpretrain-Swin": partial(from_config, "mmpretrain.SwinTransformer", arch="tiny"),
    "mmdet-Swin": partial(from_config, "mmdet.SwinTransformer", depths=(1, 1, 1, 1)),
    "timm-Swin": partial(timm.create_model, "swin_tiny_patch4_window7_224"),
    "torchvision-ViT": partial(torchvision.models.vit_b_32, weights=None),
    "torchvision-Inception": partial(
        torchvision.models.inception_v3,
        weights=None,
        init_weights=False,
        aux_logits=False,
    ),
    "timm-blurred ResNet": partial(timm.create_model, "resnetblur18"),
}
