"""Killing a process at each of the moments at which it changes its files."""

import os
import resource
import signal
import sys
import traceback


def forked(*functions):
    """Call each function in a process of its own, all at once.

    Returns the exit status, negative where a signal has ended it; of several functions
    a list.
    """
    processes = [_start(function) for function in functions]
    found = [os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in processes]
    return found if len(functions) > 1 else found[0]


def _start(function):
    process = os.fork()
    if process == 0:
        status = 1
        try:
            function()
            status = 0
        except BaseException:  # shown by pytest
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    return process


def kill_at(moment, folder):
    """Let this process be killed before its `moment`-th change of checkpoints.

    Changes are the opening of a file to write, the end of its writing, a renaming and
    a removal, of files in `folder` that are checkpoints or say which is the last. At
    the end of a writing half of the bytes stay.
    """
    fsync, counted = os.fsync, [0]

    def count(path):
        path = os.fspath(path)
        if path.startswith(str(folder)) and (".pth" in path or "last_" in path):
            counted[0] += 1
        return counted[0] == moment

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def audit(event, args):
        writes = event == "open" and isinstance(args[0], str) and "w" in (args[1] or "")
        if (writes or event in ("os.rename", "os.remove")) and count(args[0]):
            die()

    def half(descriptor):
        if count(os.readlink(f"/proc/self/fd/{descriptor}")):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            die()
        fsync(descriptor)

    os.fsync = half
    sys.addaudithook(audit)


def limit_file_size(size):
    """Let this process write no file of more bytes, as on a disk that is full."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
