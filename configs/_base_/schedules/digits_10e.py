# A short schedule of our own for small images: 10 epochs, the learning rate falling as
# a cosine after a warm-up of one
max_epochs = 10
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=1, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        begin=1,
        end=max_epochs,
        T_max=max_epochs - 1,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=64)
