# ablations.py for a GPU: ResNet-20 of full width, all training images, 30 epochs, 5
# seeds, CIFAR-10 too, and patch 1 beside patch 2. 120 trainings; not run here.
_base_ = "./ablations.py"

configs = {
    "_delete_": True,
    "Fashion-MNIST": (
        "../classification/fashion_mnist/resnet20-strided_1xb64_fashion-mnist.py"
    ),
    "CIFAR-10": "../classification/cifar10/resnet20_1xb128_cifar10.py",
}
options = {
    "train_dataloader.dataset.indices": None,
    "train_cfg.max_epochs": 30,
    "param_scheduler.1.end": 30,
    "param_scheduler.1.T_max": 29,
    "model.backbone.depth": 20,
    "model.backbone.base_channels": 16,
    "model.backbone.stem_channels": 16,
}
axes = dict(
    pool={
        f"{name}patch 1": {
            "model.backbone.pool_cfg": dict(
                type="SelfAttentivePool2d", patch_size=1, normalize=normalize
            )
        }
        for name, normalize in (("NLP, ", False), ("normalised, ", True))
    }
)
seeds = 5
