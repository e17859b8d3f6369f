# Faster R-CNN on digits composed on photographs, small enough for two CPU cores:
# 128x128 images, few proposals, a narrow head.
_base_ = [
    "../_base_/models/faster-rcnn_resnet18-nlp_fpn.py",
    "../_base_/datasets/digits_coco.py",
    "mmdet::_base_/default_runtime.py",
]

model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        frozen_stages=-1,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="work_dirs/demo/classifier/epoch_10.pth",
            prefix="backbone.",
        ),
    ),
    neck=dict(out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[6])),
    roi_head=dict(
        bbox_roi_extractor=dict(
            out_channels=64, roi_layer=dict(output_size=7, sampling_ratio=2)
        ),
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=10),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=dict(sampler=dict(num=32)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100), rcnn=dict(max_per_img=20)),
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
