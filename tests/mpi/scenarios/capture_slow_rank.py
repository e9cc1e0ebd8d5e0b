"""Three ranks share the epochs of a training, and the second takes its time in each."""

from __future__ import annotations

import time

from mpi4py import MPI

import provml_hpc as provml

comm = MPI.COMM_WORLD
with provml.init("slow", phase="learning", output="slow.h5", comm=comm) as run, run.training("slow") as training:
    for epoch in training.sections("epoch", 3):
        training.log(epoch.index, loss=1.0)
        time.sleep(0.5 if comm.rank == 1 else 0.0)
