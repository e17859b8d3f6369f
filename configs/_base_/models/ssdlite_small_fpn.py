# SSDLite on a MobileNetV2 of half the width, small enough for one CPU core: from
# scratch, 160x160 pixels, maps of 20x20, 10x10 and 5x5. To learn from 1,000 images in a
# few epochs it has an FPN, so that the finest map is more than 16 channels of an early
# stage, and square anchors alone, two a place, each matched from an IoU of 0.4 on.
model = dict(
    type="attnpool_mm.AttnPoolDetector",
    detector="SingleStageDetector",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[127.5] * 3,
        std=[127.5] * 3,
        bgr_to_rgb=True,
        pad_size_divisor=1,
    ),
    backbone=dict(
        type="attnpool_mm.AttnPoolMobileNetV2",
        widen_factor=0.5,
        out_indices=(2, 4, 7),
    ),
    neck=dict(
        type="FPN",
        in_channels=None,
        out_channels=64,
        num_outs=3,
        norm_cfg=dict(type="BN"),
    ),
    bbox_head=dict(
        type="attnpool_mm.SSDHead",
        in_channels=[64] * 3,
        num_classes=10,
        use_depthwise=True,
        norm_cfg=dict(type="BN"),
        act_cfg=dict(type="ReLU6"),
        init_cfg=dict(type="Normal", layer="Conv2d", std=0.01),
        anchor_generator=dict(
            type="SSDAnchorGenerator",
            scale_major=False,
            strides=[8, 16, 32],
            ratios=[[]] * 3,
            min_sizes=[14, 32, 70],
            max_sizes=[32, 70, 150],
        ),
        bbox_coder=dict(
            type="DeltaXYWHBBoxCoder",
            target_means=[0.0, 0.0, 0.0, 0.0],
            target_stds=[0.1, 0.1, 0.2, 0.2],
        ),
    ),
    train_cfg=dict(
        assigner=dict(
            type="MaxIoUAssigner",
            pos_iou_thr=0.4,
            neg_iou_thr=0.4,
            min_pos_iou=0.0,
            ignore_iof_thr=-1,
            gt_max_assign_all=False,
        ),
        sampler=dict(type="PseudoSampler"),
        smoothl1_beta=1.0,
        allowed_border=-1,
        pos_weight=-1,
        neg_pos_ratio=3,
        debug=False,
    ),
    test_cfg=dict(
        nms_pre=1000,
        nms=dict(type="nms", iou_threshold=0.45),
        min_bbox_size=0,
        score_thr=0.02,
        max_per_img=20,
    ),
)
# MMDetection's own SSD head (3.3 to 3.5) cannot predict
custom_imports = dict(imports=["attnpool_mm.models.heads"])
