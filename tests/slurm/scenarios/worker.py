"""A rank that logs until it has done its epochs or the job ends it, and counts beside it what it was told is safe.

Arguments: OUTPUT FOLDER [JSON of options]. Options: `epochs`, `seconds` that one takes, `journal`, `victim`, a rank
that kills itself, `stop_signals`, and `carried`: go on after the fourth epoch only when a signal had the journal copied
beside the output.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from mpi4py import MPI

import provml_hpc as provml
from provml_hpc.storage.place import hidden_of
from tests.faults import acknowledged

STEPS = 20


def main() -> None:
    output, folder = Path(sys.argv[1]), Path(sys.argv[2])
    options = {"epochs": 10**6, "seconds": 0.1, "journal": "output", "victim": -1, "stop_signals": [], "carried": False}
    options |= json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    comm = MPI.COMM_WORLD
    rank, attempt = comm.Get_rank(), 1 + int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    told = acknowledged.Acknowledged(acknowledged.file_of(folder, attempt, rank))
    comm.Barrier()
    step = 0
    with provml.init("worker", phase="learning", study="slurm", output=output, comm=comm,
                     if_exists="resume", journal=options["journal"], buffer="1 MiB",
                     stop_signals=options["stop_signals"]) as run:  # fmt: skip
        with run.training(key=f"attempt {attempt}") as training:
            for epoch in training.sections("epoch", options["epochs"]):
                for _ in range(STEPS):
                    training.log(step, loss=float(attempt * 10**9 + rank * 10**6 + step))
                    step += 1
                    told.put("samples", step)
                if rank == options["victim"] and epoch.index == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                while options["carried"] and epoch.index == 3 and not copies(output, rank):
                    time.sleep(0.05)
                time.sleep(options["seconds"])
                # Every third epoch only, so that whenever the end comes there is something in the journals.
                if epoch.index % 3 == 2:
                    run.flush()
                    told.put("flushed_samples", step)
        told.put("finishing", 1)
    told.put("finished", 1)


def copies(output: Path, rank: int) -> list[Path]:
    """Return what was copied of a rank's journal while it lies on its node."""
    return list(hidden_of(output).glob(f"*-r{rank:05d}-l0-*.journal"))


main()
