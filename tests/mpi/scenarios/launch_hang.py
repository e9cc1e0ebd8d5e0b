"""Hangs on one rank, in a session of its own, so that only a thorough launcher ends it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from mpi4py import MPI

rank = MPI.COMM_WORLD.rank
Path(f"pid.{rank}").write_text(str(os.getpid()))


def hangs_here() -> None:
    time.sleep(600)


if rank == 1:
    hangs_here()
MPI.COMM_WORLD.Barrier()
