"""Where a rank's journal lies: beside the output, on the node, where the user says, or where there is room."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from provml_hpc.errors import StorageError, UsageError
from provml_hpc.journal import Journal, node_folders, own_folder, safe_folder

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
SMALLEST = 64 << 10


def parse_bytes(text: str | int) -> int:
    """Return a number of bytes from text such as ``"64 MiB"``.

    Raises
    ------
    UsageError
        It is no size, or less than 64 KiB.

    Examples
    --------
    >>> parse_bytes("64 MiB")
    67108864
    """
    if isinstance(text, int) and not isinstance(text, bool):
        size = text
    else:
        number = str(text).strip().lower().rstrip("kmgib ")
        unit = str(text).strip().lower()[len(number) :].strip()
        try:
            size = int(float(number) * _UNITS[unit])
        except (ValueError, KeyError, OverflowError):
            raise UsageError(f"buffer={text!r} is no size; write for example '64 MiB'") from None
    if size < SMALLEST:
        raise UsageError(f"buffer={text!r} is too small; give at least 64 KiB")
    return size


def candidates(choice: str, hidden: Path, run: str) -> Iterator[Path]:
    """Yield the folders to try for a journal, best first.

    Parameters
    ----------
    choice
        ``"output"``, ``"node"`` or a path.
    hidden
        The hidden folder beside the output.
    run
        The uuid of the run, which names the folders of other places.
    """
    if choice == "output":
        yield hidden
    elif choice != "node":
        yield Path(os.path.abspath(choice)) / own_folder(run)  # noqa: PTH100 - links stay as the user wrote them
    yield from node_folders(run)
    if choice != "output":
        yield hidden


def open_journal(
    folders: Iterator[Path], make: Callable[[Path | None], Journal], *, strict: bool = True
) -> tuple[Journal, Path | None, list[str]]:
    """Open a journal in the first folder that has room; also return what was wrong with those before it.

    Where no folder takes it, it is kept in memory, without a folder: flush points go on, but what was logged since the
    last one dies with the process.

    Raises
    ------
    StorageError
        No folder took it, and the run is strict.
    """
    troubles: list[str] = []
    for folder in folders:
        try:
            return make(safe_folder(folder)), folder, troubles
        except (OSError, ValueError) as error:
            troubles.append(f"{folder}: {getattr(error, 'strerror', None) or error}")
    if strict:
        raise StorageError(f"no place took the journal ({'; '.join(troubles)}); give one with room by journal=PATH")
    return make(None), None, troubles
