"""Detections beside the truth: what is right on each image, and pictures of it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..utils.errors import ConfigError

RIGHT, WRONG = (70, 200, 255), (255, 130, 40)  # RGB, told apart by all eyes
PICTURE_SIZE = 512  # to which a small image is enlarged, in pixels
HEADER, GAP, MARGIN = 40, 8, 3


class Box(NamedTuple):
    """A box of the truth, or of a detector.

    Attributes:
        corners: x and y of the upper left corner and of the lower right one, in pixels.
        label: The name of its class.
        right: Whether the other side has its like: the same class, and an IoU of at
            least what was asked for.
        score: The detector's, None in the truth.
    """

    corners: tuple[float, float, float, float]
    label: str
    right: bool
    score: float | None = None


class JudgedImage(NamedTuple):
    """What is on an image, and what was detected there.

    Attributes:
        file_name: Its name in the annotations.
        truth: Its boxes, crowds left out.
        found: The detections, the surest first; those that lie in a crowd, which are
            neither right nor wrong, left out.
    """

    file_name: str
    truth: list[Box]
    found: list[Box]

    @property
    def hits(self) -> int:
        """How many detections are right."""
        return sum(box.right for box in self.found)

    @property
    def f1(self) -> float:
        """2 · hits / (detections + boxes of the truth), 1 where there are none."""
        boxes = len(self.found) + len(self.truth)
        return 2 * self.hits / boxes if boxes else 1.0


def judge_images(
    ann_file: str | Path,
    predictions: Sequence[Mapping],
    score: float = 0.5,
    iou: float = 0.5,
) -> list[JudgedImage]:
    """Match detections with the truth, as COCO's evaluation does at one threshold.

    Args:
        ann_file (str | Path): The truth, in COCO's format.
        predictions (Sequence[Mapping]): The detections, in the format of COCO's
            results: `image_id`, `category_id`, `bbox` and `score` each.
        score (float): Detections below it are left out. Default: 0.5.
        iou (float): The least IoU of what is right. Default: 0.5.

    Returns:
        The images, in the order of the file.

    Raises:
        ConfigError: A detection is on an image, or of a class, that the file does not
            have; or a box of the file is of no such class, or smaller than nothing.
    """
    kept = [dict(result) for result in predictions if result["score"] >= score]
    with redirect_stdout(StringIO()):  # pycocotools says how far it is
        truth = COCO(str(ann_file))
        for kind, known in (("image", truth.imgs), ("category", truth.cats)):
            absent = {result[f"{kind}_id"] for result in kept} - set(known)
            if absent:
                raise ConfigError(
                    f"predictions: {ann_file} has no {kind} of id "
                    f"{min(absent, key=str)}; those of the same data set are accepted"
                )
        for row in truth.anns.values():
            if row["category_id"] not in truth.cats or min(row["bbox"][2:]) < 0:
                raise ConfigError(
                    f"{ann_file}: the annotation of id {row['id']} has "
                    f"category_id={row['category_id']!r}, bbox={row['bbox']}; a "
                    "category of the file, and a width and a height, are expected"
                )
        found = truth.loadRes(kept) if kept else COCO()
        if not kept:
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.iouThrs = np.array([iou])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [max(1, len(kept))]
        evaluation.evaluate()
    # The detections' ids start at 1; those of the truth may at 0, which is no match
    # on the detections' side.
    matched: dict[str, set[int]] = defaultdict(set)
    in_crowd: set[int] = set()
    for match in filter(None, evaluation.evalImgs):
        partners = match["gtMatches"][0]
        hit = (partners > 0) & ~np.array(match["gtIgnore"], bool)
        matched["gt"] |= set(np.array(match["gtIds"])[hit].tolist())
        matched["dt"] |= set(partners[hit].astype(int).tolist())
        ignored = match["dtIgnore"][0].astype(bool)
        in_crowd |= set(np.array(match["dtIds"])[ignored].tolist())
    names = {
        category["id"]: category["name"] for category in truth.dataset["categories"]
    }

    def boxes(coco: COCO, side: str, image: int) -> list[Box]:
        return [
            Box(_corners(a["bbox"]), names[a["category_id"]], a["id"] in matched[side],
                a.get("score"))
            for a in coco.imgToAnns.get(image, [])
            if not (a.get("iscrowd") if side == "gt" else a["id"] in in_crowd)
        ]  # fmt: skip

    return [
        JudgedImage(
            image["file_name"],
            boxes(truth, "gt", image["id"]),
            sorted(boxes(found, "dt", image["id"]), key=lambda box: -box.score),
        )
        for image in truth.dataset["images"]
    ]


def best_and_worst(
    images: Sequence[JudgedImage], best: int, worst: int
) -> tuple[list[JudgedImage], list[JudgedImage]]:
    """The images with the highest F1 and, of the others, those with the lowest.

    Images without a detection are left out. Of equal ones that with more boxes is the
    better, and the worse.

    Args:
        images (Sequence[JudgedImage]): All of them.
        best (int): How many of the best.
        worst (int): How many of the worst; fewer where there are no more.

    Returns:
        The best, from the best on, and the worst, from the worst on.
    """
    seen = [image for image in images if image.found]
    seen.sort(key=lambda image: (-image.f1, -len(image.truth)))
    others = seen[best:]
    others.sort(key=lambda image: (image.f1, -len(image.truth)))
    return seen[:best], others[:worst]


def caption_of(image: JudgedImage) -> str:
    """What was found on an image, in words."""
    wrong = len(image.found) - image.hits
    words = f"{image.hits} of {len(image.truth)} found"
    return f"{words}, {wrong} wrong" if wrong else words


def draw_detections(picture: np.ndarray, image: JudgedImage) -> np.ndarray:
    """Draw an image twice: with the truth's boxes, and with the detector's.

    A small image is enlarged to about 512 pixels. What is right is blue, what is wrong
    or was missed is orange.

    Args:
        picture (np.ndarray): The image, uint8 RGB (H, W, 3).
        image (JudgedImage): What is on it.

    Returns:
        uint8 RGB, the two side by side below a line of text.
    """
    scale = max(1, round(PICTURE_SIZE / max(picture.shape[:2])))
    missed = sum(not box.right for box in image.truth)
    wrong = len(image.found) - image.hits
    panels = [
        (image.truth, f"truth: {len(image.truth)}", f"{missed} missed"),
        (image.found, f"detected: {len(image.found)}", f"{wrong} wrong"),
    ]
    height, width = (scale * side for side in picture.shape[:2])
    canvas = Image.new("RGB", (2 * width + GAP, HEADER + height), "white")
    large = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    for column, (boxes, title, fault) in enumerate(panels):
        panel = large.copy()
        _draw_boxes(panel, boxes, scale)
        left = column * (width + GAP)
        canvas.paste(panel, (left, HEADER))
        draw = ImageDraw.Draw(canvas)
        if not fault.startswith("0 "):
            title += f", {fault}"
        draw.text((left + 4, HEADER // 2), title, "black", _font(22), anchor="lm")
    return np.asarray(canvas)


def _draw_boxes(panel: Image.Image, boxes: Sequence[Box], scale: int) -> None:
    """Draw the boxes and, over all of them, their labels, the first on top."""
    draw = ImageDraw.Draw(panel)
    for box in reversed(boxes):
        x0, y0, x1, y1 = (scale * value for value in box.corners)
        # A thin dark line on both sides sets it off from any background.
        draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline="black", width=4)
        draw.rectangle((x0, y0, x1, y1), outline=_colour(box), width=2)
    font = _font(20)
    for box in reversed(boxes):
        x, y = (scale * value for value in box.corners[:2])
        text = box.label if box.score is None else f"{box.label}  {box.score:.2f}"
        left, top, right, bottom = draw.textbbox((0, 0), text, font)
        width, height = right - left + 2 * MARGIN, bottom - top + 2 * MARGIN
        x = min(max(0, x - 1), panel.width - width)
        y = y - height if y >= height else y  # above the box, if there is room
        draw.rectangle((x, y, x + width, y + height), _colour(box))
        draw.text((x + MARGIN - left, y + MARGIN - top), text, "black", font)


def _colour(box: Box) -> tuple[int, int, int]:
    return RIGHT if box.right else WRONG


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    return ImageFont.truetype(str(folder / "DejaVuSans-Bold.ttf"), size)


def _corners(bbox: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, width, height = bbox
    return x, y, x + width, y + height
