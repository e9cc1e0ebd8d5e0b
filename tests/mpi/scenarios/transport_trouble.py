"""One kind of trouble on several ranks, named by the first argument. Each rank writes down what became of it."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpi4py import MPI

from provml_hpc.errors import TransportError
from provml_hpc.transport import Report, choose

world = MPI.COMM_WORLD
rank, last = world.rank, world.size - 1
transport = choose(world, round_bytes=1024)
told: dict[str, Any] = {}


def outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except TransportError as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def meet(deadline: float | None = None) -> None:
    transport.meet(Report(), [], deadline=deadline)


def deadline() -> None:
    """The last rank comes after the others gave up."""
    if rank == last:
        world.recv(source=0)
    told["first"] = outcome(lambda: meet(deadline=0.3))
    told["second"] = outcome(meet)
    if rank == 0:
        world.send(None, last)


def close_deadline() -> None:
    """The last rank never closes."""
    meet()
    if rank != last:
        told["closed"] = transport.close(deadline=0.3)


def idle() -> None:
    """The last rank keeps the others waiting, who measure what it costs them."""
    meet()
    world.Barrier()
    if rank == last:
        time.sleep(2)
    wall, cpu = time.perf_counter(), time.process_time()
    meet()
    told["wall"], told["cpu"] = time.perf_counter() - wall, time.process_time() - cpu


def finalized() -> None:
    """The user finalises MPI before the end of the run."""
    meet()
    MPI.Finalize()
    told["first"] = outcome(meet)
    told["second"] = outcome(meet)
    transport.leave("too late")
    told["notices"] = len(transport.notices())
    told["closed"] = transport.close()


def forked() -> None:
    """A forked child must not talk in its parent's name."""
    child = os.fork()
    if child == 0:
        said = outcome(meet)
        transport.leave("not mine to leave")
        said += f" {len(transport.notices())} {transport.close()}"
        Path(f"child.{rank}").write_text(said)
        os._exit(0)
    os.waitpid(child, 0)
    told["child"] = Path(f"child.{rank}").read_text()
    told["first"] = outcome(meet)
    told["notices"] = len(transport.notices())
    told["closed"] = transport.close()


def bounded() -> None:
    """Ranks send much more than a round holds, in pieces so small that MPI sends them unasked."""
    slim = choose(world, round_bytes=1024)
    data = memoryview(bytes((2 << 20) if rank else 0))
    slim.meet(Report(), [])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def sink(piece: memoryview, spans: object) -> None:
        told["got"] = told.get("got", 0) + piece.nbytes

    if rank == 1:
        time.sleep(0.5)  # the first in the stream: ranks 2 and 3 have the time to run ahead
    slim.meet(Report(), [data], sink)
    told["grown"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10  # Linux counts KiB
    told["closed"] = slim.close()


globals()[sys.argv[1]]()
Path(f"told.{rank}").write_text(json.dumps(told))
