"""All checks of the contract over the kinds of communicators that users have."""

from __future__ import annotations

import traceback
from pathlib import Path

from mpi4py import MPI

from provml_hpc.transport import Transport
from provml_hpc.transport.mpi import Parallel
from tests.mpi.contract import CHECKS

world = MPI.COMM_WORLD
split = world.Split(world.rank % 2, -world.rank)
assert isinstance(split, MPI.Intracomm)
communicators: dict[str, MPI.Intracomm] = {
    "self": MPI.COMM_SELF,
    "world": world,
    "nodes": world,
    "groups": world,
    "split": split,
}


def run() -> None:
    for (name, comm), (check_name, check) in ((c, k) for c in communicators.items() for k in CHECKS.items()):
        for writer in sorted({0, comm.size - 1}):

            def make(cap: int, comm: MPI.Intracomm = comm, writer: int = writer, name: str = name) -> Transport:
                # As if there were nodes of two and three ranks, whose numbers lie between each other.
                nodes = [rank % 2 for rank in range(comm.size)] if name == "nodes" else None
                made = Parallel(comm, writer=writer, round_bytes=cap, nodes=nodes)
                if name == "groups":
                    made.appoint(writer, made.divide(2), range(comm.size))
                return made

            # The user's own traffic: anything of ours that strayed to their communicator would end in this receive.
            stray = comm.Irecv(bytearray(1 << 20), MPI.ANY_SOURCE, MPI.ANY_TAG)
            check(make)
            assert not stray.Test()
            stray.Cancel()
            stray.Wait()
            comm.Barrier()
            with Path(f"held.{world.rank}").open("a") as held:
                held.write(f"{name} {writer} {check_name}\n")


try:
    run()
except BaseException:
    traceback.print_exc()
    world.Abort(1)
split.Free()
