"""Ends a run that its user left open, wherever Python still runs something at the end.

Installed at the first run, not at import.
"""

from __future__ import annotations

import atexit
import sys
import weakref
from typing import TYPE_CHECKING, Any

from provml_hpc.capture import session as sessions

if TYPE_CHECKING:
    from provml_hpc.capture.run import Run

EXIT_TIMEOUT = 30.0
"""Seconds that an open run waits for the other ranks when the interpreter ends; they may never come."""

_open: weakref.WeakSet[Run] = weakref.WeakSet()
_installed = False


def watch(run: Run) -> None:
    """Keep an eye on a run until it ends."""
    global _installed
    _open.add(run)
    sessions.hook_fork()
    if not _installed:
        _installed = True
        atexit.register(_at_exit)
    _watch_finalize()


def _at_exit() -> None:
    error = getattr(sys, "last_value", None)
    for run in list(_open):
        if run._session.ended:
            continue
        if error is not None:
            # An uncaught exception: the other ranks may be anywhere, so nothing collective.
            run.__exit__(type(error), error, None)
        else:
            run._end("completed")
            run._session.finish(deadline=EXIT_TIMEOUT)


_keyval: Any = None


def _watch_finalize() -> None:
    """Have MPI tell before the user finalises it: collectives still work then, and do not at the interpreter's end."""
    global _keyval
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is None or _keyval is not None or not mpi.Is_initialized() or mpi.Is_finalized():
        return

    def at_finalize(*_: Any) -> None:
        _at_exit()

    _keyval = mpi.Comm.Create_keyval(delete_fn=at_finalize)
    mpi.COMM_SELF.Set_attr(_keyval, True)
