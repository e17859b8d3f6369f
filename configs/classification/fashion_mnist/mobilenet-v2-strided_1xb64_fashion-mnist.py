# MobileNetV2 of width 0.35. Its stem keeps the image's size, and the last map has 2x2.
_base_ = "./resnet20-strided_1xb64_fashion-mnist.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="attnpool_mm.AttnPoolMobileNetV2",
        widen_factor=0.35,
        in_channels=1,
        stem_stride=1,
        pool_position="first_block",
    )
)
