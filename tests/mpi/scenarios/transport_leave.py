"""Ranks leave in one phase of a flush point. Each rank writes down what became of it.

Arguments: the phase, how many ranks write, the lead of them, the ranks that leave.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from mpi4py import MPI

from provml_hpc.errors import TransportError
from provml_hpc.transport import Agreement, Report, choose

phase, writers, writer, *leavers = sys.argv[1], *map(int, sys.argv[2:])
world = MPI.COMM_WORLD
rank = world.rank
# Rounds of a size that no MPI sends unasked.
transport = choose(world, writer=writer, round_bytes=1 << 18)
transport.appoint(writer, transport.divide(writers), range(world.size))
data = bytes([rank]) * ((1 << 20) + 8 * rank)
told: dict[str, Any] = {"settled": 0, "phase": "before"}


class Stop(BaseException):
    """What a signal handler raises in the middle of the rounds."""


def stop(number: int, frame: FrameType | None) -> None:
    raise Stop


def slowly(piece: memoryview, spans: Sequence[tuple[int, int, int]]) -> None:
    assert all(set(piece[start:stop]) == {source} for source, start, stop in spans)
    time.sleep(0.02)


def flush(leave_in: str) -> None:
    """Take one flush point, or leave in the phase."""

    def leave_now(here: str) -> None:
        told["phase"] = here
        if leave_in == here:
            raise Stop

    def commit(agreement: Agreement, error: Exception | None) -> bytes:
        assert error is None
        return b""

    def answer(agreement: Agreement, said: Mapping[int, bytes]) -> bytes:
        if leave_in == "answering":
            raise Stop
        return b"settled"

    leave_now("before")
    if leave_in in ("rounds", "answering"):  # of which only the writer rank sees the second
        signal.setitimer(signal.ITIMER_REAL, 0.05)
    sink = slowly if phase in ("rounds", "answering") and told["settled"] else None
    assert transport.meet(Report(), [memoryview(data)], sink, commit, answer)[1] == b"settled"
    signal.setitimer(signal.ITIMER_REAL, 0)
    told["settled"] += 1
    leave_now("settled")


signal.signal(signal.SIGALRM, stop)
flush("")
try:
    if phase == "late" and rank == writer:
        time.sleep(1)  # the others wait meanwhile, one has left
    if rank in leavers:
        flush("before" if phase in ("closing", "late") else phase)
        raise AssertionError("the leaver did not leave")
    if phase != "closing":
        flush("")
        flush("")
        raise AssertionError("a flush point without the leaver came to an end")
except Stop:
    transport.leave(f"Stop on rank {rank}")
except TransportError as error:
    signal.setitimer(signal.ITIMER_REAL, 0)  # another left before this one's moment came
    told |= {"error": type(error).__name__, "text": str(error)}
try:
    told["closed"] = transport.close()
    transport.meet(Report(), [])
except TransportError as error:
    told |= {"again": type(error).__name__}
told["notices"] = sorted((notice.rank, notice.reason) for notice in transport.notices())
# The user's communicator is as good as new.
told["sum"] = world.allreduce(1)
Path(f"told.{rank}").write_text(json.dumps(told))
