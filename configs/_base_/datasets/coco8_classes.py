# The 8 classes of COCO that the authors of self-attentive pooling train on, in COCO's
# order
metainfo = dict(
    classes=(
        "person",
        "bicycle",
        "car",
        "motorcycle",
        "bus",
        "train",
        "truck",
        "traffic light",
    )
)
