"""A job of some ranks that says all there is to say, and neither imports MPI nor knows how it was started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import provml_hpc as provml

how = sys.argv[1] if len(sys.argv) > 1 else ""
writers = int(os.environ.get("WRITERS", "1"))
with provml.init("apart", phase="learning", study="tests", output="run.h5", writers=writers) as run:
    rank = run._session.rank
    tiles = run.use_dataset("tiles.csv", role="training", characteristics={"tiles": 3})
    run.log_params({"rate": 0.5, "depth": 2})
    with run.activity("cut", params={"tile": rank}) as cut:
        cut.generate_dataset(f"cut{rank}.csv", derived_from=[tiles], digest="sha256:" + "ab" * 32)
    with run.training(task="regression", algorithm="SGD", use=[tiles], params={"batch": 8}) as training:
        for epoch in training.sections("epoch", 3):
            for step in range(4):
                training.log(4 * epoch.index + step, loss=1.0 / (1 + step), rank=rank)
            epoch.evaluate(accuracy=0.5 + epoch.index / 10)
            run.flush()
            if how == "die" and rank == 1 and epoch.index == 1:
                os.kill(os.getpid(), 9)
        if rank == 0:
            Path("model.bin").write_bytes(b"weights")
            training.log_model("model.bin", params={"layers": 3})
    with run.validation(params={"odd": rank % 2}) as validation:  # about which the ranks disagree
        validation.log(0, score=float(rank))
if how == "again" and rank == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    sys.exit(1)
