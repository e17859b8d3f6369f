_base_ = "./ssdlite_mobilenetv2-half-strided_fpn_1xb4-6e_fashion-coco.py"

model = dict(
    backbone=dict(
        pool_cfg=dict(
            type="SelfAttentivePool2d", num_heads=2, normalize=False, patch_size=2
        )
    )
)
