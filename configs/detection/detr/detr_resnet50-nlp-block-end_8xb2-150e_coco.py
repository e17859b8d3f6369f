# MMDetection's DETR and its recipe, with self-attentive pooling after each block behind
# the stem that shrinks the map. Patches keep the tokens few: 50x84 in every pool on a
# test image of 800x1333 pixels.
_base_ = "mmdet::detr/detr_r50_8xb2-150e_coco.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="attnpool_mm.PooledBackbone",
        backbone=dict(
            _base_.model.backbone,
            # The pools' norms have statistics to learn
            norm_eval=False,
            norm_cfg=dict(type="BN", requires_grad=True),
        ),
        pool_cfg=[
            dict(
                type="SelfAttentivePool2d",
                patch_size=patch_size,
                num_heads=2,
                normalize=False,
            )
            for patch_size in (4, 2, 1)
        ],
    )
)

# The backbone's weights are pretrained, at a tenth of the learning rate; its pools' not
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            f"layer{stage}.pool": dict(lr_mult=1.0, decay_mult=1.0)
            for stage in (2, 3, 4)
        }
    )
)

data_root = "{{$ATTNPOOL_DATA:data}}/coco/"
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader

val_evaluator = dict(ann_file=data_root + "annotations/instances_val2017.json")
test_evaluator = val_evaluator
