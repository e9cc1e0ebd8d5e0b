"""A job that logs, counts beside it what it was told is safe, and may be killed anywhere: see ``tests.faults.plans``.

Arguments: OUTPUT FOLDER [JSON of options].
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mpi4py import MPI

import provml_hpc as provml
from tests.faults import acknowledged, killing

EPOCHS, STEPS, TEXTS = 3, 150, 4


def main() -> None:
    output, folder = Path(sys.argv[1]), Path(sys.argv[2])
    options = {"attempt": 1, "if_exists": "error", "buffer": "64 KiB", "text": 9000, "skip_texts": 0}
    options |= json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    comm = MPI.COMM_WORLD
    rank, attempt = comm.Get_rank(), options["attempt"]
    told = acknowledged.Acknowledged(acknowledged.file_of(folder, attempt, rank))
    comm.Barrier()
    killing.arm(rank)
    run = provml.init("victim", phase="learning", output=output, if_exists=options["if_exists"],
                      buffer=options["buffer"], comm=comm, close_timeout=90, writers=killing.writers())  # fmt: skip
    step = value = 0
    with run:
        with run.training(key=f"attempt {attempt}") as training:
            for epoch in training.sections("epoch", EPOCHS):
                told.put("opened", epoch.index + 1)
                for _ in range(STEPS * (rank + 1) // 2):
                    training.log(step, loss=float(attempt * 10**9 + rank * 10**6 + step), lr=0.5)
                    step += 1
                    told.put("samples", step)
                # Larger together than the buffer: structure goes on in further segments.
                for _ in range(TEXTS):
                    training.log_values({f"told-{attempt}-{rank}-{value}": "x" * options["text"]})
                    value += 1
                    told.put("values", value)
                run.flush()
                if run._session.broken is None:  # otherwise it warned that nothing more gets into the file
                    told.put("flushed_samples", step)
                    told.put("flushed_values", value)
        told.put("finishing", 1)
    told.put("finished", 1)


main()
