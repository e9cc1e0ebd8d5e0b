"""How far the clocks of the ranks are apart: measured where machines differ, known where they do not.

The times of a rank are the wall time at the start of its run and what its monotonic clock counted since. On one machine
all processes have one monotonic clock, so how far two of them are apart is the difference of what they add to it, and
nothing need be asked. Of each other machine one rank is measured against the lead, at the start and again at the
end; the other ranks there know how far they are from that one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from provml_hpc import records
from provml_hpc.environment.apart import boot_id

if TYPE_CHECKING:
    from provml_hpc.transport import Transport

_TRIES = 5
_MEASURED = struct.Struct("<qq")


class Reading(NamedTuple):
    """What to add to the monotonic clock to get the wall time, in nanoseconds, and by how much that may be off."""

    clock_to_wall_ns: int
    uncertainty_ns: int


def read() -> Reading:
    """Read both clocks together: of some tries the one in which the least time passed between them."""
    tries = []
    for _ in range(_TRIES):
        before, wall, after = monotonic_ns(), time_ns(), monotonic_ns()
        tries.append(Reading(wall - (before + after) // 2, (after - before + 1) // 2))
    return min(tries, key=lambda one: one.uncertainty_ns)


def machine() -> str:
    """Return what tells a monotonic clock from all others: the start of the machine, and its namespace of time."""
    try:
        namespace = str(Path("/proc/self/ns/time").readlink())
    except OSError:
        namespace = ""
    boot = boot_id()
    return f"{boot} {namespace}" if boot else ""


class Clocks:
    """The clocks of a run, as one rank knows them.

    Parameters
    ----------
    reading
        Of this rank.
    """

    def __init__(self, reading: Reading) -> None:
        self._base = reading.clock_to_wall_ns
        self._width = reading.uncertainty_ns
        self._measured: list[int] = []
        self._mine = 0
        self._shift = self._blur = 0

    def tell(self) -> list[Any]:
        """Return what the other ranks have to know of this one, for :meth:`begin`."""
        return [machine(), self._base, self._width]

    def begin(self, transport: Transport, told: Sequence[list[Any]]) -> list[records.Clock]:
        """Measure at the start of a run. *Collective*.

        Parameters
        ----------
        transport
            That of the run.
        told
            What each rank told, by rank.

        Returns
        -------
        list
            What to write down; nothing where there is no other rank to compare with.
        """
        if transport.alone:
            return []
        here, *_ = told[transport.rank]
        first: dict[str, int] = {}
        for rank, (name, _, _) in enumerate(told):
            first.setdefault(name or f"rank {rank}", rank)
        home = told[transport.lead][0] or f"rank {transport.lead}"
        self._measured = [rank for name, rank in first.items() if name != home]
        self._mine = transport.lead if here == home else first[here or f"rank {transport.rank}"]
        _, base, width = told[self._mine]
        # What the clock of the rank that is measured, or of the lead, is ahead of this one.
        self._shift = base - self._base
        self._blur = 0 if self._mine == transport.rank else width + self._width
        return self._measure(transport)

    def end(self, transport: Transport, deadline: float | None = None) -> list[records.Clock]:
        """Measure again at the end, where anything has to be measured. *Collective*."""
        return self._measure(transport, deadline) if self._measured else []

    def leave_it(self) -> None:
        """Measure no more: the rank that others are compared with may be gone. What was measured at the start holds."""
        self._measured = []

    @property
    def apart(self) -> bool:
        """Whether the run is on several machines, so that there is something to measure; the same on all ranks."""
        return bool(self._measured)

    def _measure(self, transport: Transport, deadline: float | None = None) -> list[records.Clock]:
        offset, uncertainty = 0, 0
        if self._measured:
            mine = transport.measure_clock(self._measured, self._now, deadline=deadline)
            shared = transport.allgather(_MEASURED.pack(*mine) if mine else b"", deadline=deadline)
            if shared[self._mine]:
                offset, uncertainty = _MEASURED.unpack(shared[self._mine])
        return [records.Clock(offset + self._shift, uncertainty + self._blur)]

    def _now(self) -> int:
        return monotonic_ns() + self._base
