"""Finding the checkpoint from which a training goes on."""

from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import Runner

from ..checkpoint import load_checkpoint_file
from ..utils.errors import ConfigError
from .checkpointing import POINTER
from .resuming import check_training


def find_resumable(
    folder: str | Path, trust: bool = False
) -> tuple[str | None, list[str]]:
    """Find the checkpoint of a work folder from which its training can go on.

    It is the one that `last_checkpoint` names, if it is a training, and else the newest
    file that is one and holds an optimizer, in that folder or next to the one named. Of
    a folder that was moved or copied it is the file of that name in there.

    Args:
        folder (str | Path): The work folder.
        trust (bool): As in `load_checkpoint_file`. Default: False.

    Returns:
        Its path, None where there is no checkpoint, and a line on each that was
        passed over.

    Raises:
        ConfigError: There are checkpoints, and none will do.

    Example:
        >>> find_resumable('.')
        (None, [])
    """
    folder, passed = Path(folder), []
    pointer = folder / POINTER
    named = pointer.read_text().strip() if pointer.is_file() else ""
    if "://" in named:
        return named, []
    folders = [folder]
    if named:
        named, folders = _places(folder, Path(named))
        reason = _reason_against(named, trust, optimizer=False)
        if reason is None:
            return named, []
        passed.append(reason)
    files = {file.resolve(): file for f in folders for file in f.glob("*.pth")}
    files.pop(Path(named).resolve(), None)
    for file in sorted(files.values(), key=lambda f: -f.stat().st_mtime_ns):
        reason = _reason_against(file, trust)
        if reason is None:
            return str(file), passed
        passed.append(reason)
    if files or (named and Path(named).exists()):
        raise ConfigError(
            f"--resume: no file in {folder} is a training to go on with: "
            f"{'; '.join(passed)}; without --resume the training starts anew"
        )
    return None, passed


def _places(folder: Path, named: Path) -> tuple[str, list[Path]]:
    """The file that a work folder's `last_checkpoint` means, and where others may be.

    The folder may be a copy; then the one that is named is of another run. A hook's
    `out_dir` is none of a run.
    """
    inside = folder / named.name
    if (named.parent / POINTER).is_file():
        return str(inside), [folder]
    if inside.is_file() and not named.is_file():  # it was moved
        return str(inside), [folder, named.parent]
    return str(named), [folder, named.parent]


def _reason_against(
    path: str | Path, trust: bool, optimizer: bool = True
) -> str | None:
    try:
        checkpoint = load_checkpoint_file(path, trust=trust)
        check_training(checkpoint, f"checkpoint {path}", optimizer)
    except ConfigError as error:
        return str(error)
    return None


def resume_newest(runner: Runner, trust: bool = False) -> None:
    """Make a runner go on from its work folder, or start anew where there is nothing.

    Either is said in the log. All processes take what the first one finds. Starting
    anew, the runner loads what its config says in `load_from`.

    Args:
        runner (Runner): The runner, before its training.
        trust (bool): As in `load_checkpoint_file`. Default: False.

    Raises:
        ConfigError: As in `find_resumable`.
    """
    found = [None, [], None]
    if is_main_process():
        try:
            found[:2] = find_resumable(runner.work_dir, trust)
        except ConfigError as error:
            found[2] = str(error)
    broadcast_object_list(found)
    path, passed, error = found
    if error is not None:
        raise ConfigError(error)
    runner._resume = path is not None
    if path is None:
        start = f"from {runner._load_from}" if runner._load_from else "anew"
        runner.logger.warning(
            f"--resume: no checkpoint in {runner.work_dir}; the training starts {start}"
        )
        return
    runner._load_from = path
    if passed:
        runner.logger.warning(f"--resume: {'; '.join(passed)}; going on from {path}")
