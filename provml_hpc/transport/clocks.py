"""How far apart two clocks are: asked a few times over the messages of a run, of which the quickest answer counts.

A rank asks the writer rank what time it is. The answer was given between its asking and its hearing, so it is off by at
most half of that time, whatever the network did (F. Cristian, Probabilistic clock synchronization, 1989).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from provml_hpc.transport.steps import Steps

ROUNDS = 8
"""How often each rank asks; with the word that it is its turn, that is 17 messages a rank that is measured."""

_TAG = 8  # not that of notices
_WHAT = "the comparison of clocks"


class Difference(NamedTuple):
    """What to add to this rank's clock to get that of the writer rank, and by how much it may be off; nanoseconds."""

    offset_ns: int
    uncertainty_ns: int


def measure(
    steps: Steps, rank: int, writer: int, ranks: Sequence[int], clock: Callable[[], int], until: float | None
) -> Difference | None:
    """Measure some ranks' clocks against that of the writer rank, one rank after the other. *Collective*.

    One step of all ranks. Those that are not measured go on at once.
    """
    found: list[Difference] = []

    def talk(wait: Callable[..., None], comm: Any, byte: Any) -> None:
        if rank == writer:
            for other in ranks:
                wait(comm.Isend([b"!", byte], other, _TAG))
                for _ in range(ROUNDS):
                    wait(comm.Irecv([bytearray(1), byte], other, _TAG))
                    wait(comm.Isend([array("q", [clock()]), byte], other, _TAG))
        elif rank in ranks:
            answer = array("q", [0])
            wait(comm.Irecv([bytearray(1), byte], writer, _TAG))
            for _ in range(ROUNDS):
                coming = comm.Irecv([answer, byte], writer, _TAG)
                asked = clock()
                wait(comm.Isend([b"?", byte], writer, _TAG), coming)
                heard = clock()
                half = (heard - asked + 1) // 2
                found.append(Difference(answer[0] - (asked + heard) // 2, half))

    steps.converse(_WHAT, until, talk)
    return min(found, key=lambda one: one.uncertainty_ns) if found else None
