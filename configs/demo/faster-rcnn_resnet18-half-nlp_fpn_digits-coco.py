# Faster R-CNN on digits composed on photographs, small enough for two CPU cores:
# 128x128 images, half the width, few proposals, a narrow head. It starts from the
# classifier's weights.
_base_ = [
    "../_base_/models/faster-rcnn_small_fpn.py",
    "../_base_/datasets/digits_coco.py",
    "mmdet::_base_/default_runtime.py",
]

model = dict(
    backbone=dict(
        pool_cfg=dict(type="SelfAttentivePool2d", num_heads=2, normalize=False),
        pool_position="stage_end",
        norm_eval=False,  # the pools' norms learn
        init_cfg=dict(
            type="Pretrained",
            checkpoint="work_dirs/demo/classifier/epoch_10.pth",
            prefix="backbone.",
        ),
    ),
)

max_epochs = 4
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=2)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=7e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=20),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, end=30),
    dict(
        type="CosineAnnealingLR",
        begin=1,
        end=max_epochs,
        T_max=max_epochs - 1,
        eta_min_ratio=0.05,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(
    logger=dict(interval=25),
    checkpoint=dict(max_keep_ckpts=1),
    visualization=dict(score_thr=0.5),
)
randomness = dict(seed=0)
