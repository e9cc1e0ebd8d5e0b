"""Opening the files that a command was given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from provml_hpc.assembly.graph import Graph
from provml_hpc.errors import UsageError
from provml_tools.console import note

if TYPE_CHECKING:
    from provml_hpc.storage.reader import Reader

_TOLD = 3
"""Damages of a file that are told one by one."""


def in_turn(files: Sequence[str], done: Callable[..., object] = lambda: None) -> Iterator[Graph]:
    """Yield the graph of each file when it is asked for, close the file after that, and call `done`."""
    from provml_hpc.storage import reader

    for name in once(files):
        with reader.open(name) as file:
            _tell(file)
            yield file.stored_graph
        done()


@contextlib.contextmanager
def together(files: Sequence[str]) -> Iterator[list[Graph]]:
    """Open all files and yield their graphs, which are read when they are asked for."""
    from provml_hpc.storage import reader

    names = once(files)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(reader.open(name)) for name in names]
        for file in opened:
            _tell(file)
        yield [file.graph for file in opened]


def _tell(file: Reader) -> None:
    """Say what of a run is missing, so that nobody takes what is there for all of it."""
    for damage in file.damage[:_TOLD]:
        note(damage)
    if len(file.damage) > _TOLD:
        note(f"{file.path}: {len(file.damage) - _TOLD} more; provml info lists them")


def once(files: Sequence[str]) -> list[str]:
    """Return the files without those that are read with another one, parts of a run of which several ranks wrote.

    A file that is named twice is refused: each statement would be there twice.

    Raises
    ------
    UsageError
        A file is named twice.
    """
    seen: dict[Path, str] = {}
    for name in files:
        path = Path(name).resolve()
        if path in seen:
            raise UsageError(f"{name} is given twice. Name each file once.")
        seen[path] = name
    if len(files) == 1:
        return list(files)
    from provml_hpc.storage.run_file import without_parts

    return without_parts(files)
