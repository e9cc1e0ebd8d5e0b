"""What a rank does for its node when it is told to stop: nobody may come to it any more before the node is wiped.

After SIGTERM a cluster waits for some seconds (Slurm's ``KillWait``) and kills. A rank may wait in a collective call
all that time, for one that is dead. So a thread copies what lies in journals on the node to beside the output: this
rank's own, which it goes on writing, and those of ranks of this node whose processes are gone.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from provml_hpc.capture.watcher import Watcher
from provml_hpc.journal import safe_folder

if TYPE_CHECKING:
    from pathlib import Path

    from provml_hpc.capture.session import Session

log = logging.getLogger("provml_hpc")

PATIENCE_S = 10.0
"""How long the end of a run waits for copies that are under way."""


class Survivor:
    """Carries the journals of this node whenever one of some signals comes; opened in the main thread.

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
        self._copied = False
        self._watcher = Watcher(self._heard)

    def _heard(self, number: int) -> None:
        if number not in self._numbers:
            return
        with self._lock:
            if not self._over:
                self._copied = True
                _carry(self._session)

    def remove_copies(self) -> None:
        """Remove what was copied of this rank's own journals, since all that they held is in the closed file."""
        self._over = True
        if not self._lock.acquire(timeout=PATIENCE_S):
            return
        try:
            if self._copied:
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


def _carry(session: Session) -> None:
    """Copy this rank's own journals first, then those that nobody else of this node can."""
    from provml_hpc.storage.rescue import carry, process_of

    assert session.folder is not None
    mine = f"{session.journal_prefix}-"

    def first(path: Path) -> tuple[bool, str]:
        return not path.name.startswith(mine), path.name

    for path in sorted(session.folder.glob("*.journal"), key=first):
        try:
            if path.name.startswith(mine) or process_of(path) == 0:
                carry(path, safe_folder(session.hidden), keep=True)
        except Exception as error:  # a thread has nobody to tell; what is left is there for a rescue
            with suppress(Exception):
                log.warning("provml: rank %d could not carry %s: %s", session.rank, path, error)


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
