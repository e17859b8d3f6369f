"""Scripts of this repository that run one after the other, each once."""

import hashlib
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# Of MMEngine's output, what shows how far a step is and what came out of it.
PROGRESS = re.compile(
    r"(Epoch\((?:train|val|test)\).*| Average (?:Precision|Recall).*)"
)
SOURCES = ("attnpool_mm", "configs", "tools")


class DemoSteps:
    """Runs the steps, shows their progress and takes their times.

    What was done is kept in `<work dir>/steps.json`. A later run passes over a step
    that was done by the same command, with the same code, if none before it was
    repeated. The whole output of each is in `<work dir>/<name>.log`.

    Args:
        root (Path): The repository, whose scripts run, in its folder.
        work_dir (Path): Where the logs go.
        count (int): How many steps there are.
        anew (bool): Whether to repeat what was done. Default: False.
    """

    def __init__(self, root: Path, work_dir: Path, count: int, anew: bool = False):
        self.root = root
        self.work_dir = work_dir
        self.count = count
        self.anew = anew
        self.sources = digest_of(root)
        self.file = work_dir / "steps.json"
        self.recorded = json.loads(self.file.read_text()) if self.file.is_file() else {}
        self.done: dict[str, dict] = {}

    @property
    def seconds(self) -> dict[str, float]:
        """What each step took, when it ran."""
        return {name: step["seconds"] for name, step in self.done.items()}

    def run(
        self, name: str, title: str, command: Sequence[str | Path], makes: Path
    ) -> None:
        """Run a script, unless it was done.

        Args:
            name (str): Of the step, and of its log.
            title (str): What is printed above it.
            command (Sequence[str | Path]): Script and arguments.
            makes (Path): The file that it leaves.

        Raises:
            SystemExit: It failed; the end of its output is printed.
        """
        command = [str(word) for word in command]
        print(f"\n[{len(self.done) + 1}/{self.count}] {title}")
        print("    python", shlex.join(command), flush=True)
        step = self.recorded.get(name, {})
        same = (step.get("command"), step.get("sources")) == (command, self.sources)
        if same and not self.anew and makes.is_file():
            print(f"    done before, in {step['seconds']:.0f} s (--anew repeats it)")
        else:
            self.recorded = {}  # what follows was made of what is replaced now
            self._record()
            step = {"command": command, "sources": self.sources}
            step["seconds"] = self._run(name, command)
            print(f"    {step['seconds']:.0f} s", flush=True)
        self.done[name] = step
        self._record()

    def _record(self) -> None:
        # Whoever kills the demo meanwhile leaves what was there before.
        partial = self.file.with_suffix(".partial")
        partial.write_text(json.dumps({**self.recorded, **self.done}, indent=2))
        partial.replace(self.file)

    def _run(self, name: str, command: list[str]) -> float:
        log = self.work_dir / f"{name}.log"
        start = time.perf_counter()
        with log.open("w", buffering=1) as file:
            process = subprocess.Popen(
                [sys.executable, "-u", *command],
                cwd=self.root,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            try:
                for line in process.stdout:
                    file.write(line)
                    if match := PROGRESS.search(line):
                        print("   ", match[1].rstrip(), flush=True)
            except BaseException:  # the step ends with what shows it
                process.terminate()
                process.wait()
                raise
        if process.wait():
            tail = "".join(log.read_text().splitlines(keepends=True)[-20:])
            raise SystemExit(f"{tail}\nerror: this step failed; see {log}")
        return time.perf_counter() - start


def digest_of(root: Path) -> str:
    """A digest of the code that the steps run."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted(Path(root, folder).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
