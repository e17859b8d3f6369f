"""Data sets: what MMPretrain and MMDetection do not have already."""

from .backgrounds import load_backgrounds
from .composed_files import write_composed_coco
from .composed_scenes import ComposedScenes, Scene, scenes_of
from .digits import Digits, load_digit_images, split_indices
from .mnist import MNIST, FashionMNIST
from .small_images import SmallImages, load_small_images
from .stl10 import STL10
from .visual_wake_words import VisualWakeWords, read_wake_word_labels

__all__ = [
    "MNIST",
    "STL10",
    "ComposedScenes",
    "Digits",
    "FashionMNIST",
    "Scene",
    "SmallImages",
    "VisualWakeWords",
    "load_backgrounds",
    "load_digit_images",
    "load_small_images",
    "read_wake_word_labels",
    "scenes_of",
    "split_indices",
    "write_composed_coco",
]
