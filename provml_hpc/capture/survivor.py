"""What a rank does for its node when it is told to stop: nobody may come to it any more before the node is wiped.

After SIGTERM a cluster waits for some seconds (Slurm's ``KillWait``) and kills. A rank may wait in a collective call
all that time, for one that is dead. So a thread copies what lies in journals on the node to beside the output: this
rank's own, and those of ranks of this node whose processes are gone. The rank may also go on, and nobody tells it when
the end comes: so from then on the thread copies again what has changed, about every second.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from provml_hpc.capture.watcher import Watcher
from provml_hpc.journal import SegmentHead, safe_folder

if TYPE_CHECKING:
    from pathlib import Path

    from provml_hpc.capture.session import Session

log = logging.getLogger("provml_hpc")

PATIENCE_S = 10.0
"""How long the end of a run waits for copies that are under way."""
AGAIN_S = 1.0
"""Seconds after which what was logged since the last copies is copied, too."""
SHARE = 50
"""Of its time the thread copies at most one part in so many, however slow the place is that it copies to."""


class Survivor:
    """Carries the journals of this node when one of some signals comes, and from then on; opened in the main thread.

    Parameters
    ----------
    session
        This rank's, whose journal lies on the node.
    numbers
        The signals.

    Raises
    ------
    ValueError
        This is not the main thread.
    """

    def __init__(self, session: Session, numbers: set[int]) -> None:
        self._session = session
        self._numbers = numbers
        self._lock = threading.Lock()
        self._over = False
        self._due: float | None = None
        """When to look again, on the monotonic clock; None until the first signal."""
        self._carried: dict[str, tuple[bytes, int]] = {}
        """What each journal was like when it was carried."""
        self._failed: set[str] = set()
        self._watcher = Watcher(self._heard)

    def _heard(self, number: int) -> float | None:
        with self._lock:
            if self._over:
                return None
            began = time.monotonic()
            if number in self._numbers or (self._due is not None and began >= self._due):
                self._carry()
                now = time.monotonic()
                self._due = now + max(AGAIN_S, SHARE * (now - began))
            return None if self._due is None else max(0.0, self._due - time.monotonic())

    def _carry(self) -> None:
        """Copy what has changed: this rank's own journals first, then those that nobody else of this node can."""
        session = self._session
        assert session.folder is not None
        mine = f"{session.journal_prefix}-"

        def first(path: Path) -> tuple[bool, str]:
            return not path.name.startswith(mine), path.name

        for path in sorted(session.folder.glob("*.journal"), key=first):
            try:
                self._carry_one(path, own=path.name.startswith(mine))
            except FileNotFoundError:  # a segment that went with a commit
                continue
            except Exception as error:  # a thread has nobody to tell; what is left is there for a rescue
                level = logging.INFO if path.name in self._failed else logging.WARNING
                self._failed.add(path.name)
                with suppress(Exception):
                    log.log(level, "provml: rank %d could not carry %s: %s", session.rank, path, error)

    def _carry_one(self, path: Path, *, own: bool) -> None:
        from provml_hpc.storage.rescue import carry, process_of

        # Looked at before it is copied: what comes meanwhile is a change. Counts are raised where they lie.
        state = SegmentHead(path).state, self._session.counted if own else 0
        if self._carried.get(path.name) != state and (own or process_of(path) == 0):
            carry(path, safe_folder(self._session.hidden), keep=True)
            self._carried[path.name] = state

    def remove_copies(self) -> None:
        """Remove what was copied of this rank's own journals, since all that they held is in the closed file."""
        self._over = True
        if not self._lock.acquire(timeout=PATIENCE_S):
            return
        try:
            if self._due is not None:
                for path in self._session.hidden.glob(f"{self._session.journal_prefix}-*.journal"):
                    path.unlink(missing_ok=True)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Listen no more."""
        self._over = True
        self._watcher.close(PATIENCE_S)

    def abandon_in_child(self) -> None:
        """After a fork, in the child: do nothing."""
        self._over = True
        self._watcher.abandon_in_child()


def carry_home(session: Session) -> None:
    """At the end of a rank: bring what is left in its journals beside the output."""
    if session.folder is None or session.folder == session.hidden:
        return
    from provml_hpc.storage.rescue import carry

    try:
        for path in sorted(session.folder.glob(f"{session.journal_prefix}-*.journal")):
            carry(path, safe_folder(session.hidden))
    except Exception as error:  # whatever it is, the job ends as it would have
        log.warning(
            "provml: rank %d left journals in %s (%s); before the job ends, run there: provml rescue %s",
            session.rank, session.folder, error, session.output,
        )  # fmt: skip
