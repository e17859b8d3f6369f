# MMDetection's COCO 2017 in data/coco, or in coco/ of the folder that ATTNPOOL_DATA
# names
_base_ = "mmdet::_base_/datasets/coco_detection.py"

data_root = "{{$ATTNPOOL_DATA:data}}/coco/"
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader

val_evaluator = dict(ann_file=data_root + "annotations/instances_val2017.json")
test_evaluator = val_evaluator
