"""Runs of one process, captured and read back."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import provml_hpc as provml
from provml_hpc.capture import facts
from tests.mpi.reading import File

__all__ = ["File", "Job", "capture"]


class Job:
    """A run while it goes on, and what it warned of and wrote once it is over."""

    def __init__(self, run: provml.Run) -> None:
        self.run = run
        self.warned: list[str] = []

    @property
    def file(self) -> File:
        """The closed file. That it is sound is checked with every look."""
        file = File(self.run.output)
        assert not file.faults
        return file

    def dropped(self) -> dict[str, int]:
        """Return what was counted as lost, by name."""
        return {row["name"]: row["count"] for row in self.file.run.details["dropped"]}


@contextmanager
def capture(folder: Path, name: str = "job", *, warn: bool = False, **settings: Any) -> Iterator[Job]:
    """Run a job of one process; unless `warn`, a warning is an error."""
    arguments: dict[str, Any] = {"phase": "learning", "output": folder / "job.h5", **settings}
    # What the machine is has tests of its own, and takes a second to find.
    found, facts.collect = facts.collect, lambda scope, record=(): []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # From Python 3.12 on, of tests that fork; the capture's own threads do not outlive a fork.
            warnings.filterwarnings("ignore", ".*use of fork", DeprecationWarning)
            with provml.init(name, **arguments) as run:
                job = Job(run)
                yield job
        job.warned = [str(one.message) for one in caught]
        assert warn or not job.warned, job.warned
    finally:
        facts.collect = found
