# As imagenet_bs32.py, the images resized by Pillow
_base_ = "mmpretrain::_base_/datasets/imagenet_bs32_pil_resize.py"

data_root = "{{$ATTNPOOL_DATA:data}}/imagenet"
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
