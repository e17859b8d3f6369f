# A schedule of our own, not a published one: 60 epochs from scratch, the learning rate
# falling as a cosine
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.0125, momentum=0.9, weight_decay=4e-5)
)
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=True, T_max=60)
train_cfg = dict(by_epoch=True, max_epochs=60, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=64)
