"""Small data sets, written to disk in the format of the real ones."""

import json
import pickle
import struct
from hashlib import md5
from pathlib import Path

import cv2
import numpy as np

CLASS_COLOURS = {"blue": (40, 60, 200), "red": (200, 30, 20)}


def write_stl10(folder, train=20, test=12, unlabeled=8, fold_size=5, seed=0):
    """Write the files of STL-10 into `folder`, with random pixels.

    Returns each split's images, (N, 96, 96, 3) RGB, and labels from 0 to 9 (None for
    the unlabeled ones). Read them with `STL10(folder, check="format")`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    written = {}
    for split, count in dict(train=train, test=test, unlabeled=unlabeled).items():
        images = rng.integers(256, size=(count, 96, 96, 3), dtype=np.uint8)
        with open(folder / f"{split}_X.bin", "wb") as file:
            for image in images:
                for channel in range(3):
                    for column in range(96):
                        file.write(image[:, column, channel].tobytes())
        labels = None
        if split != "unlabeled":
            labels = rng.permutation(np.arange(count) % 10)
            (folder / f"{split}_y.bin").write_bytes(bytes((labels + 1).tolist()))
        written[split] = images, labels
    folds = [rng.choice(train, fold_size, replace=False) for _ in range(10)]
    lines = ("".join(f"{index} " for index in fold) + "\n" for fold in folds)
    (folder / "fold_indices.txt").write_text("".join(lines))
    names = "airplane bird car cat deer dog horse monkey ship truck"
    (folder / "class_names.txt").write_text(names.replace(" ", "\n") + "\n")
    return written


# Each image's width and height, its boxes as (category, bbox, iscrowd), and whether a
# person's box covers at least 0.5 % of it.
COCO_IMAGES = [
    ((100, 80), [("person", [10, 10, 40, 60], 0)], 1),
    ((100, 80), [], 0),
    ((100, 80), [("person", [10, 10, 8, 5], 0)], 1),  # 40 of 8,000 pixels: 0.5 %
    ((100, 80), [("person", [10, 10, 8, 4.99], 0)], 0),
    ((80, 100), [("dog", [5, 5, 70, 90], 0), ("person", [1, 1, 3, 3], 0)], 0),
    ((160, 120), [("person", [1, 1, 3, 3], 0), ("person", [0, 0, 16, 6], 0)], 1),
    ((160, 120), [("person", [0, 0, 159, 50], 1)], 1),
    ((120, 90), [("person", [9, 9, 5, 5], 0), ("person", [0, 0, 90, 90], 1)], 1),
    ((120, 90), [("person", [9, 9, 5, 5], 0)] * 9, 0),  # small ones do not add up
    ((64, 64), [("dog", [0, 0, 64, 64], 1)], 0),
]
COCO_CATEGORIES = dict(dog=1, cat=2, person=7)


def write_coco(folder, split="val2017", seed=0, categories=COCO_CATEGORIES):
    """Write `COCO_IMAGES` into `folder`, laid out as COCO 2017, with random pixels.

    `categories` are the numbers of the categories by name. A person's mask has half
    the area of its box. Returns the label of each image in Visual Wake Words, by its
    file name, in the order of the json.
    """
    folder = Path(folder)
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / split).mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    images, annotations, labels = [], [], {}
    for index in rng.permutation(len(COCO_IMAGES)):
        (width, height), boxes, label = COCO_IMAGES[index]
        image_id = 1000 + 37 * int(index)
        name = f"{image_id:012d}.jpg"
        pixels = rng.integers(256, size=(height, width, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / split / name), pixels)
        size = dict(width=width, height=height)
        images.append(dict(id=image_id, file_name=name, **size))
        labels[name] = label
        for category, (x, y, w, h), iscrowd in boxes:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=categories[category],
                    bbox=[x, y, w, h],
                    segmentation=[[x, y, x + w, y, x, y + h]],
                    area=w * h / 2,
                    iscrowd=iscrowd,
                )
            )
    rng.shuffle(annotations)
    named = [dict(id=i, name=name) for name, i in categories.items()]
    coco = dict(images=images, annotations=annotations, categories=named)
    path = folder / "annotations" / f"instances_{split}.json"
    path.write_text(json.dumps(coco))
    return labels


def write_cifar(folder, num_classes=10, train=20, test=12, seed=0):
    """Write the Python version of CIFAR-10 or CIFAR-100, with random pixels.

    Returns each file's MD5 sum by its name.
    """
    ten = num_classes == 10
    folder = Path(folder) / ("cifar-10-batches-py" if ten else "cifar-100-python")
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    splits = {f"data_batch_{i}": train // 5 for i in range(1, 6)} if ten else {}
    splits |= {"test_batch": test} if ten else {"train": train, "test": test}
    files = {}
    for name, count in splits.items():
        pixels = rng.integers(256, size=(count, 3 * 32 * 32), dtype=np.uint8)
        labels = (rng.permutation(count) % num_classes).tolist()
        files[name] = {"data": pixels, "labels" if ten else "fine_labels": labels}
    names = [f"class {i}" for i in range(num_classes)]
    if ten:
        files["batches.meta"] = {"label_names": names}
    else:
        files["meta"] = {"fine_label_names": names}
    for name, content in files.items():
        (folder / name).write_bytes(pickle.dumps(content))
    return {n: md5((folder / n).read_bytes()).hexdigest() for n in files}


def write_mnist(folder, train=20, test=12, seed=0):
    """Write MNIST's four files, unpacked, with random pixels.

    Returns each split's images, (N, 28, 28), and labels.
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    written = {}
    for split, prefix, count in (("train", "train", train), ("test", "t10k", test)):
        pixels = rng.integers(256, size=(count, 28, 28), dtype=np.uint8)
        labels = (rng.permutation(count) % 10).astype(np.uint8)
        image_head = struct.pack(">IIII", 0x803, count, 28, 28)
        label_head = struct.pack(">II", 0x801, count)
        images = image_head + pixels.tobytes()
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(images)
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(
            label_head + labels.tobytes()
        )
        written[split] = pixels, labels
    return written


def write_class_folders(root, count=10, side=24):
    """A folder a class, whose images are rectangles of its colour on black."""
    for name, colour in CLASS_COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            image = np.zeros((side, side, 3), np.uint8)
            image[4 : 14 + number // 2, 3:21] = colour
            cv2.imwrite(str(root / name / f"{number}.png"), image[..., ::-1])
    return root


def write_imagenet(folder, seed=0):
    """Write ImageNet's 1,000 folders of training and validation images.

    Each has one image, and all are the same one, of random pixels.
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    pixels = rng.integers(256, size=(80, 100, 3), dtype=np.uint8)
    first = folder / "image.jpg"
    cv2.imwrite(str(first), pixels)
    for split in ("train", "val"):
        for i in range(1000):
            image = folder / split / f"n{i:08d}" / f"{split}_{i}.JPEG"
            image.parent.mkdir(parents=True)
            image.hardlink_to(first)
