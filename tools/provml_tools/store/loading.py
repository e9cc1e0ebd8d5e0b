"""Loading files one after another, with a bar for people."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from provml_hpc.storage import reader
from provml_tools.console import note
from provml_tools.store.embedded import OLDER, RunStore
from provml_tools.store.endpoint import Endpoint


def load_store(path: str, files: Sequence[str]) -> Counter[str]:
    """Load files into a store on disk, and return how many of them were loaded, replaced, unchanged and older."""
    counts: Counter[str] = Counter()
    # Each file is looked at before a store is made: a wrong name leaves nothing behind.
    for name in files:
        reader.open(name).close()
    with RunStore(path, write=True) as store:

        def load(name: str, moved: Callable[[int], object]) -> None:
            with reader.open(name) as file:
                what = store.load(file.stored_graph, file.path, moved)
            counts[what] += 1
            if what == OLDER:
                note(f"{name} was left out: the store has a later version of its run")

        _each(files, load)
    return counts


def load_endpoint(address: str, files: Sequence[str]) -> Counter[str]:
    """Load files into a store behind an address, and return how many were loaded."""
    counts: Counter[str] = Counter()
    endpoint = Endpoint(address)

    def load(name: str, moved: Callable[[int], object]) -> None:
        with reader.open(name) as file:
            endpoint.load(file.stored_graph, Path(file.path), moved)
        counts["loaded"] += 1

    _each(files, load)
    return counts


def _each(files: Sequence[str], load: Callable[[str, Callable[[int], object]], None]) -> None:
    with _bar(files) as (begin, moved, done):
        for name in files:
            begin(name)
            load(name, moved)
            done()


@contextlib.contextmanager
def _bar(files: Sequence[str]) -> Iterator[tuple[Callable[[str], Any], Callable[[int], Any], Callable[[], Any]]]:
    """Show files and bytes on standard error, if that is a terminal."""
    silent = (lambda _: None, lambda _: None, lambda: None)
    if not sys.stderr.isatty():
        yield silent
        return
    try:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    except ImportError:
        yield silent
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[megabytes]:.0f} MB"),
        TimeElapsedColumn(),
    )
    size = 0
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("loading", total=len(files), megabytes=0.0)

        def moved(count: int) -> None:
            nonlocal size
            size += count
            bar.update(task, megabytes=size / 1e6)

        yield (
            lambda name: bar.update(task, description=f"loading {escape(Path(name).name)}"),
            moved,
            lambda: bar.advance(task),
        )
