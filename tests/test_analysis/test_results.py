"""Files that the analysis tools write: whole, or as they were."""

import json

import cv2
import numpy as np
import pytest
from kill_points import forked, limit_file_size
from matplotlib.figure import Figure

from attnpool_mm.analysis.results import write_json, write_picture, write_plot
from attnpool_mm.analysis.weight_history import write_video
from attnpool_mm.utils.errors import ConfigError

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def figure():
    drawn = Figure()
    drawn.subplots().plot([1, 2, 3])
    return drawn


# Each writes more than 1000 bytes
WRITERS = {
    "a.json": lambda path: write_json(path, {"values": list(range(1000))}),
    "a.png": lambda path: write_plot(path, figure()),
    "a.svg": lambda path: write_plot(path, figure()),
    "a.jpg": lambda path: write_picture(path, PICTURE),
    "a.gif": lambda path: write_video(path, [PICTURE, PICTURE[::-1]]),
}


@pytest.mark.parametrize("name", WRITERS)
def test_without_room_the_old_file_stays(tmp_path, name):
    (tmp_path / name).write_bytes(b"old")

    def full():
        limit_file_size(1000)
        with pytest.raises(ConfigError, match=f"{name}: it cannot be written"):
            WRITERS[name](tmp_path / name)

    assert forked(full) == 0
    assert (tmp_path / name).read_bytes() == b"old"
    WRITERS[name](tmp_path / name)
    assert (tmp_path / name).stat().st_size > 1000
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_is_written_is_read(tmp_path):
    write_json(tmp_path / "new/a.json", {"a": [1.5]})
    assert json.loads((tmp_path / "new/a.json").read_text()) == {"a": [1.5]}
    write_picture(tmp_path / "new/a.png", PICTURE)
    found = cv2.imread(str(tmp_path / "new/a.png"))[..., ::-1]
    assert np.array_equal(found, PICTURE)
    write_picture(tmp_path / "a.jpg", np.full((8, 8, 3), (255, 0, 0), np.uint8))
    blue, green, red = cv2.imread(str(tmp_path / "a.jpg"))[4, 4]
    assert red > 250 and blue < 5 and green < 5


def test_plots(tmp_path):
    for name in ("a.svg", "b.svg"):  # the same file again, but for its own name
        write_plot(tmp_path / "1" / name, figure(), {"Date": None})
    write_plot(tmp_path / "2/a.svg", figure(), {"Date": None})
    first, second = (tmp_path / folder / "a.svg" for folder in "12")
    assert first.read_text() == second.read_text()
    write_plot(tmp_path / "plain", figure())
    assert cv2.imread(str(tmp_path / "plain.png")).shape == (576, 768, 3)
    with pytest.raises(ConfigError, match="--out .*a.txt: it cannot be written: .*txt"):
        write_plot(tmp_path / "a.txt", figure(), name="--out")
