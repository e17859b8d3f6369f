_base_ = "./resnet20-strided_1xb64_fashion-mnist.py"

model = dict(
    backbone=dict(
        pool_cfg=dict(type="SelfAttentivePool2d", num_heads=2, normalize=False)
    )
)
