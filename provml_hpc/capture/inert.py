"""The session of a run that records nothing: ``PROVML_DISABLE=1``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provml_hpc import records
from provml_hpc.capture.session import Session
from provml_hpc.journal import Journal


class _NoDigests:
    def want(self, *_: Any, **__: Any) -> None:
        """Want nothing."""


class _NoTransport:
    rank, size, writer = 0, 1, 0


class InertSession(Session):
    """Looks like a session and does nothing: no file, no MPI, no thread, no warning.

    An activity that could not be opened has one too, so that what is said of it is not taken for somebody else's.
    """

    inert = True

    def __init__(self, meta: dict[str, Any], output: Path) -> None:
        self.meta, self.output = meta, output
        self.transport: Any = _NoTransport()
        self.rank, self.size = 0, 1
        self.digester: Any = _NoDigests()
        self.journal: Journal | None = None
        self.storage = None
        self.ended = self.strict = self.failed = False
        self.stop_requested = False
        self.outcome = records.COMPLETED
        self.known = {}
        self.collections = {}
        self.layouts = self.layouts_aside = self.buffer = 0

    @property
    def alive(self) -> bool:
        """Never: nothing is recorded."""
        return False

    def trouble(self, message: str, error: BaseException | None = None, *, teller: int | None = None) -> None:
        """Say nothing."""

    def drop(self, activity: int, reason: str, name: str, message: str | None = None, *, count: int = 1) -> None:
        """Count nothing."""

    def late(self, activity: object) -> None:
        """Say nothing."""

    def write(self, record: records.Record) -> int:
        """Keep nothing."""
        return 0

    def write_aside(self, record: records.Record) -> int:
        """Keep nothing."""
        return 0

    def flush(self) -> None:
        """Talk to nobody."""

    def rebind(self, comm: Any) -> None:
        """Bind nothing."""

    def finish(self, deadline: float | None = None) -> None:
        """End nothing."""
        self.ended = True

    def leave(self, reason: str, error: str, outcome: str = records.FAILED) -> None:
        """Leave nothing."""
        self.ended = True
