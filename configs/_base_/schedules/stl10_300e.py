# 300 epochs; the learning rate falls to a fifth after 60, 80 and 90 % of them
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0)
)
param_scheduler = dict(
    type="MultiStepLR", by_epoch=True, milestones=[180, 240, 270], gamma=0.2
)
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=8)
