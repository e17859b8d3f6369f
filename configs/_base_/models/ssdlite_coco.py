# MMDetection's SSDLite on MobileNetV2, 320x320 pixels, from scratch. COCO in data/coco,
# or in coco/ of the folder that ATTNPOOL_DATA names.
_base_ = "mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py"

# MMDetection's own SSD head (3.3 to 3.5) cannot predict
custom_imports = dict(imports=["attnpool_mm.models.heads"])
model = dict(bbox_head=dict(type="attnpool_mm.SSDHead"))

data_root = "{{$ATTNPOOL_DATA:data}}/coco/"
train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root)))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader

val_evaluator = dict(ann_file=data_root + "annotations/instances_val2017.json")
test_evaluator = val_evaluator
