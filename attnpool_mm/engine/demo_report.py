"""The page that shows what the demo did."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

from ..analysis.curves import draw_curves
from ..analysis.logs import read_work_dir
from ..analysis.report import Picture, Section, render_report
from ..utils.atomic_files import write_atomically

INTRODUCTION = (
    "A ResNet-18 with self-attentive pooling learns scikit-learn's handwritten digits."
)
HANDED_OVER = (
    " Its weights are handed to a Faster R-CNN with the same backbone, which learns to "
    "find digits composed on photographs."
)
WEIGHTS = (
    "Below: images of the test set, and laid over each the mean weight of every pool, "
    "from blue, the smallest, to red, the largest. The captions in the pictures give "
    "both. A pool starts from one weight everywhere; where the two are nearly equal "
    "the colours mean little."
)
DETECTIONS = (
    "Left the truth, right what was detected with a score of at least 0.5. Blue is "
    "right, orange is wrong or missed. A detection is right if its digit is, and its "
    "box covers the true one with an IoU of at least 0.5. These are the images with "
    "the highest F1, and then, of those where anything was detected, some with the "
    "lowest."
)


def write_demo_report(
    path: Path, results: Mapping[str, str], steps: Mapping[str, Mapping]
) -> None:
    """Write a page of what is in the demo's work folder.

    Args:
        path (Path): The page, in that folder.
        results (Mapping[str, str]): Name → value, the rows of the table.
        steps (Mapping[str, Mapping]): Name → `command` and `seconds` of what ran.
    """
    work_dir = path.parent
    sections = [
        Section("Results", table=[("what", "value"), *results.items()]),
        Section(
            "The classifier",
            "Single digits of 8×8 pixels, enlarged to 32×32.",
            pictures=[_curves(work_dir / "classifier", {"accuracy/top1": "accuracy"})],
        ),
        Section(
            "Where the classifier's pools look",
            WEIGHTS,
            pictures=_weights(work_dir / "classifier_weights"),
        ),
    ]
    introduction = INTRODUCTION
    if "detections" in steps:
        introduction += HANDED_OVER
        metrics = {"coco/bbox_mAP": "mAP", "coco/bbox_mAP_50": "mAP50"}
        sections += [
            Section(
                "The detector",
                "mAP is COCO's, the mean over IoUs of 0.5 to 0.95; mAP50 is at 0.5.",
                pictures=[_curves(work_dir / "detector", metrics)],
            ),
            _detections(work_dir / "detections"),
            Section(
                "Where the detector's pools look",
                pictures=_weights(work_dir / "pooling_weights"),
            ),
        ]
    commands = [
        (name, f"{step['seconds']:.0f}", shlex.join(["python", *step["command"]]))
        for name, step in steps.items()
    ]
    sections.append(
        Section("How it was made", table=[("step", "seconds", "command"), *commands])
    )
    page = render_report("The demo of attnpool_mm", introduction, sections)
    write_atomically(path, page.encode())


def _curves(folder: Path, metrics: Mapping[str, str]) -> Picture:
    names = " and ".join(metrics.values())
    caption = f"The loss over the training, and {names} on images not trained on"
    return Picture(draw_curves(read_work_dir(folder), metrics), caption, wide=True)


def _weights(folder: Path) -> list[Picture]:
    return [
        Picture(path, f"Test image {int(path.stem)}, and the pools' weights", wide=True)
        for path in sorted(folder.glob("*.png"))
    ]


def _detections(folder: Path) -> Section:
    captions = json.loads((folder / "captions.json").read_text())
    pictures = [
        Picture(folder / name, f"{Path(name).stem.replace('_', ' ')}: {caption}")
        for name, caption in captions.items()
    ]
    text = DETECTIONS if pictures else "Nothing, with a score of at least 0.5."
    return Section("What it detects", text, pictures=pictures)
