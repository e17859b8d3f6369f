"""The set-up's steps: what they say, what they leave out, how they fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS = dict(PACKAGES="onedl", MAX_JOBS="1", TORCH_CPU_INDEX="", PYTHON="python3")


@pytest.fixture
def venv(tmp_path):
    """An environment without pip, in which every installation fails."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (venv / ".stamp-venv").touch()
    return venv


def run(command, tmp_path, **variables):
    """Run it without settings of make, pip or uv, and no uv but that of `tmp_path`."""
    settings = ("PIP_", "UV_", "MAKE", "MFLAGS", *SETTINGS)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(settings)}
    kept["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    return subprocess.run(
        command, cwd=ROOT, env={**kept, **variables}, capture_output=True, text=True
    )


def install(step, venv, tmp_path, **variables):
    command = ["bash", "requirements/install.sh", step]
    return run(command, tmp_path, **{**SETTINGS, "VENV": str(venv), **variables})


def write_uv(tmp_path, status):
    """A stand-in for uv that says how it was called."""
    names = "UV_DEFAULT_INDEX UV_FIND_LINKS"
    uv = tmp_path / "uv"
    uv.write_text(
        f'#!/bin/sh\necho "called: $*"\nfor name in {names}; do\n'
        f'eval echo "$name=\\$$name"; done\nexit {status}\n'
    )
    uv.chmod(0o755)


def test_a_failed_step_stops_make_and_says_why(venv, tmp_path):
    done = run(["make", "env", f"VENV={venv}", "TORCH_CPU_INDEX="], tmp_path)
    log = venv / "install.log"
    assert done.returncode != 0
    assert "No module named pip" in done.stderr and str(log) in done.stderr
    assert "requirements/torch.txt" in log.read_text()
    assert not (venv / ".stamp-torch").exists()
    assert not any("pip" in line for line in done.stdout.splitlines())


def test_uv_installs_where_it_is_with_pips_settings(venv, tmp_path):
    write_uv(tmp_path, status=0)
    settings = dict(PIP_INDEX_URL="https://mirror/simple", PIP_FIND_LINKS="/a /b")
    done = install("openmmlab", venv, tmp_path, **settings)
    assert done.returncode == 0, done.stderr
    said = (venv / "install.log").read_text()
    assert "-r requirements/onedl.txt" in said and f"--python {venv}" in said
    assert "UV_DEFAULT_INDEX=https://mirror/simple" in said
    assert "UV_FIND_LINKS=/a,/b" in said
    assert done.stdout.splitlines()[-1].split()[1] == "s"  # how long it took


def test_pip_tries_where_uv_cannot(venv, tmp_path):
    write_uv(tmp_path, status=1)
    done = install("openmmlab", venv, tmp_path)
    said = (venv / "install.log").read_text()
    assert done.returncode != 0
    assert said.index("called: ") < said.index("No module named pip")


def test_operators_that_load_are_not_compiled_again(tmp_path):
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin/python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = install("mmcv", venv, tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (venv / "install.log").exists()  # pip was not asked


@pytest.mark.parametrize("failing, left", [("wheel", True), ("install", False)])
def test_a_half_made_mmcv_is_made_again(tmp_path, failing, left):
    """Once its like without operators is gone, the classifier's environment is none."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    for step in ("venv", "torch", "classifier"):
        (venv / f".stamp-{step}").touch()
    python = venv / "bin/python"
    python.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        f'*mmcv.ops*|*"pip {failing}"*) exit 1;;\n'
        '*"pip wheel"*) mkdir "${VENV}/wheels";;\nesac\n'
    )
    python.chmod(0o755)
    done = run(["make", f"{venv}/.stamp-mmcv", f"VENV={venv}"], tmp_path)
    assert (
        done.returncode != 0
        and f"pip {failing} " in (venv / "install.log").read_text().splitlines()[-1]
    )
    assert not (venv / ".stamp-mmcv").exists()
    planned = run(["make", "-n", "demo-fast", f"VENV={venv}"], tmp_path).stdout
    assert ("install.sh classifier" in planned) != left


def test_an_environment_of_other_packages_is_refused(venv, tmp_path):
    """And one of another interpreter, if one is asked for."""
    (venv / ".packages").write_text("onedl")
    command = ["make", "-n", "env", f"VENV={venv}"]
    for words, named in (
        ([], ""),
        (["PACKAGES=onedl", f"PYTHON={sys.executable}"], ""),
        (["PACKAGES=openmmlab"], "PACKAGES=openmmlab"),
        (["PYTHON=true"], "PYTHON=true"),
    ):
        done = run([*command, *words], tmp_path)
        assert (done.returncode == 0) == (not named) and named in done.stderr


def test_the_whole_environment_serves_the_classifier(venv, tmp_path):
    command = ["make", "-n", "demo-fast", f"VENV={venv}"]
    assert "install.sh classifier" in run(command, tmp_path).stdout
    for step in ("torch", "mmcv", "openmmlab", "project"):
        (venv / f".stamp-{step}").touch()
    planned = run(command, tmp_path).stdout
    assert "install.sh" not in planned and "tools/demo.py" in planned
