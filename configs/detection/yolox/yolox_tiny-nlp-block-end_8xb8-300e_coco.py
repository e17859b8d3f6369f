# MMDetection's YOLOX-tiny and its recipe, with self-attentive pooling after each
# convolution behind the stem that shrinks the map. Patches keep the tokens few: 26x26
# in every pool on a test image of 416 pixels.
_base_ = "mmdet::yolox/yolox_tiny_8xb8-300e_coco.py"

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

data_root = "{{$ATTNPOOL_DATA:data}}/coco/"
train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root)))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader

val_evaluator = dict(ann_file=data_root + "annotations/instances_val2017.json")
test_evaluator = val_evaluator
