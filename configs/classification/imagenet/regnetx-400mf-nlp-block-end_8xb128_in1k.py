# MMPretrain's RegNetX-400MF and its recipe, with self-attentive pooling after each
# block that shrinks its map. Patches keep the tokens few: 14x14 in every pool.
_base_ = "mmpretrain::regnet/regnetx-400mf_8xb128_in1k.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="attnpool_mm.PooledBackbone",
        backbone=_base_.model.backbone,
        pool_cfg=[
            dict(
                type="SelfAttentivePool2d",
                patch_size=patch_size,
                num_heads=2,
                normalize=False,
            )
            for patch_size in (8, 4, 2, 1)
        ],
    )
)

data_root = "{{$ATTNPOOL_DATA:data}}/imagenet"
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
