"""The transport over MPI: what the ranks agree on and exchange, as steps that all take together."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from provml_hpc.errors import TransportError, UsageError
from provml_hpc.transport.base import (
    LARGEST_ROUND,
    ROUND_BYTES,
    Agreement,
    Answer,
    Commit,
    Notice,
    Report,
    Sink,
    check_round_bytes,
    pieces,
)
from provml_hpc.transport.clocks import Difference, measure
from provml_hpc.transport.council import Council
from provml_hpc.transport.meeting import WHAT, Leaf, Meeting
from provml_hpc.transport.steps import Steps
from provml_hpc.transport.tree import divide, grow

if TYPE_CHECKING:
    from mpi4py import MPI

NODE_FIRST = 512
"""Ranks from which on those of one node send through one of them; see docs/benchmarks.md."""
_LEADER_BYTES = 4 << 20  # at once, in the memory of a rank that sends on what others sent
_STAR = 256  # ranks up to which the root of a broadcast sends to each itself, a microsecond or so a rank
_SPREAD = 10  # the tag of that
_INLINE = 256  # bytes of the first message of a broadcast: the length, and the payload where it fits


class Parallel:
    """A `Transport` over an MPI communicator. Its construction is *Collective*.

    Parameters
    ----------
    comm
        The user's communicator. It is duplicated, and never talked on.
    writer
        Rank that the bytes go to, until others are appointed.
    round_bytes
        Cap, in bytes over all ranks, of what is on its way to a writer rank at once, and so of its memory. It may be
        exceeded by a word of 8 bytes a rank.
    nodes
        For each rank a number of its node: the ranks of one node then send through one of them. Found out from
        `NODE_FIRST` ranks on.

    Raises
    ------
    UsageError
        Where the writer is no rank of the communicator, or the cap is no size that a round can have.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        *,
        writer: int = 0,
        round_bytes: int = ROUND_BYTES,
        nodes: Sequence[int] | None = None,
    ) -> None:
        from mpi4py import MPI

        self._rank, self._size = comm.Get_rank(), comm.Get_size()
        # Checked before the duplication, so that a wrong call fails on all ranks and not in the middle of a collective.
        self._round_bytes = check_round_bytes(round_bytes)
        if not 0 <= writer < self._size:
            raise UsageError(f"writer={writer} is no rank of this communicator: give 0 to {self._size - 1}")
        self._steps = Steps(comm, writer)
        self._comm = self._steps.comm
        self._byte, self._word = MPI.BYTE, MPI.INT64_T
        self._nodes = find_nodes(comm) if nodes is None and self._size >= NODE_FIRST else nodes
        self._node_first = 0 if nodes is not None else NODE_FIRST
        self._meeting: Leaf | Meeting
        self._council: Council | None
        self._plan(writer, [writer] * self._size)

    def _plan(self, lead: int, writers: Sequence[int]) -> None:
        self._lead, self._writer = lead, writers[self._rank]
        group = [rank for rank, writer in enumerate(writers) if writer == self._writer]
        nodes = self._nodes if len(group) >= self._node_first else None
        tree = grow(self._rank, group, self._writer, nodes)
        quota = self._round_bytes // (len(group) - 1 or 1)
        if nodes is not None:
            quota = min(quota, _LEADER_BYTES // tree.widest)
        quota = max(quota // 8 * 8, 8)
        if tree.parent is not None and not tree.children:
            self._meeting = Leaf(self._steps, tree.parent, quota)
        else:
            self._meeting = Meeting(self._steps, tree, self._rank, quota, self._round_bytes)
        every = sorted(set(writers))
        several = len(every) > 1 and self._rank == self._writer
        self._council = Council(self._steps, self._rank, lead, every) if several else None

    def __repr__(self) -> str:
        return f"<MPI transport: rank {self._rank} of {self._size}, writer rank {self._writer}, lead {self._lead}>"

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
        """Rank that the bytes of this rank go to."""
        return self._writer

    @property
    def lead(self) -> int:
        """Rank that answers for all."""
        return self._lead

    @property
    def alone(self) -> bool:
        """Whether there are no other ranks."""
        return self._size == 1

    @property
    def failure(self) -> TransportError | None:
        """What a collective call would raise now, as in `Transport.failure`."""
        return self._steps.failure

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
        """Take a flush point, as in `Transport.meet`. *Collective*."""
        until = _until(deadline)
        respond = answer or _say_nothing

        def decide(group: Agreement, failed: Exception | None) -> tuple[Agreement, bytes]:
            said = commit(group, failed) if commit is not None else b""
            if self._council is not None:
                return self._council.hold(group, said, respond, until)
            return group, respond(group, {self._rank: said} if said else {})

        return self._steps.together(WHAT, partial(self._meeting.hold, report, chunks, sink, decide, until))

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
        self._spread(what, first, root, until)
        length = int.from_bytes(first[:8], "little")
        if length <= _INLINE - 8:
            return bytes(first[8 : 8 + length])
        whole = memoryview(payload if mine else bytearray(length))
        for part in pieces([whole], self._round_bytes):
            self._spread(what, part, root, until)
        return bytes(payload if mine else whole)

    def _spread(self, what: str, data: bytearray | memoryview, root: int, until: float | None) -> None:
        """Give bytes of a known size to all ranks."""
        steps = self._steps
        if self._size > _STAR:
            steps.take(what, until, partial(self._comm.Ibcast, [data, self._byte], root))
        elif self._rank == root:
            others = [rank for rank in range(self._size) if rank != root]
            steps.together(what, lambda: steps.wait([steps.send(data, rank, _SPREAD) for rank in others], what, until))
        else:
            # In a tree of ranks that sleep, each level would come late by its sleeps. Here nobody waits for this rank.
            steps.together(what, lambda: steps.wait([steps.receive(data, root, _SPREAD)], what, until, alone=True))

    def allgather(self, payload: bytes, *, deadline: float | None = None) -> list[bytes]:
        """Give few bytes of every rank to all ranks, as in `Transport.allgather`. *Collective*."""
        return self._share(payload, _until(deadline))

    def divide(self, writers: int) -> list[int]:
        """Choose the writer rank of each rank, as in `Transport.divide`."""
        return divide(self._size, writers, self._lead, self._nodes)

    def appoint(self, lead: int, writers: Sequence[int], names: Sequence[int]) -> None:
        """Have the bytes go to other ranks, as in `Transport.appoint`."""
        self._steps.appoint(lead, names)
        self._plan(lead, writers)

    def agree(self, mine: bool) -> bool:
        """Agree though ranks died, as in `Transport.agree`. *Collective*."""
        return self._steps.agree(mine)

    def lost(self) -> list[int]:
        """Return the ranks whose processes died, as in `Transport.lost`. Not collective."""
        return self._steps.lost()

    def measure_clock(
        self, ranks: Sequence[int], clock: Callable[[], int], *, deadline: float | None = None
    ) -> Difference | None:
        """Measure clocks against the lead's, as in `Transport.measure_clock`. *Collective*."""
        others = [rank for rank in ranks if rank != self._lead]
        if not others:
            return None
        return measure(self._steps, self._rank, self._lead, others, clock, _until(deadline))

    def leave(self, reason: str) -> None:
        """Leave early, as in `Transport.leave`. Not collective."""
        self._steps.leave(reason)

    def notices(self) -> list[Notice]:
        """Return what is known of ranks that left early, as in `Transport.notices`. Not collective."""
        return self._steps.notices()

    def close(self, *, deadline: float | None = None) -> bool:
        """End the transport and free the communicator, as in `Transport.close`. *Collective* on the normal path."""
        self._meeting.forget()
        return self._steps.close(_until(deadline))

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


def find_nodes(comm: MPI.Intracomm) -> list[int]:
    """Return for each rank the lowest rank of its node. *Collective*."""
    from mpi4py import MPI

    # With capital letters: those with small ones pickle.
    lowest, every = array("i", [comm.Get_rank()]), array("i", bytes(4 * comm.Get_size()))
    near = comm.Split_type(MPI.COMM_TYPE_SHARED)
    near.Allreduce(MPI.IN_PLACE, [lowest, MPI.INT], MPI.MIN)
    near.Free()
    comm.Allgather([lowest, MPI.INT], [every, MPI.INT])
    return every.tolist()


def _say_nothing(agreement: Agreement, said: Mapping[int, bytes]) -> bytes:
    return b""


def _until(deadline: float | None) -> float | None:
    return None if deadline is None else time.monotonic() + deadline
