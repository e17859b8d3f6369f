"""Data sets: what MMPretrain and MMDetection do not have already."""

from .digits import Digits, load_digit_images, split_indices
from .digits_coco import DigitScenes, Scene, write_digits_coco
from .mnist import MNIST, FashionMNIST
from .stl10 import STL10
from .visual_wake_words import VisualWakeWords, read_wake_word_labels

__all__ = [
    "MNIST",
    "STL10",
    "DigitScenes",
    "Digits",
    "FashionMNIST",
    "Scene",
    "VisualWakeWords",
    "load_digit_images",
    "read_wake_word_labels",
    "split_indices",
    "write_digits_coco",
]
