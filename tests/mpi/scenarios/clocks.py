"""Clocks that are seconds apart, on what is taken for machines of two ranks each. All ranks log at the same moments."""

from __future__ import annotations

import time

from mpi4py import MPI

import provml_hpc as provml
from provml_hpc.capture import clocks

world = MPI.COMM_WORLD
ahead = 5 * 10**9 * world.rank
clocks.time_ns = lambda: time.time_ns() + ahead  # type: ignore[attr-defined]
clocks.machine = lambda: f"machine {world.rank // 2}"
with (
    provml.init("clocks", phase="learning", output="clocks.h5", comm=world) as run,
    run.training() as training,
):
    for epoch in training.sections("epoch", 3):
        world.Barrier()
        training.log(epoch.index, moment=float(time.time_ns()))
    epoch.evaluate(accuracy=0.5)
