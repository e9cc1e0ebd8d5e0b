"""A training that somebody watches: now and then it waits until the reader has seen what is committed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from mpi4py import MPI

import provml_hpc as provml

comm = MPI.COMM_WORLD
rank = comm.rank
flushes, pause = int(sys.argv[1]), int(sys.argv[2])

with (
    provml.init("watched", phase="learning", output="live.h5", comm=comm) as run,
    run.training(params={"lr": 0.5}) as training,
):
    step = 0
    for epoch in training.sections("epoch", flushes):
        for _ in range(10 * (rank + 1)):
            training.log(step, loss=rank * 1_000_000 + step, half=step / 2)
            step += 1
        epoch.evaluate(done=epoch.index)
        run.flush()
        # What comes next is not committed when the reader looks.
        training.log(step, loss=rank * 1_000_000 + step, half=step / 2)
        step += 1
        if epoch.index % pause == pause - 1:
            if rank == 0:
                until = time.monotonic() + 60
                while not Path(f"seen.{epoch.index}").exists() and time.monotonic() < until:
                    time.sleep(0.002)
            comm.Barrier()
