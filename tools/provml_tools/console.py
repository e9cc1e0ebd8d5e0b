"""What a command says to a person, and how it writes its result: a file is whole, or it is not there."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from provml_hpc.errors import FileMissingError, FormatError, StorageError, UsageError
from provml_tools.shield import will_be_removed

_OF_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT})


def note(text: str) -> None:
    """Say one line beside the result."""
    sys.stderr.write(f"provml: {one_line(text)}\n")


def one_line(text: str) -> str:
    """Return text on one line, with nothing in it that could command a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Any]:
    """Show a bar on standard error while work goes on, if that is a terminal; yields what moves it by one."""
    with meter() as show:
        done = 0

        def advance(*_: Any) -> None:
            nonlocal done
            done += 1
            show(what, done, total)

        if total > 1:
            show(what, 0, total)
        yield advance if total > 1 else lambda *_: None


@contextlib.contextmanager
def meter() -> Iterator[Any]:
    """Show a bar on standard error, if that is a terminal; yields what sets it: what is done, how much, of how much."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        yield lambda *_: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


def _parts(name: str) -> list[Path]:
    """Return the files that are read with one, of a run that several ranks wrote."""
    from provml_hpc.storage.run_file import RunFiles

    with contextlib.suppress(FileMissingError, FormatError), contextlib.closing(RunFiles(Path(name))) as found:
        return [file.path for file in found.files[1:]]
    return []


@contextlib.contextmanager
def output(path: str | None, inputs: Sequence[str] = ()) -> Iterator[BinaryIO]:
    """Open what a command writes to: standard output, or a file that appears under its name when it is whole.

    The file is written beside its place under a hidden temporary name and takes that place at the end, also of a file
    that is there already. If anything goes wrong, the place is as it was.

    Raises
    ------
    UsageError
        The output is one of the inputs.
    StorageError
        The output cannot be written.
    """
    if path is None or path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    # What a link points at is replaced, not the link.
    target = Path(os.path.realpath(path))
    for one in inputs:
        if any(_same(target, Path(name)) for name in (one, f"{one}.partial", *map(str, _parts(one)))):
            raise UsageError(f"The output {path} is one of the inputs. Name another file with -o.")
    try:
        known = target.stat()
    except OSError:
        known = None
    if known is not None and stat.S_ISDIR(known.st_mode):
        raise StorageError(f"Cannot write {path}: it is a folder. Name a file with -o.")
    if known is not None and not stat.S_ISREG(known.st_mode):
        # A pipe or a device has no place to take.
        try:
            with target.open("wb") as stream:
                yield stream
        except OSError as error:
            raise _cannot(path, error) from None
        return
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent)
    except OSError as error:
        raise _cannot(path, error) from None
    temporary = Path(name)
    will_be_removed(temporary)
    try:
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                temporary.chmod(stat.S_IMODE(known.st_mode) if known else 0o666 & ~_umask())
            temporary.replace(target)
        except OSError as error:
            # An error of reading an input passes through here too.
            if error.errno in _OF_WRITING and error.filename in (None, name):
                raise _cannot(path, error) from None
            raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _cannot(path: str, error: OSError) -> StorageError:
    reason = error.strerror or str(error)
    return StorageError(f"Cannot write {path}: {reason}. Name a place that can be written with -o.")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
