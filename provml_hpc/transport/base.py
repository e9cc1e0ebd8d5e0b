"""What every transport offers: the terms in which the ranks of a run agree and exchange bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

from provml_hpc.errors import TransportError, UsageError
from provml_hpc.transport.clocks import Difference

Sink = Callable[[memoryview, Sequence[tuple[int, int, int]]], None]
"""Takes ``(data, spans)`` on a writer rank: bytes of one rank or several, and whose they are, ``(rank, start, stop)``
for one rank after the other without gaps. The view is valid during the call only: its memory is used again."""

ROUND_BYTES = 64 << 20
"""Default cap, in bytes over all ranks, of what one round of a gather brings to a writer rank."""

LARGEST_ROUND = 1 << 30
"""Largest cap that is accepted: counts and displacements of one MPI call stay far below 2 GiB."""


class Report(NamedTuple):
    """What one rank tells at the start of a flush point.

    Parameters
    ----------
    finishing
        Whether this rank is at the end of its run and only takes part so that the others can flush.
    stop_requested
        Whether this rank was asked to stop.
    requests
        A small payload for the lead, normally empty.
    """

    finishing: bool = False
    stop_requested: bool = False
    requests: bytes = b""


class Agreement(NamedTuple):
    """What all ranks know after a flush point; equal on all of them but for `requests`.

    Parameters
    ----------
    all_finishing
        Whether all ranks are at the end of their run.
    any_stop
        Whether any rank was asked to stop.
    has_requests
        Whether any rank had a request.
    requests
        The requests by rank, of those that have one; empty where this rank is not asked to do anything about them.
    """

    all_finishing: bool
    any_stop: bool
    has_requests: bool
    requests: Mapping[int, bytes] = MappingProxyType({})


Commit = Callable[[Agreement, "Exception | None"], bytes]
"""Called on a writer rank once it has all bytes, with what the ranks that send to it agree on and what the sink raised.
Returns what the lead is to hear of it; nothing, as a rule."""

Answer = Callable[[Agreement, Mapping[int, bytes]], bytes]
"""Makes the lead's answer at a flush point, from what all ranks agree on and what the writer ranks had to say."""


class Notice(NamedTuple):
    """A rank that left the run early.

    Parameters
    ----------
    rank
        The rank that left.
    reason
        Why, in its own words.
    time_ns
        When, on its own clock: int64 nanoseconds since the epoch.
    """

    rank: int
    reason: str
    time_ns: int


@runtime_checkable
class Transport(Protocol):
    """Moves bytes to the writer rank of a run, and lets its ranks agree.

    A run may have several writer ranks, each with a group of ranks that send to it. One of them, the *lead*, speaks for
    the run: it answers for all at a flush point.

    The methods marked *Collective* are called by all ranks, in the same order, from one thread at a time. They wait
    without spinning, and no rank waits for one that has left:

    - A wait ends with `PeerLeftError` as soon as it is known that a rank left before it had its part in this step. A
      step that the leaver had completed still completes on the others, so what all ranks agreed on before stays agreed.
    - A wait ends with `TransportError` after ``deadline`` seconds, counted from the call; without a deadline it takes
      as long as it takes.
    - After either the transport is broken (`failure`): every later collective call raises the same at once. A rank
      that gave up by itself (deadline, error of the MPI library, interrupt) has told the others, as with `leave`.
    """

    @property
    def rank(self) -> int:
        """Rank of this process."""

    @property
    def size(self) -> int:
        """Number of ranks."""

    @property
    def writer(self) -> int:
        """Rank that the bytes of this rank go to."""

    @property
    def lead(self) -> int:
        """Rank that answers for all: the writer rank, or one of them."""

    @property
    def alone(self) -> bool:
        """Whether this process talks to nobody: its steps are collective in name only."""

    @property
    def failure(self) -> TransportError | None:
        """What a collective call would raise now: the transport is broken, left or closed. Nothing while it works."""

    def meet(
        self,
        report: Report,
        chunks: Sequence[memoryview],
        sink: Sink | None = None,
        commit: Commit | None = None,
        answer: Answer | None = None,
        *,
        deadline: float | None = None,
    ) -> tuple[Agreement, bytes]:
        """Take a flush point: tell, give bytes to the writer rank, and get the lead's answer. *Collective*.

        Parameters
        ----------
        report
            What this rank tells.
        chunks
            The bytes of this rank, in order. They must not change meanwhile.
        sink
            Called on writer ranks alone, with contiguous bytes, in order per rank; never with an empty view or span,
            or a view larger than a round. Where all sizes are multiples of 8, so are the ends of the spans. Once it has
            raised it is not called again, and the bytes still to come are not asked for.
        commit
            Called on writer ranks alone, when all bytes are there, which are many or none. By default nothing is done.
        answer
            Called on the lead alone, when all writer ranks have committed. What it returns is given to all ranks.
        deadline
            Seconds after which to give up.

        Returns
        -------
        tuple
            What the ranks agree on, and the lead's answer.
        """

    def broadcast(self, payload: bytes, root: int, *, deadline: float | None = None) -> bytes:
        """Give the bytes of one rank to all ranks; what the others pass is ignored. *Collective*."""

    def allgather(self, payload: bytes, *, deadline: float | None = None) -> list[bytes]:
        """Give few bytes of every rank to all ranks, ordered by rank. *Collective*, meant for the start of a run."""

    def divide(self, writers: int) -> list[int]:
        """Return for each rank the writer rank that it would have if so many wrote. Not collective, and alike on all.

        Parameters
        ----------
        writers
            How many ranks are to write, the lead among them. There are never more than ranks.
        """

    def appoint(self, lead: int, writers: Sequence[int], names: Sequence[int]) -> None:
        """Have the bytes go to other ranks from now on, and say what the ranks are called.

        Called by all ranks with equal arguments, once they agreed on them and before anything goes to a writer rank.

        Parameters
        ----------
        lead
            The writer rank that answers for all.
        writers
            For each rank the one that its bytes go to. Writer ranks keep their own.
        names
            For each rank the number that messages call it by.
        """

    def agree(self, mine: bool) -> bool:
        """Return whether all ranks that live say yes, the same on all of them, whatever failed before. *Collective*.

        It is for what ranks have to go on from alike though one died in the middle. Where the MPI library lets no job
        outlive a rank there is no such case: nothing is sent, and the answer is this rank's own.
        """

    def lost(self) -> list[int]:
        """Return the ranks whose processes are known to have died. Not collective.

        Empty where the MPI library cannot tell. Open MPI under ``mpiexec --with-ft ulfm`` can.
        """

    def measure_clock(
        self, ranks: Sequence[int], clock: Callable[[], int], *, deadline: float | None = None
    ) -> Difference | None:
        """Measure how far some ranks' clocks are from that of the lead. *Collective*.

        Parameters
        ----------
        ranks
            Those that are measured, the same on all ranks. Each takes 17 messages, one rank after the other; without
            any, nothing is sent.
        clock
            This rank's clock, in nanoseconds.
        deadline
            Seconds after which to give up.

        Returns
        -------
        Difference or None
            What to add to this rank's clock, and by how much that may be off; nothing on a rank that was not measured.
        """

    def leave(self, reason: str) -> None:
        """Leave early: tell the lead, which tells the others, and enter no collective call any more.

        Not collective, does not wait for anybody and raises nothing. Where this rank is the lead, it tells all others
        itself. A rank that stops because of somebody else's notice tells nothing, since the others know.
        """

    def notices(self) -> list[Notice]:
        """Return what is known of ranks that left early, this one included, in the order in which it became known.

        Not collective. On the lead it also relays what it finds.
        """

    def close(self, *, deadline: float | None = None) -> bool:
        """End the transport and free what it holds. *Collective* on the normal path; raises nothing.

        Returns
        -------
        bool
            Whether all ranks ended here. Otherwise (one left early, or the deadline passed) the communicator is left
            alone, not freed.
        """


def check_round_bytes(round_bytes: int) -> int:
    """Return the cap of a round, cut to a multiple of 8 so that no round tears an aligned word.

    Raises
    ------
    UsageError
        Where it is no size that a round can have.
    """
    if not 8 <= round_bytes <= LARGEST_ROUND:
        raise UsageError(
            f"a round of {round_bytes} bytes is not possible: give from 8 bytes to {LARGEST_ROUND} (1 GiB)"
        )
    return round_bytes - round_bytes % 8


def flatten(chunks: Sequence[memoryview]) -> list[memoryview]:
    """Return the chunks that hold anything, as views of plain bytes."""
    return [chunk.cast("B") for chunk in chunks if chunk.nbytes]


def pieces(chunks: Sequence[memoryview], limit: int) -> Iterator[memoryview]:
    """Yield the chunks in pieces of at most ``limit`` bytes, without a copy."""
    for chunk in chunks:
        for start in range(0, chunk.nbytes, limit):
            yield chunk[start : start + limit]


def cut(chunks: Sequence[memoryview], start: int, stop: int) -> memoryview:
    """Return bytes ``start`` to ``stop`` of the chunks as one view, a copy only where it spans several of them."""
    found = []
    for chunk in chunks:
        if start < chunk.nbytes and stop > 0:
            found.append(chunk[max(start, 0) : stop])
        start -= chunk.nbytes
        stop -= chunk.nbytes
    return found[0] if len(found) == 1 else memoryview(b"".join(found))


def clip(text: str, limit: int) -> bytes:
    """Return the text in UTF-8, cut to ``limit`` bytes at the end of a character."""
    raw = text.encode("utf-8", "backslashreplace")
    return raw if len(raw) <= limit else raw[:limit].decode("utf-8", "ignore").encode()
