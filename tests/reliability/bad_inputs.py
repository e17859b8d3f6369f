"""Give bad inputs to the real commands, and write down what they say.

    python tests/reliability/bad_inputs.py [docs/reliability/bad_inputs.md]

Each must end with exit status 2 and one line on what is wrong and what is accepted,
without a traceback, before a training has started. The commands run in forks of one
process, which has imported what they need.
"""

import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from bad_input_cases import CASES, COMMAND_CASES, Case, write_inputs
from tool_modules import load_tool

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120  # a command that takes longer hangs
WIDTH = 400  # of what a command says, in the table


def command_of(case: Case) -> list[str]:
    """The words of the case's command, after `python`."""
    words = [f"tools/{case.tool}.py", f"{case.config}.py"]
    words += ["checkpoint.pth"] if case.tool == "test" else []
    words += case.words
    if case.options:
        words += ["--cfg-options", *(word.format(root=".") for word in case.options)]
    return words


def run(case: Case, tools: dict, folder: Path) -> tuple[int | None, str]:
    """Run a command in a fork, from `folder`; return its exit status and its errors.

    The status is None if it hangs, and negative if a signal ended it.
    """
    errors = folder / "stderr"
    child = os.fork()
    if not child:
        _be_the_command(command_of(case), tools[case.tool], folder, errors)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), errors.read_text()
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None, errors.read_text()


def _be_the_command(words: list[str], tool, folder: Path, errors: Path) -> None:
    status = 1
    try:
        os.chdir(folder)
        for number, name in ((1, os.devnull), (2, errors)):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
        sys.argv = words
        torch.set_num_threads(1)
        tool.main()
        status = 0
    except SystemExit as stop:
        status = stop.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)


def problem_of(case: Case, status: int | None, errors: str) -> str | None:
    """What is wrong with what a command did; None if nothing is."""
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    if status != 2:
        return f"exit status {status}"
    if len(lines) != 1 or "Traceback" in errors:
        return f"{len(lines)} lines of errors"
    place = 0
    for part in case.said:
        place = lines[0].find(part, place)
        if place < 0:
            return f"{part!r} is not said"
    return None


def try_all(cases: list[Case]) -> list[tuple[Case, str, str | None]]:
    """Run every case on a copy of the inputs: what it says, and what is wrong."""
    tools = {name: load_tool(f"{name}.py") for name in ("train", "test")}
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        good = Path(temporary, "good")
        write_inputs(good, ".")
        (good / "checkpoint.pth").write_bytes(b"")  # looked at after the data
        for number, case in enumerate(cases):
            folder = Path(temporary, str(number))
            shutil.copytree(good, folder)
            if case.change is not None:
                case.change(folder)
            status, errors = run(case, tools, folder)
            lines = [e for e in errors.splitlines() if e.startswith("error: ")]
            said = (lines or errors.splitlines()[-1:] or [""])[0]
            said = said.replace(str(folder), ".").replace(str(ROOT), "")
            results.append((case, said, problem_of(case, status, errors)))
            shutil.rmtree(folder)
    return results


def as_markdown(results: list[tuple[Case, str, str | None]], seconds: float) -> str:
    """The table."""
    failed = sum(problem is not None for *_, problem in results)
    rows = []
    for case, said, problem in results:
        said = said if len(said) <= WIDTH else said[: WIDTH - 1] + "…"
        said = said if problem is None else f"**{problem}** {said}"
        cells = (case.name, f"`{shlex.join(command_of(case))}`", said)
        rows.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |\n")
    return (
        "# Bad inputs, and what the commands say\n\n"
        "Written by `python tests/reliability/bad_inputs.py "
        "docs/reliability/bad_inputs.md`.\nIt makes a small set for a detector and one "
        "for a classifier, spoils one thing at a\ntime, as the first column says, "
        "and runs the command, which has to end with exit status 2\nand one line.\n\n"
        f"{len(results)} inputs, {failed} of them not refused as they should be; "
        f"{seconds:.0f} seconds on a CPU.\n\n"
        "| Input | Command | What it says |\n| --- | --- | --- |\n" + "".join(rows)
    )


def main() -> None:
    """Run all cases; write the table to the file that is named, if one is."""
    start = time.monotonic()
    results = try_all([*CASES, *COMMAND_CASES])
    table = as_markdown(results, time.monotonic() - start)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(table)
    for case, said, problem in results:
        if problem is not None:
            print(f"{case.name}: {problem}: {said}")
    print(f"{len(results)} inputs, {sum(p is not None for *_, p in results)} wrong")
    sys.exit(any(problem is not None for *_, problem in results))


if __name__ == "__main__":
    main()
