"""docs/tutorial.ipynb: it runs, and what is stored in it is what it prints."""

import re
from pathlib import Path

import matplotlib.font_manager  # noqa: F401 (to make its cache here, not in the notebook)
import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
PATH = ROOT / "docs" / "tutorial.ipynb"
QUICK = "seeds, epochs = 1, 1\ntrain_images, detector_epochs = 16, 1\n"
VALIDATION = '"val", 40'  # images, on which the detector is tested three times
TEXT_AND_PICTURE = ["image/jpeg", "text/plain"]
OF_ONE_RUN = r"/(home|tmp|root|work|usr|Users)/|[Ww]arning|\d\d:\d\d"
NUMBER = r"(-?\d+\.\d+(?:e[-+]\d+)?)"  # which differ between machines


def stored():
    """The notebook as it is in the repository."""
    return nbformat.read(PATH, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell):
    """What a cell has printed, and the names of the kinds of what it shows."""
    streams = [out for out in cell.outputs if out.output_type == "stream"]
    assert {out.name for out in streams} <= {"stdout"}, streams
    others = [out for out in cell.outputs if out.output_type != "stream"]
    return "".join(out.text for out in streams), [sorted(out.data) for out in others]


def numbers(notebook, label):
    """The numbers with a point, in what the notebook prints, after a line's start."""
    text = "".join(printed(cell)[0] for cell in code_cells(notebook))
    (rest,) = re.findall(rf"^{label}(.*)$", text, re.M)
    return [float(number) for number in re.findall(NUMBER, rest)]


def execute(notebook, folder, monkeypatch):
    """Run a notebook in an empty folder, and find that nothing stays of it."""
    cwd, temporary = folder / "cwd", folder / "tmp"
    for place in (cwd, temporary):
        place.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(cwd)}},
    )
    client.execute()
    assert not [*cwd.iterdir(), *temporary.glob("attnpool*")]
    return notebook


def check_printed_as_stored(notebook):
    """Compare all that is printed, but for numbers with a point."""
    for cell, expected in zip(code_cells(notebook), code_cells(stored()), strict=True):
        text, shown = printed(cell)
        expected_text, expected_shown = printed(expected)
        assert re.sub(NUMBER, "#", text) == re.sub(NUMBER, "#", expected_text)
        assert shown == expected_shown


def test_it_runs_with_smaller_numbers(tmp_path, monkeypatch):
    notebook = stored()
    (parameters,) = [
        c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])
    ]
    parameters.source = QUICK
    (writing,) = [cell for cell in code_cells(notebook) if VALIDATION in cell.source]
    writing.source = writing.source.replace(VALIDATION, '"val", 8')
    execute(notebook, tmp_path, monkeypatch)
    check_printed_as_stored(notebook)
    (_, _, difference) = numbers(notebook, "float32: ")
    assert difference < 1e-5
    exported, torch_map = numbers(notebook, "ONNX: mAP")
    assert exported == pytest.approx(torch_map, abs=0.005)


@pytest.mark.slow
def test_it_learns_what_the_text_says(tmp_path, monkeypatch):
    notebook = execute(stored(), tmp_path, monkeypatch)
    check_printed_as_stored(notebook)
    for network in ("strided", "average", "LIP", "self-attentive"):
        mean, _, _ = numbers(notebook, f"{network} +mean")
        assert mean > 95
    for precision in ("float32: ", "int8: "):
        _, accuracy, _ = numbers(notebook, precision)
        assert accuracy > 95
    assert numbers(notebook, "test: mAP")[1] > 0.3  # mAP50


def test_what_is_stored_is_a_run_from_top_to_bottom():
    notebook = stored()
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    counts = [cell.execution_count for cell in cells]
    assert counts == [*range(1, len(cells) + 1)]
    for cell in cells:
        text, shown = printed(cell)
        assert all(kinds == TEXT_AND_PICTURE for kinds in shown)
        assert not re.search(OF_ONE_RUN, text)
    assert sum(len(printed(cell)[1]) for cell in cells) == 4
    assert PATH.stat().st_size < 600_000


def test_its_links_are_there():
    text = "".join(c.source for c in stored().cells if c.cell_type == "markdown")
    links = re.findall(r"\]\(([\w./-]+)\)", text)
    assert links and all((PATH.parent / link).is_file() for link in links)
