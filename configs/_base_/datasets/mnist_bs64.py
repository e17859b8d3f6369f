# MNIST in data/mnist, or in mnist/ of the folder that ATTNPOOL_DATA names; MMPretrain
# downloads it there. 28x28 pixels, enlarged to 32x32.
dataset_type = "attnpool_mm.MNIST"
data_root = "{{$ATTNPOOL_DATA:data}}/mnist"
data_preprocessor = dict(
    num_classes=10,
    mean=[33.46, 33.46, 33.46],
    std=[78.87, 78.87, 78.87],
    # the three channels are equal
    to_rgb=False,
)

# the backbones take three channels; torchvision makes them of one, or of a photograph's
three_channels = [
    # grey images pass: OpenCV repeats their one channel
    dict(type="NumpyToPIL", to_rgb=True),
    dict(type="torchvision/Grayscale", num_output_channels=3),
    dict(type="PILToNumpy"),
]
# no flip: a mirrored digit is another sign
train_pipeline = [
    *three_channels,
    dict(type="Resize", scale=32),
    dict(type="RandomCrop", crop_size=32, padding=4),
    dict(type="PackInputs"),
]
test_pipeline = [
    *three_channels,
    dict(type="Resize", scale=32),
    dict(type="PackInputs"),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split="train",
        download=True,
        pipeline=train_pipeline,
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
        download=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type="Accuracy", topk=(1,))
test_evaluator = val_evaluator
