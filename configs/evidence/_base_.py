# What all plans on Fashion-MNIST share: 10,000 training images, all test images, 4
# epochs. The learning rate warms up for an epoch and falls as a cosine.
metric = "accuracy/top1"
options = {
    "train_dataloader.dataset.indices": 10000,
    # decoded images in memory: workers would take more than they give
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
    "val_dataloader.batch_size": 250,
    "optim_wrapper.optimizer.lr": 0.1,
    "optim_wrapper.optimizer.nesterov": True,
    # faster on a CPU: a MobileNetV2 twice, a ResNet by a third
    "default_hooks.channels_last": dict(type="attnpool_mm.ChannelsLastHook"),
    "train_cfg.max_epochs": 4,
    "param_scheduler.1.end": 4,
    "param_scheduler.1.T_max": 3,
}
