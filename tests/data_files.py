"""Small data sets, written to disk in the format of the real ones."""

from pathlib import Path

import numpy as np


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
