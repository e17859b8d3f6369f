import sys
from pathlib import Path

import compare_checkouts
import pytest

ROOT = Path(__file__).parents[2]
TINY = ("AttnPoolResNetCIFAR", dict(depth=11, attention_cfg=dict(type="SPEM")), 2, 8)


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["compare_checkouts.py", *arguments])
        compare_checkouts.main()
        return capsys.readouterr().out

    return run


@pytest.mark.slow
def test_a_checkout_against_itself(run, monkeypatch):
    monkeypatch.setitem(compare_checkouts.NETWORKS, "tiny", TINY)
    row = run(str(ROOT), "--networks", "tiny", "--repeats", "5").splitlines()[-1]
    name, *_, ratio = row.strip("| ").split(" | ")
    assert name == "tiny" and 0.2 < float(ratio.removesuffix("×")) < 5


@pytest.mark.parametrize("arguments, message", [
    ((str(ROOT / "docs"),), "docs"),
    ((str(ROOT), "--repeats", "0"), "--repeats 0"),
    ((str(ROOT), "--networks", "vgg"), "vgg"),
])  # fmt: skip
def test_bad_arguments(run, capsys, arguments, message):
    with pytest.raises(SystemExit):
        run(*arguments)
    assert message in capsys.readouterr().err
