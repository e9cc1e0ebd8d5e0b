"""A rank that does not write, and what it has loaded by the end of its run."""

import json
import sys
from pathlib import Path

from mpi4py import MPI

import provml_hpc as provml

comm = MPI.COMM_WORLD
before = set(sys.modules)
with provml.init("light", phase="learning", output="light.h5", comm=comm, strict=True) as run:
    run.log_params({"lr": 0.1, "layers": [1, 2]})
    with run.training(task="classification", params={"batch": 8}) as training:
        for epoch in training.sections("epoch", 2):
            training.log(epoch.index, loss=0.5)
            epoch.evaluate(accuracy=0.9)
            run.flush()
    loaded = sorted(set(sys.modules) - before)
Path(f"loaded-{comm.rank}.json").write_text(json.dumps(loaded))
