"""What the capture itself took, as the file tells it of every rank.

Flush points, gathers, appends and the close are timed. Calls are not, since two looks at the clock cost as much as the
call: they are counted, and the count is multiplied by what a call takes here in a loop. That is a lower bound: in a
training the caches are cold, and a call takes several times as long (docs/benchmarks.md).
"""

from __future__ import annotations

from time import perf_counter_ns
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provml_hpc.capture.session import Session

_CALLS, _BATCHES = 32, 5


def of(session: Session) -> dict[str, int]:
    """Return what the capture took on this rank until now: nanoseconds by name, and the number of flush points."""
    found = {name if name == "flush_points" else f"{name}_ns": value for name, value in session.cost_ns.items()}
    frames = session.journal.sequence if session.journal is not None else 0
    return found | {"calls_estimated_ns": frames * call_ns()}


def call_ns() -> int:
    """Return nanoseconds of a call with three values in a loop: the quickest of a few batches."""
    from threading import get_ident

    from provml_hpc.capture.recorder import recorder

    room = memoryview(bytearray(_CALLS * 64))
    journal: Any = SimpleNamespace(
        window=room, first=SimpleNamespace(words=memoryview(bytearray(16)).cast("Q")), state=[0, 1, get_ident()]
    )
    record = recorder(journal, 1, 3, [0], lambda step, values: None)
    best = 0
    for _ in range(_BATCHES):
        journal.state[0] = 0
        began = perf_counter_ns()
        for step in range(_CALLS):
            record(step, 0.1, 0.2, 0.3)
        spent = (perf_counter_ns() - began) // _CALLS
        best = min(best or spent, spent)
    return best
