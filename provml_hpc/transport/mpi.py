"""The transport over MPI: what the ranks agree on and exchange, as steps that all take together."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from provml_hpc.errors import TransportError, UsageError
from provml_hpc.transport.base import (
    LARGEST_ROUND,
    ROUND_BYTES,
    TROUBLE_BYTES,
    Agreement,
    Notice,
    Report,
    Sink,
    Trouble,
    check_round_bytes,
    check_size,
    clip,
    cut,
    flatten,
    pieces,
)
from provml_hpc.transport.clocks import Difference, measure
from provml_hpc.transport.steps import Steps

if TYPE_CHECKING:
    from mpi4py import MPI

_INLINE = 256  # bytes of the first message of a broadcast: the length, and the payload where it fits


class Parallel:
    """A `Transport` over an MPI communicator. Its construction is *Collective*.

    Parameters
    ----------
    comm
        The user's communicator. It is duplicated, and never talked on.
    writer
        Rank that the bytes go to.
    round_bytes
        Cap, in bytes over all ranks, of what one round of a gather brings to the writer rank, and so of its memory.

    Raises
    ------
    UsageError
        Where the writer is no rank of the communicator, or the cap is no size that a round can have.
    """

    def __init__(self, comm: MPI.Intracomm, *, writer: int = 0, round_bytes: int = ROUND_BYTES) -> None:
        from mpi4py import MPI

        self._rank, self._size, self._writer = comm.Get_rank(), comm.Get_size(), writer
        # Checked before the duplication, so that a wrong call fails on all ranks and not in the middle of a collective.
        self._round_bytes = check_round_bytes(round_bytes)
        if not 0 <= writer < self._size:
            raise UsageError(f"writer={writer} is no rank of this communicator: give 0 to {self._size - 1}")
        self._steps = Steps(comm, writer)
        self._comm = self._steps.comm
        self._byte, self._word = MPI.BYTE, MPI.INT64_T
        self._max, self._sum = MPI.MAX, MPI.SUM
        self._told = 0
        # Receives the rounds. Kept from one gather to the next: fresh pages cost more than the bytes that fill them.
        self._room = bytearray()

    def __repr__(self) -> str:
        return f"<MPI transport: rank {self._rank} of {self._size}, writer rank {self._writer}>"

    @property
    def rank(self) -> int:
        """Rank of this process."""
        return self._rank

    @property
    def size(self) -> int:
        """Number of ranks."""
        return self._size

    @property
    def writer(self) -> int:
        """Rank that the bytes go to."""
        return self._writer

    @property
    def alone(self) -> bool:
        """Whether there are no other ranks."""
        return self._size == 1

    @property
    def failure(self) -> TransportError | None:
        """What a collective call would raise now, as in `Transport.failure`."""
        return self._steps.failure

    def flush_point(self, report: Report, *, deadline: float | None = None) -> Agreement:
        """Tell the state of this rank and learn that of all, as in `Transport.flush_point`. *Collective*."""
        until = _until(deadline)
        self._told = report.size
        flags = (
            report.finishing,
            not report.finishing,
            report.stop_requested,
            bool(report.requests),
            report.trouble is not None,
        )
        most, sizes = self._survey("the start of a flush point", until, [report.size, *flags])
        largest, finishing, unfinished, stop, requests, trouble = most
        troubles: tuple[Trouble, ...] = ()
        if trouble:
            # The mark tells an empty text from none.
            texts = self._share(b"" if report.trouble is None else b"!" + clip(report.trouble, TROUBLE_BYTES), until)
            troubles = tuple(Trouble(rank, text[1:].decode()) for rank, text in enumerate(texts) if text)
        return Agreement(
            largest=largest,
            all_finishing=not unfinished,
            any_finishing=bool(finishing),
            any_stop=bool(stop),
            has_requests=bool(requests),
            trouble=troubles,
            sizes=sizes,
        )

    def gather(
        self,
        chunks: Sequence[memoryview],
        sink: Sink | None,
        agreement: Agreement,
        *,
        deadline: float | None = None,
    ) -> None:
        """Bring the bytes of every rank to the writer rank, as in `Transport.gather`. *Collective*."""
        until = _until(deadline)
        self._steps.check("the gathering of records")
        flat = flatten(chunks)
        try:
            check_size(self._told, sum(chunk.nbytes for chunk in flat))
        except TransportError as failure:
            self._steps.give_up(failure)
        self._collect(flat, sink, agreement.largest, agreement.sizes, until)

    def exchange(self, payload: bytes, *, deadline: float | None = None) -> list[bytes]:
        """Bring few bytes of every rank to the writer rank, as in `Transport.exchange`. *Collective*."""
        until = _until(deadline)
        parts: list[list[bytes]] = [[] for _ in range(self._size)] if self._rank == self._writer else []
        (largest,), sizes = self._survey("an exchange with the writer rank", until, [len(payload)])

        def sink(data: memoryview, spans: Sequence[tuple[int, int, int]]) -> None:
            for rank, start, stop in spans:
                parts[rank].append(bytes(data[start:stop]))

        self._collect(flatten([memoryview(payload)]), sink, largest, sizes, until)
        return [b"".join(part) for part in parts]

    def settle(self, payload: bytes = b"", *, deadline: float | None = None) -> bytes:
        """Give the writer rank's bytes to all ranks, as in `Transport.settle`. *Collective*."""
        return self.broadcast(payload, self._writer, deadline=deadline)

    def broadcast(self, payload: bytes, root: int, *, deadline: float | None = None) -> bytes:
        """Give the bytes of one rank to all ranks, as in `Transport.broadcast`. *Collective*."""
        if not 0 <= root < self._size:
            raise UsageError(f"there is no rank {root} to broadcast from: give 0 to {self._size - 1}")
        until, what = _until(deadline), f"a broadcast from rank {root}"
        mine = self._rank == root
        first = bytearray(_INLINE)
        if mine:
            head = len(payload).to_bytes(8, "little") + payload[: _INLINE - 8]
            first[: len(head)] = head
        self._steps.take(what, until, partial(self._comm.Ibcast, [first, self._byte], root))
        length = int.from_bytes(first[:8], "little")
        if length <= _INLINE - 8:
            return bytes(first[8 : 8 + length])
        whole = memoryview(payload if mine else bytearray(length))
        for part in pieces([whole], self._round_bytes):
            self._steps.take(what, until, partial(self._comm.Ibcast, [part, self._byte], root))
        return bytes(payload if mine else whole)

    def allgather(self, payload: bytes, *, deadline: float | None = None) -> list[bytes]:
        """Give few bytes of every rank to all ranks, as in `Transport.allgather`. *Collective*."""
        return self._share(payload, _until(deadline))

    def appoint(self, writer: int, names: Sequence[int]) -> None:
        """Have the bytes go to another rank, as in `Transport.appoint`."""
        self._writer = writer
        self._steps.appoint(writer, names)

    def lost(self) -> list[int]:
        """Return the ranks whose processes died, as in `Transport.lost`. Not collective."""
        return self._steps.lost()

    def measure_clock(
        self, ranks: Sequence[int], clock: Callable[[], int], *, deadline: float | None = None
    ) -> Difference | None:
        """Measure clocks against the writer rank's, as in `Transport.measure_clock`. *Collective*."""
        others = [rank for rank in ranks if rank != self._writer]
        if not others:
            return None
        return measure(self._steps, self._rank, self._writer, others, clock, _until(deadline))

    def leave(self, reason: str) -> None:
        """Leave early, as in `Transport.leave`. Not collective."""
        self._steps.leave(reason)

    def notices(self) -> list[Notice]:
        """Return what is known of ranks that left early, as in `Transport.notices`. Not collective."""
        return self._steps.notices()

    def close(self, *, deadline: float | None = None) -> bool:
        """End the transport and free the communicator, as in `Transport.close`. *Collective* on the normal path."""
        self._room = bytearray()
        return self._steps.close(_until(deadline))

    def _survey(self, what: str, until: float | None, values: Sequence[int]) -> tuple[list[int], tuple[int, ...]]:
        """Return the largest of each value over all ranks and, on the writer rank, the first value of each rank."""
        mine, most = array("q", values), array("q", bytes(8 * len(values)))
        sizes = array("q", bytes(8 * self._size)) if self._rank == self._writer else array("q")
        target = [sizes, 1, self._word] if sizes else None
        self._steps.take(
            what,
            until,  # both at once, in the time of one
            partial(self._comm.Iallreduce, [mine, self._word], [most, self._word], self._max),
            partial(self._comm.Igather, [mine, 1, self._word], target, self._writer),
        )
        return most.tolist(), tuple(sizes)

    def _share(self, payload: bytes, until: float | None) -> list[bytes]:
        what = "an exchange among all ranks"
        mine, sizes = array("q", [len(payload)]), array("q", bytes(8 * self._size))
        self._steps.take(what, until, partial(self._comm.Iallgather, [mine, self._word], [sizes, 1, self._word]))
        starts = list(accumulate(sizes, initial=0))
        if starts[-1] > LARGEST_ROUND:  # known to all ranks, which all raise
            raise UsageError(f"{starts[-1]} bytes are too many to give to all ranks: gather them to the writer rank")
        whole = bytearray(starts[-1])
        target = [whole, sizes.tolist(), starts[:-1], self._byte]
        self._steps.take(what, until, partial(self._comm.Iallgatherv, [payload, self._byte], target))
        return [bytes(whole[start:stop]) for start, stop in pairwise(starts)]

    def _collect(
        self,
        chunks: list[memoryview],
        sink: Sink | None,
        largest: int,
        sizes: tuple[int, ...],
        until: float | None,
    ) -> None:
        """Bring all chunks to the sink on the writer rank.

        The bytes of the ranks other than the writer, one rank after the other, make one stream, and a round carries as
        much of it as the cap allows. So every round but the last is full, however uneven the ranks are. The writer
        rank's own bytes go straight to the sink while the first round is on its way.

        Each further round begins with a word of the writer rank. Without it, ranks whose bytes fit what MPI sends
        unasked would run ahead, and all rounds would pile up in the writer rank's memory.
        """
        if largest == 0:
            return
        what, cap = "the gathering of records", self._round_bytes
        writing = self._rank == self._writer
        starts, rounds = self._plan(what, sum(chunk.nbytes for chunk in chunks), largest, sizes, until)
        needed = min(cap, starts[-1]) if writing else 0
        if needed > len(self._room):
            self._room = bytearray(needed)
        buffer = memoryview(self._room)
        inside: list[int] = []
        error: Exception | None = None
        try:
            for low in range(0, rounds * cap, cap):
                if low > 0:
                    word = bytearray([error is None])
                    self._steps.take(what, until, partial(self._comm.Ibcast, [word, self._byte], self._writer))
                    if not word[0]:
                        break
                if writing:
                    inside = [min(max(start - low, 0), cap) for start in starts]
                    counts = [stop - start for start, stop in pairwise(inside)]
                    mine, target = memoryview(b""), [buffer, counts, inside[:-1], self._byte]
                else:
                    mine, target = cut(chunks, low - starts[0], low + cap - starts[0]), None
                self._steps.post(what, partial(self._comm.Igatherv, [mine, self._byte], target, self._writer))
                if not writing and low + cap >= rounds * cap:
                    self._steps.defer()  # nothing is to be done here before the writer rank's answer
                    break
                if writing and low == 0:
                    for piece in pieces(chunks, cap):
                        error = self._deliver(sink, piece, [(self._rank, 0, piece.nbytes)], error)
                self._steps.finish(what, until)
                if writing and inside[-1]:
                    spans = [(rank, *ends) for rank, ends in enumerate(pairwise(inside)) if ends[1] > ends[0]]
                    error = self._deliver(sink, buffer[: inside[-1]], spans, error)
        except TransportError as failure:
            if error is not None:
                raise failure from error
            raise
        if error is not None:
            raise error

    def _plan(
        self, what: str, mine: int, largest: int, sizes: tuple[int, ...], until: float | None
    ) -> tuple[list[int], int]:
        """Return where the ranks' bytes begin in the stream of `_collect`, and the number of rounds.

        The writer rank gets the starts of all ranks and the end, the others their own start alone.
        """
        starts = [0]
        if self._rank == self._writer:
            mine = 0
            starts = list(accumulate((n if r != self._writer else 0 for r, n in enumerate(sizes)), initial=0))
        if largest * (self._size - 1) <= self._round_bytes:
            return starts, 1
        own, before, total = array("q", [mine]), array("q", [0]), array("q", [0])
        self._steps.take(
            what,
            until,
            partial(self._comm.Iexscan, [own, self._word], [before, self._word], self._sum),
            partial(self._comm.Iallreduce, [own, self._word], [total, self._word], self._sum),
        )
        if self._rank != self._writer:
            starts = [before[0] if self._rank else 0]  # what a scan leaves on rank 0 is undefined
        # At least one round, for the writer rank's own bytes.
        return starts, max(1, -(-total[0] // self._round_bytes))

    def _deliver(
        self, sink: Sink | None, data: memoryview, spans: Sequence[tuple[int, int, int]], error: Exception | None
    ) -> Exception | None:
        """Feed the sink unless it failed before, and return its error: raising it would leave the others waiting."""
        if sink is None or error is not None:
            return error
        try:
            sink(data, spans)
        except Exception as failed:
            return failed
        except BaseException as interrupt:
            self._steps.interrupted(interrupt)
            raise
        return None


def _until(deadline: float | None) -> float | None:
    return None if deadline is None else time.monotonic() + deadline
