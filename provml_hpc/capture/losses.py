"""What could not be captured: said once, at the line that led to it, and counted where a kill takes nothing from it."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import warnings
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provml_hpc.errors import CaptureWarning, ProvMLError

if TYPE_CHECKING:
    from provml_hpc.journal import Journal, SideJournal
    from provml_hpc.transport import Transport

log = logging.getLogger("provml_hpc")

_NOT_THE_USERS = (str(Path(__file__).parents[1]) + os.sep, contextlib.__file__, "<recorder>")
"""How the names of files begin whose lines a warning does not point at."""


class Losses:
    """The part of a session that tells of failures of the capture, and counts what they cost."""

    strict: bool
    meta: dict[str, Any]
    transport: Transport
    journal: Journal | None
    side: SideJournal
    ended: bool
    _pid: int

    def __init__(self) -> None:
        self.dropped: defaultdict[tuple[int, str, str], int] = defaultdict(int)
        """What was dropped and could not be written down."""
        self.counted = 0
        """How many losses were counted: whoever copies a journal sees that a count in it was raised."""
        self._seen: set[tuple[int, str, str]] = set()
        self._warned = False

    @property
    def alive(self) -> bool:
        """Whether calls still record."""
        raise NotImplementedError

    def trouble(self, message: str, error: BaseException | None = None, *, teller: int | None = None) -> None:
        """Warn of the first failure of the capture, tell the log of the others; raise instead if the run is strict.

        Parameters
        ----------
        message
            What is wrong and what to do.
        error
            What a strict run raises.
        teller
            Where all ranks hear of it, the one that warns, as the transport counts them; by default this one.
        """
        if self.strict:
            if isinstance(error, ProvMLError):
                raise error
            raise ProvMLError(f"{message}; this run is strict: mend it, or open the run with strict=False") from error
        if self._warned or teller not in (None, self.transport.rank):
            self._warned = True
            log.info("%s", message)  # not a warning: without a handler Python prints those
            return
        self._warned = True
        self.warn(message)

    def warn(self, message: str) -> None:
        """Show a warning of this run, at the line of the user's that led to it."""
        level, frame = 1, sys._getframe()
        while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_USERS):
            level, frame = level + 1, frame.f_back
        with suppress(Exception):  # where warnings are errors, a training must still not stop
            warnings.warn(f"provml, run {self.meta['name']!r}: {message}", CaptureWarning, stacklevel=level)

    def drop(self, activity: int, reason: str, name: str, message: str | None = None, *, count: int = 1) -> None:
        """Count what could not be kept; `message` is for the first time, in a strict run for every time."""
        key = activity, reason, name
        first = key not in self._seen
        self._seen.add(key)
        self.count_lost(key, count)
        if message and (self.strict or first):
            self.trouble(message)

    def late(self, activity: object) -> None:
        """Something was logged when the run had ended already."""
        if self.ended and os.getpid() == self._pid:
            self.trouble(f"{activity!r}: logged after the run had ended, and not recorded; log before finish()")

    def count_lost(self, key: tuple[int, str, str], lost: int) -> None:
        """Count where a kill takes nothing from it; without any room the count waits here, and is tried again."""
        self.counted += lost
        try:
            if self.journal is not None and self.journal.state[2] == threading.get_ident():
                self.journal.count(*key, lost)
            elif self.alive:
                self.side.count(*key, lost)
        except (OSError, ProvMLError):
            self.dropped[key] += lost

    def write_dropped(self) -> None:
        """Write down what was dropped and found no room."""
        for key in list(self.dropped):
            self.count_lost(key, self.dropped.pop(key, 0))
