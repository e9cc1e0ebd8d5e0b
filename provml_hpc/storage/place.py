"""Where the files of an output lie, and how a finished one takes its name without ever overwriting another."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from provml_hpc.errors import FormatError, OutputExistsError, StorageError

FORMAT_NAME = "provml-hpc"
"""The root attribute ``format`` of every HDF5 file of this project."""
PARTIAL = ".partial"
"""What the name of an output ends with while its run goes on."""

RESCUED = "rescued"
"""What the name of a journal begins with while it is being copied into the hidden folder."""

_MOST_PARTS = 1 << 16
_UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NO_LINKS = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES, errno.EINVAL}
)


def run_of(meta: Mapping[str, Any], path: Path) -> str:
    """Return of which run a log or a journal says that it is: a uuid, of which names of folders are made.

    Raises
    ------
    FormatError
        It says no uuid.
    """
    run = meta.get("run")
    if not isinstance(run, str) or not _UUID.fullmatch(run):
        raise FormatError(f"{path} does not say of which run it is: take another copy of it")
    return run


def part_in(meta: Mapping[str, Any]) -> int:
    """Return which file of its run a file says that it is, or a journal that it belongs to: 0 where there is one."""
    return _number(meta.get("part"), 0)


def parts_in(meta: Mapping[str, Any]) -> int:
    """Return how many files a file, or a journal, says that its run has: one that says nothing sensible has one."""
    return _number(meta.get("parts"), 1)


def _number(value: Any, otherwise: int) -> int:
    sound = isinstance(value, int) and not isinstance(value, bool) and otherwise <= value < _MOST_PARTS
    return value if sound else otherwise


def output_of(path: str | os.PathLike[str]) -> Path:
    """Return the output that a path means, itself or its ``.partial``, as an absolute path."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link that is the output itself
    return absolute.with_name(absolute.name.removesuffix(PARTIAL)) if absolute.name.endswith(PARTIAL) else absolute


def partial_of(output: str | os.PathLike[str]) -> Path:
    """Return where the log of a run lies while it goes on."""
    path = output_of(output)
    return path.with_name(path.name + PARTIAL)


def part_of(output: str | os.PathLike[str], number: int) -> Path:
    """Return where the file of one of several writer ranks lies; that of the first is the output itself.

    Examples
    --------
    >>> part_of("/data/facies.h5", 2).name
    'facies-part2.h5'
    """
    path = output_of(output)
    return path.with_name(f"{path.stem}-part{number}{path.suffix}") if number else path


def hidden_of(output: str | os.PathLike[str]) -> Path:
    """Return the hidden folder beside an output: its lock, its heartbeat, its journals, files not yet finished."""
    path = output_of(output)
    return path.with_name(f".{path.name}.provml")


def scratch_of(path: Path) -> Path:
    """Return a fresh name for a file that will become `path`: in the hidden folder, or beside where there is none."""
    hidden = hidden_of(path)
    token = os.urandom(6).hex()
    if hidden.is_dir() and not hidden.is_symlink():
        return hidden / f"{path.name}.{token}"
    return path.with_name(f".{path.name}.{token}")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # Some network file systems refuse fsync on a folder; the names are theirs to keep then.
    finally:
        os.close(descriptor)


def publish(temporary: Path, final: Path) -> None:
    """Give a finished file its final name, unless that name is taken.

    A link is made and the temporary name removed: a reader sees nothing or the whole file, and two writers cannot both
    win. Without links, the name is taken by an empty file first, made exclusively, and the finished one renamed over
    it.

    Raises
    ------
    OutputExistsError
        The final name is taken; the temporary file stays.
    StorageError
        The file system refused both ways.
    """
    try:
        os.link(temporary, final, follow_symlinks=False)
    except FileExistsError:
        raise _taken(final) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise StorageError(
                f"{final} could not be written ({error.strerror}): free what is full, then try again"
            ) from error
        _publish_without_links(temporary, final)
    else:
        temporary.unlink()
    sync_folder(final.parent)


def _publish_without_links(temporary: Path, final: Path) -> None:
    try:
        os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except FileExistsError:
        raise _taken(final) from None
    except OSError as error:
        raise StorageError(f"{final} could not be made ({error.strerror}): check the folder's permissions") from error
    try:
        temporary.replace(final)
    except OSError as error:
        final.unlink()
        raise StorageError(
            f"{final} could not be named ({error.strerror}): the data is in {temporary}; rename it by hand"
        ) from error


def _taken(final: Path) -> OutputExistsError:
    return OutputExistsError(f"{final} exists already: move it away, or choose another output")
