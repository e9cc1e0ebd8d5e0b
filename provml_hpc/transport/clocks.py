"""How far apart two clocks are: asked a few times over the messages of a run, of which the quickest answer counts.

A rank asks the lead what time it is. The answer was given between its asking and its hearing, so it is off by at
most half of that time, whatever the network did (F. Cristian, Probabilistic clock synchronization, 1989).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mpi4py import MPI

    from provml_hpc.transport.steps import Steps

ROUNDS = 8
"""How often each rank asks; with the word that it is its turn, that is 17 messages a rank that is measured."""

_TAG = 11  # of no other message
_WHAT = "the comparison of clocks"


class Difference(NamedTuple):
    """What to add to this rank's clock to get that of the lead, and by how much it may be off; nanoseconds."""

    offset_ns: int
    uncertainty_ns: int


def measure(
    steps: Steps, rank: int, lead: int, ranks: Sequence[int], clock: Callable[[], int], until: float | None
) -> Difference | None:
    """Measure some ranks' clocks against that of the lead, one rank after the other. *Collective*.

    One step of all ranks. Those that are not measured go on at once.
    """
    found: list[Difference] = []

    def wait(*requests: MPI.Request) -> None:
        steps.wait(list(requests), _WHAT, until, quick=True)

    def talk() -> None:
        if rank == lead:
            for other in ranks:
                wait(steps.send(b"!", other, _TAG))
                for _ in range(ROUNDS):
                    wait(steps.receive(bytearray(1), other, _TAG))
                    wait(steps.send(array("q", [clock()]).tobytes(), other, _TAG))
        elif rank in ranks:
            answer = bytearray(8)
            wait(steps.receive(bytearray(1), lead, _TAG))
            for _ in range(ROUNDS):
                coming = steps.receive(answer, lead, _TAG)
                asked = clock()
                wait(steps.send(b"?", lead, _TAG), coming)
                heard = clock()
                half = (heard - asked + 1) // 2
                found.append(Difference(array("q", answer)[0] - (asked + heard) // 2, half))

    steps.together(_WHAT, talk)
    return min(found, key=lambda one: one.uncertainty_ns) if found else None
