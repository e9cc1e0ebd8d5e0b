"""The transport of a process that talks to nobody: the same steps, with nobody to wait for and no MPI."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from provml_hpc.errors import TransportError, UsageError
from provml_hpc.transport.base import (
    ROUND_BYTES,
    Agreement,
    Answer,
    Commit,
    Notice,
    Report,
    Sink,
    check_round_bytes,
    flatten,
    pieces,
)
from provml_hpc.transport.clocks import Difference


class Serial:
    """A `Transport` of one process: the only rank of its run, or one of several that do not find each other.

    Such a rank is the writer of its own file, and hears nothing of the others.

    Parameters
    ----------
    round_bytes
        Largest view, in bytes, that a sink gets.
    rank, size
        Which of how many processes this one is.
    """

    alone = True

    def __init__(self, *, round_bytes: int = ROUND_BYTES, rank: int = 0, size: int = 1) -> None:
        self.rank = self.writer = self.lead = rank
        self.size = size
        self._round_bytes = check_round_bytes(round_bytes)
        self._failure: TransportError | None = None
        self._notices: list[Notice] = []

    def __repr__(self) -> str:
        return "<Serial transport: " + (f"rank {self.rank} of {self.size}, apart>" if self.size > 1 else "one rank>")

    @property
    def failure(self) -> TransportError | None:
        """What a collective call would raise now, as in `Transport.failure`."""
        return self._failure

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
        """Give the bytes to the sink and return this rank's own answer, as in `Transport.meet`."""
        self._check()
        failed = None
        try:
            for piece in pieces(flatten(chunks), self._round_bytes) if sink is not None else ():
                sink(piece, ((self.rank, 0, piece.nbytes),))  # type: ignore[misc] # there is one
        except Exception as error:
            failed = error
        requests = {self.rank: report.requests} if report.requests else {}
        agreement = Agreement(report.finishing, report.stop_requested, bool(requests), requests)
        said = commit(agreement, failed) if commit is not None else b""
        return agreement, answer(agreement, {self.rank: said} if said else {}) if answer is not None else b""

    def broadcast(self, payload: bytes, root: int, *, deadline: float | None = None) -> bytes:
        """Return the payload, as in `Transport.broadcast`."""
        self._check()
        if root != self.rank:
            raise UsageError(f"nothing comes from rank {root}: rank {self.rank} talks to nobody")
        return bytes(payload)

    def allgather(self, payload: bytes, *, deadline: float | None = None) -> list[bytes]:
        """Return the payload, as in `Transport.allgather`."""
        self._check()
        return [bytes(payload) if rank == self.rank else b"" for rank in range(self.size)]

    def divide(self, writers: int) -> list[int]:
        """Have the one rank write, as in `Transport.divide`."""
        return [self.rank] * self.size

    def appoint(self, lead: int, writers: Sequence[int], names: Sequence[int]) -> None:
        """Have the one rank write, as in `Transport.appoint`."""

    def agree(self, mine: bool) -> bool:
        """Return what this rank says, as in `Transport.agree`."""
        return mine

    def lost(self) -> list[int]:
        """Return nothing, as in `Transport.lost`: who asks is alive."""
        return []

    def measure_clock(
        self, ranks: Sequence[int], clock: Callable[[], int], *, deadline: float | None = None
    ) -> Difference | None:
        """Return nothing, as in `Transport.measure_clock`: there is no other clock to be heard of."""
        self._check()
        return None

    def leave(self, reason: str) -> None:
        """Enter no step any more, as in `Transport.leave`."""
        if self._failure is None:
            self._failure = TransportError(f"this rank left the run early ({reason}): start no further flush point")
            self._notices.append(Notice(self.rank, reason, time.time_ns()))

    def notices(self) -> list[Notice]:
        """Return the notice of this rank, if it left."""
        return list(self._notices)

    def close(self, *, deadline: float | None = None) -> bool:
        """End the transport, as in `Transport.close`."""
        if self._failure is not None:
            return False
        self._failure = TransportError("the transport is closed: start a new run")
        return True

    def _check(self) -> None:
        if self._failure is not None:
            raise type(self._failure)(*self._failure.args)
