"""What a training logged is read as it went, however often it was stopped."""

import json

import pytest

from attnpool_mm.analysis.logs import read_scores


def write(folder, *runs):
    """Logs as MMEngine writes them: (iteration, None), or (epoch, accuracy)."""
    for number, records in enumerate(runs):
        path = folder / f"2026010{number}_120000" / "vis_data" / "scalars.json"
        path.parent.mkdir(parents=True)
        dicts = [
            dict(loss=0.5, iter=step, epoch=1, step=step)
            if accuracy is None
            else dict(accuracy=accuracy, step=step)
            for step, accuracy in records
        ]
        path.write_text("".join(f"{json.dumps(record)}\n" for record in dicts))


TRAINED = [(4, None), (1, 50.0), (8, None)]


@pytest.mark.parametrize(
    ("runs", "accuracies"),
    [
        # stopped in the last validation: the resumed run does nothing but that
        ([TRAINED, [(2, 90.0)]], [50.0, 90.0]),
        ([TRAINED, [], [(2, 90.0)]], [50.0, 90.0]),
        ([[(4, None)], [(1, 60.0)]], [60.0]),
        # killed after it: it is repeated
        ([[*TRAINED, (2, 90.0)], [(2, 91.0)]], [50.0, 91.0]),
        # stopped in an earlier one
        ([[(4, None)], [(1, 50.0), (8, None), (2, 90.0)]], [50.0, 90.0]),
        # started anew
        ([[*TRAINED, (2, 90.0)], [(4, None), (1, 55.0)]], [55.0]),
    ],
)
def test_every_epoch_has_its_last_validation(tmp_path, runs, accuracies):
    write(tmp_path, *runs)
    name, validations, measures = read_scores(tmp_path)
    assert (name, measures) == ("accuracy", {})
    assert [v["accuracy"] for v in validations] == accuracies
