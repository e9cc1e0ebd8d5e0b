"""Fit a line to points that the ranks share. Run it with `mpiexec -n 4 python minimal.py`, or with plain python."""

import numpy as np
from mpi4py import MPI

import provml_hpc as provml

comm = MPI.COMM_WORLD
if comm.rank == 0:
    x = np.linspace(-1, 1, 1000)
    np.savetxt("points.csv", np.column_stack([x, 3 * x + 1]), delimiter=",")
comm.Barrier()

with provml.init("line", phase="learning", study="minimal", output="line.h5", comm=comm) as run:
    points = run.use_dataset("points.csv", role="training", characteristics={"points": 1000})
    x, y = np.loadtxt("points.csv", delimiter=",")[comm.rank :: comm.size].T  # the share of this rank
    line, rate = np.zeros(2), 0.9
    with run.training(algorithm="gradient descent", use=[points], params={"rate": rate}) as training:
        for epoch in training.sections("epoch", 20):
            error = line[0] * x + line[1] - y
            training.log(epoch.index, loss=np.mean(error**2))  # local: no MPI, no I/O
            line -= rate * comm.allreduce(np.array([error @ x, error.sum()])) / 1000
            run.flush()  # collective: what was logged is in the file from here on
        if comm.rank == 0:
            np.save("line.npy", line)
            training.log_model("line.npy", params={"slope": line[0], "offset": line[1]})
