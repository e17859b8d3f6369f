# Detection of Fashion-MNIST's items on photographs, small enough for CPU cores: two
# detectors, from scratch, 1,000 training images and 250 for validation, of
#     python tools/dataset_converters/compose_coco.py fashion-mnist
# Faster R-CNN trains for 4 epochs, SSDLite for 6. All trainings take about 2.5 hours on
# one core, one of them at most 7 minutes (NLP), by the processor time of their steps on
# a busy machine.
# Every validation has AP by size. SPEM and 'strided as published' halve the maps in
# strided convolutions; the others do where the pools stand. SPEM starts with its blocks
# nearly closed (y = 0.03 x): that it loses after 4 epochs would say nothing of a whole
# training. NLP has two heads and no window normalisation.
configs = {
    "Faster R-CNN": "../detection/faster_rcnn/"
    "faster-rcnn_resnet18-half-strided_fpn_1xb4-4e_fashion-coco.py",
    "SSDLite": "../detection/ssd/"
    "ssdlite_mobilenetv2-half-strided_fpn_1xb4-6e_fashion-coco.py",
}
axes = dict(
    pool={
        "strided as published": {},
        "strided": {"model.backbone.pool_cfg": dict(type="StridedConv2d")},
        "LIP": {"model.backbone.pool_cfg": dict(type="LocalImportancePool2d")},
        "NLP, patch 2": {
            "model.backbone.pool_cfg": dict(
                type="SelfAttentivePool2d", num_heads=2, normalize=False, patch_size=2
            )
        },
        "SPEM": {
            "model.backbone.attention_cfg": dict(type="SPEM"),
            "optim_wrapper.constructor": "attnpool_mm.SPEMOptimWrapperConstructor",
        },
    }
)
# one process a training
options = {
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
}
seeds = 3
metric = "coco/bbox_mAP"
reference = dict(pool="strided as published")
