"""The job whose files are kept: two ranks, a little of everything, and nothing that tells where it ran.

Arguments: OUTPUT END, in a folder of its own; END is ``well``, or ``die`` for a kill in the middle of the second epoch.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

import provml_hpc as provml
from provml_hpc import wire
from provml_hpc.capture import facts, places
from provml_hpc.environment.facts import Fact
from provml_hpc.journal import journal, segment

PLACE = "/scratch/f3"
"""Where the job says that it ran."""
FACTS = {
    "run": [
        Fact("command.line", "python train.py --lr 0.001"),
        Fact("command.script", f"{PLACE}/train.py"),
        Fact("code.commit", "0123456789abcdef0123456789abcdef01234567"),
        Fact("code.dirty", False),
        Fact("package.numpy", "2.4.6"),
    ],
    "node": [Fact("host.name", "node1"), Fact("cpu.model", "a processor"), Fact("memory.bytes", 1 << 37)],
    "rank": [Fact("process.host", "node1")],
}


def hide(folder: str) -> None:
    """Have nothing written down that tells of this machine, its user or the folder that the job runs in."""
    socket.gethostname = lambda: "node1"
    facts.collect = lambda scope, record=(): FACTS[scope]
    places.SMALLEST = 1 << 13  # most of a journal is room
    encode, describe = wire.encode, segment.describe

    def plain(one: Any) -> Any:
        return one.replace(folder, PLACE) if isinstance(one, str) else one

    def encoded(record: Any, sequence: int, clock_ns: int) -> bytes:
        return encode(type(record)._make(map(plain, record)), sequence, clock_ns)

    wire.encode = encoded
    for module in (segment, journal):
        if hasattr(module, "describe"):
            module.describe = lambda said: describe({name: plain(one) for name, one in said.items()})


def main() -> None:
    output, die = sys.argv[1], sys.argv[2] == "die"
    comm = MPI.COMM_WORLD
    rank = comm.Get_rank()
    hide(os.getcwd())  # noqa: PTH109 - text is replaced
    if rank == 0:
        np.save("tiles.npy", np.arange(8.0))
    comm.Barrier()
    with provml.init("facies-unet", phase="learning", study="netherlands-f3", output=output, comm=comm, buffer=1 << 14,
                     persona={"name": "Ada", "identifier": "0000-0002-1825-0097"}, telemetry=False) as run:  # fmt: skip
        tiles = run.use_dataset("tiles.npy", role="training", characteristics={"samples": 8, "survey": "F3 — Ölfeld"})
        run.log_params({"lr": 1e-3, "optimizer": {"betas": [0.9, 0.999], "name": None}})
        with run.activity(f"look {rank}", use={"input": tiles}, params={"rank": rank}):
            pass
        with run.training(task="classification", algorithm="SGD", measures="accuracy", use=[tiles]) as training:
            step = 0
            for epoch in training.sections("epoch", 2):
                for _ in range(5):
                    training.log(step, loss=rank + 1 / (step + 1), grad_norm=float("nan") if step == 3 else 0.5)
                    step += 1
                epoch.evaluate(accuracy=0.5 + 0.25 * epoch.index)
                if epoch.index == 1 and die:
                    training.log_values({"last": f"words of {rank}"})
                    comm.Barrier()
                    os.kill(os.getpid(), signal.SIGKILL)
                if rank == 0:
                    Path(f"unet-{epoch.index}.npz").write_bytes(b"weights" * (1 + epoch.index))
                    model = epoch.log_model(f"unet-{epoch.index}.npz", params={"layers": 3}, step=step)
                run.flush()
        if rank == 0:
            with run.evaluation(local=True, use=[model, tiles]) as evaluation:
                evaluation.evaluate({"accuracy": 0.91}, on=tiles, model=model)


main()
