"""All ranks fail in the same step, as a mistake in a program makes them."""

from mpi4py import MPI

import provml_hpc as provml

with (
    provml.init("failing", phase="learning", output="failing.h5", comm=MPI.COMM_WORLD) as run,
    run.training() as training,
):
    training.log(0, loss=1.0)
    run.flush()
    training.log(1, loss=0.5)
    raise ValueError("a mistake")
