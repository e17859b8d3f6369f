"""Weights of pools over a training: a row an image, a column a time, one scale."""

import numpy as np
import torch
from PIL import Image

from attnpool_mm.analysis.weight_history import (
    draw_frames,
    draw_strips,
    weight_limits,
    write_video,
)

CAPTION = 22
# Two images, the second wider and padded below to 48 rows for the network
PICTURES = [
    (np.zeros((32, 32, 3), np.uint8), (32, 32)),
    (np.zeros((32, 48, 3), np.uint8), (48, 48)),
]


def flat(value):
    return torch.full((4, 4), float(value))


def history():
    """Of pool `a` the weights grow; those of `b` are a hundred times larger."""
    padded = flat(5)
    padded[3:] = 99  # rows 36 to 48, outside of the image
    return {
        "epoch 1": [{"a": flat(1), "b": flat(300)}, {"a": flat(3), "b": flat(300)}],
        "epoch 2": [{"a": flat(2), "b": flat(300)}, {"a": padded, "b": flat(500)}],
    }


def cell(picture, row, column, width=256):
    top = row * (256 + CAPTION) + CAPTION
    return picture[top : top + 256, column * width : (column + 1) * width].astype(int)


def test_limits_are_of_all_that_is_seen():
    assert weight_limits(PICTURES, history()) == {"a": (1, 5), "b": (300, 500)}


def test_a_strip_has_one_scale():
    strips = draw_strips(PICTURES, history())
    assert list(strips) == ["a", "b"]
    strip = strips["a"]
    assert strip.shape == (2 * (256 + CAPTION), 3 * 48 * 8, 3)
    assert (cell(strip, 0, 0) == 0).all()  # the image itself
    assert (strip[CAPTION : CAPTION + 256, 3 * 256 :] == 255).all()  # beside the first

    def colour(row, column):
        values = cell(strip, row, column, 256 if row == 0 else 384)
        assert (values == values[0, 0]).all()
        return values[0, 0]

    blue, red = colour(0, 1), colour(1, 2)
    assert blue[2] > 50 and blue[0] == 0  # the smallest, 1
    assert red[0] > 50 and red[2] == 0  # the largest, 5
    middle = colour(1, 1)  # 3: neither
    assert middle[1] > max(blue[1], red[1])


def test_a_frame_is_a_time():
    frames = draw_frames(PICTURES, history())
    assert [frame.shape for frame in frames] == [(2 * (256 + CAPTION), 3 * 384, 3)] * 2
    strip = draw_strips(PICTURES, history())["b"]
    for time, frame in enumerate(frames):
        of_b = cell(strip, 1, 1 + time, 384)
        assert np.array_equal(cell(frame, 1, 2, 384), of_b)


def test_a_video(tmp_path):
    frames = draw_frames(PICTURES, history())
    write_video(tmp_path / "a.gif", frames)
    with Image.open(tmp_path / "a.gif") as video:
        assert video.n_frames == 2
        for index, frame in enumerate(frames):
            video.seek(index)
            shown = np.asarray(video.convert("RGB")).astype(int)
            assert abs(shown - frame).mean() < 4  # of 256 colours


def test_weights_that_never_change_can_be_drawn():
    same = {"epoch 1": [{"a": flat(2)}], "epoch 2": [{"a": flat(2)}]}
    strip = draw_strips(PICTURES[:1], same)["a"]
    assert np.array_equal(cell(strip, 0, 1), cell(strip, 0, 2))
