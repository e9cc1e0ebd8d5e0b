"""Signals that ask a job to stop: they set a flag, which all ranks learn of at their next flush point.

A handler runs in the middle of whatever its process does, also in the middle of a call of this library, so it does
nothing but set flags. It is installed only for a run that asks for it, calls the handler that was there before, and is
taken away again when the last run that wants it ends.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterable
from types import FrameType
from typing import TYPE_CHECKING, Any

from provml_hpc.capture.survivor import Survivor
from provml_hpc.errors import UsageError

if TYPE_CHECKING:
    from provml_hpc.capture.session import Session

_wanted: dict[int, list[Session]] = {}
_before: dict[int, Any] = {}


def numbers(names: Iterable[str | int]) -> list[int]:
    """Return the numbers of signals given by name (``"SIGUSR1"``, ``"USR1"``) or number.

    Raises
    ------
    UsageError
        There is no such signal, or it cannot be handled.
    """
    found = []
    for name in [names] if isinstance(names, (str, int)) else names:
        try:
            number = (
                signal.Signals(name)
                if isinstance(name, int)
                else signal.Signals["SIG" + name.upper().removeprefix("SIG")]
            )
        except (KeyError, ValueError):
            raise UsageError(f"stop_signals: there is no signal {name!r}; write for example 'SIGUSR1'") from None
        if number in (signal.SIGKILL, signal.SIGSTOP):
            raise UsageError(f"stop_signals: no process can handle {number.name}; choose another")
        found.append(int(number))
    return found


def watch(session: Session, wanted: Collection[int]) -> None:
    """Have signals set a session's flag until :func:`release`. Works in the main thread only, as Python has it."""
    for number in wanted:
        if number not in _before:
            try:
                _before[number] = signal.signal(number, _handle)
            except ValueError as error:
                session.trouble(f"stop_signals: {error}; open the run in the main thread")
                return
        _wanted.setdefault(number, []).append(session)
    if wanted and session.folder not in (None, session.hidden):
        session.survivor = Survivor(session, set(wanted))


def release(session: Session) -> None:
    """Stop watching for a session, and put back the handlers that nobody needs any more."""
    if session.survivor is not None:
        session.survivor.close()
    for number, sessions in list(_wanted.items()):
        if session in sessions:
            sessions.remove(session)
        if sessions:
            continue
        del _wanted[number]
        before = _before.pop(number)
        # Somebody who came after us may have chained our handler: then it has to stay, and does nothing but pass on.
        if signal.getsignal(number) is _handle:
            signal.signal(number, signal.SIG_DFL if before is None else before)
        else:
            _before[number] = before


def _handle(number: int, frame: FrameType | None) -> None:
    for session in _wanted.get(number, ()):
        session.stop_signalled = True
    before = _before.get(number)
    if callable(before):
        before(number, frame)
