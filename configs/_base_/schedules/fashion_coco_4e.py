# A short schedule of our own for composed detection: 4 epochs, the learning rate
# falling as a cosine after a warm-up
max_epochs = 4
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="Adam", lr=1e-3),
    clip_grad=dict(max_norm=20),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, end=50),
    dict(
        type="CosineAnnealingLR",
        begin=1,
        end=max_epochs,
        T_max=max_epochs - 1,
        eta_min_ratio=0.02,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=2)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
auto_scale_lr = dict(base_batch_size=4)
