# The schedule of the authors of self-attentive pooling: 20 epochs, 16 images a step.
# Another MobileNetV2: --cfg-options model.backbone.arch=KEYWORD
_base_ = "../../_base_/models/ssdlite_keyword.py"

train_dataloader = dict(
    batch_size=16,
    # without RepeatDataset
    dataset=dict(_delete_=True, **_base_.train_dataloader.dataset.dataset),
)

max_epochs = 20
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="CosineAnnealingLR", T_max=max_epochs, end=max_epochs, eta_min=0),
]
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.015, momentum=0.9, weight_decay=4e-5)
)
auto_scale_lr = dict(base_batch_size=16)
