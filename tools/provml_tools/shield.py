"""A command works in a child process, so that a file which brings down a library ends in one line and not in a hang.

HDF5 follows what a file says; no exception gets through a loop in it, and nothing of Python survives a crash of it. So
the parent forks before anything heavy is imported, and waits. The child gets limits that grow with the files: on
memory, on processor time as a whole, and on each stretch of work of HDF5 (see :mod:`provml_hpc.storage.careful`).
"""

from __future__ import annotations

import contextlib
import glob
import mmap
import os
import resource
import shutil
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import NoReturn

CALL_S = 10.0
"""Seconds of processor time for a stretch of work of HDF5, and one more for each MiB of the file."""
WHOLE_S, WHOLE_S_PER_MIB = 300, 60
"""Seconds of processor time for a command, whatever it does."""
MEMORY, MEMORY_PER_BYTE, MEMORY_PER_CORE = 2 << 30, 2048, 16 << 20
"""Bytes of memory for a command: libraries take some for each core, and a packed file grows a thousand times."""

_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP}
_FORWARDED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
_PAGES = 4 * mmap.PAGESIZE
_KERNEL = 0  # A signal code above it is the kernel's, as for Ctrl-C, which reaches the child by itself.

_scratch: mmap.mmap | None = None


def shielded(options: Namespace, work: Callable[[Namespace], int], fail: Callable[[str], int]) -> int:
    """Do the work of a command in a child with limits, and return its exit code.

    Parameters
    ----------
    options
        The call; without files in it there is nothing to be afraid of, and the work is done here.
    work
        What to do; it returns an exit code, and raises nothing.
    fail
        Says in one line what went wrong, and returns an exit code.
    """
    names = [*getattr(options, "files", ()), *([options.file] if getattr(options, "file", None) else [])]
    if not names or not hasattr(os, "fork"):
        return work(options)
    global _scratch
    _scratch = mmap.mmap(-1, _PAGES)
    sys.stdout.flush()
    sys.stderr.flush()
    waits = _FORWARDED | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waits)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _in_child(options, work, names, before, parent)
    try:
        status = _wait(child, waits)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    _remove_scratch()
    return fail(_explain(-code, names))


def will_be_removed(path: Path) -> None:
    """Say where something unfinished lies, so that it goes also if this process is brought down."""
    if _scratch is not None:
        _scratch.seek(0)
        _scratch.write(os.fsencode(path)[: _PAGES - 1] + b"\0")


def _in_child(
    options: Namespace, work: Callable[[Namespace], int], names: list[str], mask: Iterable[int], parent: int
) -> NoReturn:
    code = 1
    try:
        _die_with(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if "faulthandler" in sys.modules and not os.environ.get("PROVML_DEBUG"):
            sys.modules["faulthandler"].disable()  # the parent says it in one line
        _limit(options, sum(map(_size, names)) + _size_of_journals(options, names))
        code = work(options)
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        # Nothing else may run here: what the parent opened and registered is the parent's.
        os._exit(code)


def _die_with(parent: int) -> None:
    """Have the kernel end this process with its parent: nobody else would."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def _limit(options: Namespace, size: int) -> None:
    from provml_hpc.storage import careful

    cores = os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        _lower(resource.RLIMIT_DATA, MEMORY + MEMORY_PER_BYTE * size + MEMORY_PER_CORE * cores)
    # What a person asks, or watches, may take as long as it takes.
    if getattr(options, "sparql", None) is None and options.command != "watch":
        with contextlib.suppress(OSError, ValueError):
            _lower(resource.RLIMIT_CPU, WHOLE_S + WHOLE_S_PER_MIB * (size >> 20))
    with contextlib.suppress(OSError, ValueError):
        _lower(resource.RLIMIT_CORE, 0)  # a crash is told of; a core of gigabytes helps nobody
    careful.limit_calls(CALL_S)


def _lower(which: int, wanted: int) -> None:
    soft, hard = resource.getrlimit(which)
    known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(which, (min([wanted, *known]), hard))


def _size(name: str) -> int:
    found = 0
    for path in _with_parts(name):
        for one in (path, f"{path}.partial"):
            with contextlib.suppress(OSError, ValueError):
                found += os.stat(one).st_blocks * 512  # noqa: PTH116 - what it has, and not what it claims
    return found


def _with_parts(name: str) -> list[str]:
    """Return a file and those that may be read with it, if several ranks wrote: without a look into any of them."""
    from provml_hpc.storage.place import PARTIAL, output_of

    try:
        output = output_of(name)
        beside = output.parent.glob(f"{glob.escape(output.stem)}-part*{glob.escape(output.suffix)}*")
        return [name, *{str(path).removesuffix(PARTIAL) for path in beside}]
    except (OSError, ValueError):  # it is no name of a file
        return [name]


def _size_of_journals(options: Namespace, names: list[str]) -> int:
    """Return what the journals may have that a recovery reads beside its file."""
    if not hasattr(options, "journals"):
        return 0
    from provml_hpc.journal import node_folders
    from provml_hpc.storage.place import hidden_of

    # Of which run they are is not known yet, so those of all runs of this user count.
    mine = [folder.parent.glob(f"{folder.name}*") for folder in node_folders("")]
    hidden = {hidden_of(path) for name in names for path in _with_parts(name)}
    folders = {Path(one) for one in options.journals} | hidden | {*chain(*mine)}
    found = 0
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):
            found += sum(path.lstat().st_blocks * 512 for path in folder.glob("*.journal"))
    return found


def _wait(child: int, waits: set[signal.Signals]) -> int:
    if not hasattr(signal, "sigwaitinfo"):
        return os.waitpid(child, 0)[1]
    while True:
        told = signal.sigwaitinfo(waits)
        if told.si_signo == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return status
        elif told.si_code <= _KERNEL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, told.si_signo)


def _explain(number: int, names: list[str]) -> str:
    what = names[0] if len(names) == 1 else f"one of the {len(names)} files"
    if number == signal.SIGPROF:
        return f"{what} is damaged: reading it does not come to an end. Take another copy of it, or recover the run."
    if number == signal.SIGXCPU:
        return f"{what} takes more time than a file of its size can. Take another copy of it, or recover the run."
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number in _CRASHES:
        return f"{what} is damaged: it brought a library down ({name}). Take another copy of it, or recover the run."
    return f"ended by {name}. Look whether the machine has memory left, and try again."


def _remove_scratch() -> None:
    """Remove what the child had not finished."""
    if _scratch is None:
        return
    _scratch.seek(0)
    name = _scratch.read(_PAGES).partition(b"\0")[0]
    if name:
        path = Path(os.fsdecode(name))
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
