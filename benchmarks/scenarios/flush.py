"""Ranks that flush, and ranks that do the bare minimum: gather the same bytes and append them to an HDF5 dataset."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

import provml_hpc as provml

CHUNK = 256 * 1024
FRAME = 64  # bytes of a sample of 3 values


class Bare:
    """``Gatherv`` to rank 0, then an append to one dataset of bytes; the ranks go on when it is written.

    The best a plain program does: the receive buffer is kept, the dataset grows in the steps that the library takes.
    """

    def __init__(self, comm: MPI.Intracomm, path: Path, size: int, *, durable: bool) -> None:
        self.comm, self.durable = comm, durable
        self.mine = np.arange(size, dtype=np.uint8)
        self.all = np.zeros(size * comm.size if comm.rank == 0 else 0, np.uint8)
        self.file: Any = None
        if comm.rank == 0:
            import h5py

            self.file = h5py.File(path, "w", libver="latest")
            self.data = self.file.create_dataset("bytes", (0,), maxshape=(None,), chunks=(CHUNK,), dtype=np.uint8)
            self.end = self.room = 0

    def step(self) -> None:
        """Gather once and append."""
        target = [self.all, MPI.BYTE] if self.comm.rank == 0 else None
        self.comm.Gather([self.mine, MPI.BYTE], target)
        if self.comm.rank == 0:
            stop = self.end + len(self.all)
            if stop > self.room:
                self.room = -(-max(stop, self.room + min(self.room, 16 * CHUNK)) // CHUNK) * CHUNK
                self.data.resize((self.room,))
            self.data[self.end : stop] = self.all
            self.end = stop
            self.file.flush()
            if self.durable:
                os.fsync(self.file.id.get_vfd_handle())
        self.comm.Barrier()

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()


def measure(comm: MPI.Intracomm, work: Callable[[], object]) -> dict[str, float]:
    """Return seconds of one piece of collective work: wall on the slowest rank, CPU on the slowest, the writer, all."""
    comm.Barrier()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    most, total = np.zeros(2), np.zeros(1)
    comm.Allreduce(np.array([wall, cpu]), most, MPI.MAX)
    comm.Allreduce(np.array([cpu]), total, MPI.SUM)
    writer = comm.bcast(cpu if comm.rank == 0 else None)
    return {"wall": float(most[0]), "cpu": float(most[1]), "cpu writer": float(writer), "cpu all": float(total[0])}


def main() -> None:
    """Do what the arguments say and write the result."""
    arguments, result = json.loads(sys.argv[1]), Path(sys.argv[2])
    comm = MPI.COMM_WORLD
    folder = Path(arguments["folder"])
    if arguments["bind"]:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[comm.rank % len(cores)]})
    run = provml.init("flush", phase="learning", output=folder / "flush.h5", comm=comm, buffer="8 MiB")
    found: dict[str, dict[str, list[float]]] = {}
    with run, run.training() as training:
        record = training.series("loss", "grad_norm", "lr")
        run.flush()
        for size in arguments["sizes"]:
            bare = {
                durable: Bare(comm, folder / f"bare-{size}-{durable}.h5", size, durable=durable)
                for durable in (False, True)
            }

            def timed_flush(size: int = size) -> dict[str, float]:
                for step in range(size // FRAME):
                    record(step, 0.1, 0.2, 0.3)
                spent = dict(run._session.cost_ns)
                values = measure(comm, run.flush)
                # The library's own account, as it goes into the file.
                parts = {f"own {k}": (run._session.cost_ns[k] - spent.get(k, 0)) / 1e9 for k in ("gather", "append")}
                return values | parts

            ways: dict[str, Callable[[], dict[str, float]]] = {"flush": timed_flush}
            if size:
                ways["bare, not synced"] = lambda bare=bare: measure(comm, bare[False].step)  # type: ignore[misc]
                ways["bare"] = lambda bare=bare: measure(comm, bare[True].step)  # type: ignore[misc]
                ways["bare, A/A control"] = ways["bare"]
            draw = random.Random(arguments["seed"] + size)
            names = sorted(ways)
            for number in range(arguments["rounds"] + 1):
                draw.shuffle(names)
                for name in names:
                    values = ways[name]()
                    if number:  # the first is a warm-up
                        for what, value in values.items():
                            found.setdefault(f"{name}|{size}", {}).setdefault(what, []).append(value)
            for one in bare.values():
                one.close()
    if comm.rank == 0:
        library = MPI.Get_library_version().split("\n")[0][:60].strip("\x00 ")
        result.write_text(json.dumps({"library": library, "ranks": comm.size, "found": found}))


if __name__ == "__main__":
    main()
