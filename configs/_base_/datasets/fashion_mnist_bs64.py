# Fashion-MNIST in data/fashion-mnist, or in fashion-mnist/ of the folder that
# ATTNPOOL_DATA names: with Debian's package dataset-fashion-mnist /usr/share/datasets.
# One channel; 28x28 pixels in a margin of zeros, the background, of 32x32.
dataset_type = "attnpool_mm.FashionMNIST"
data_root = "{{$ATTNPOOL_DATA:data}}/fashion-mnist"
data_preprocessor = dict(
    num_classes=10,
    # of all pixels of the 60,000 training images, without the margin
    mean=[72.94],
    std=[90.02],
    to_rgb=False,
)

train_pipeline = [
    dict(type="Resize", scale=28),  # their size already; another image size scales it
    # the margin alone: in a training of a few epochs random shifts cost accuracy
    dict(type="RandomCrop", crop_size=32, padding=2),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="Resize", scale=28),
    # a photograph's three channels become one; OpenCV repeats a grey image's for PIL
    dict(type="NumpyToPIL", to_rgb=True),
    dict(type="torchvision/Grayscale"),
    dict(type="torchvision/CenterCrop", size=32),  # pads
    dict(type="PILToNumpy"),
    dict(type="PackInputs"),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type=dataset_type, data_root=data_root, split="train", pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split="test",
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type="Accuracy", topk=(1,))
test_evaluator = val_evaluator
