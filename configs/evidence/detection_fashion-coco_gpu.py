# The same comparison for a GPU: 12,000 training images, with most of Fashion-MNIST's
# items, and 2,000 for validation, 24 epochs, 5 seeds, of
#     python tools/dataset_converters/compose_coco.py fashion-mnist \
#         data/fashion_coco_large --train-images 12000 --val-images 2000
_base_ = "./detection_fashion-coco.py"

options = {
    "_delete_": True,
    "train_dataloader.batch_size": 32,
    "train_dataloader.num_workers": 8,
    "train_dataloader.dataset.data_root": "{{$ATTNPOOL_DATA:data}}/fashion_coco_large/",
    "val_dataloader.num_workers": 4,
    "val_dataloader.dataset.data_root": "{{$ATTNPOOL_DATA:data}}/fashion_coco_large/",
    "val_evaluator.ann_file": "{{$ATTNPOOL_DATA:data}}/fashion_coco_large/"
    "annotations/val.json",
    "train_cfg.max_epochs": 24,
    "train_cfg.val_interval": 4,
    "param_scheduler.1.end": 24,
    "param_scheduler.1.T_max": 23,
}
seeds = 5
