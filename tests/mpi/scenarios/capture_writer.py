"""A run whose file is written by its last rank."""

import json
from pathlib import Path

from mpi4py import MPI

import provml_hpc as provml

comm = MPI.COMM_WORLD
Path(f"data-{comm.rank}.txt").write_text("x" * (comm.rank + 1))
with (
    provml.init("last", phase="learning", output="last.h5", comm=comm, writer=comm.size - 1, strict=True) as run,
    run.training(use=[f"data-{comm.rank}.txt"]) as training,
):
    for step in range(50):
        training.log(step, loss=comm.rank)
    run.flush()
    if comm.rank == 0:
        training.log_model("data-0.txt")
with provml.open("last.h5") as file:  # it is there for every rank
    seen = {"status": file.status, "samples": len(file.samples("loss"))}
Path(f"seen-{comm.rank}.json").write_text(json.dumps(seen))
