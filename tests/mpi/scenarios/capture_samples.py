"""Samples, shared declarations, uneven flushes and ends, and a training with and without capture."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI

import provml_hpc as provml
from provml_hpc import transport

comm = MPI.COMM_WORLD
rank, size = comm.rank, comm.size
assert transport.choose.__kwdefaults__ is not None


def train(output: str, comm: MPI.Intracomm | None) -> bytes:
    """Train a small network with summed gradients, and return the bits of what came out."""
    rng = np.random.default_rng(rank)
    x, weights = rng.normal(size=(64, 8)), np.zeros(8)
    y = x @ np.arange(8)
    with (
        provml.init("bits", phase="learning", output=output, comm=comm) as run,
        run.training(params={"rate": 0.01}) as training,
    ):
        for epoch in training.sections("epoch", 3):
            for batch in range(4):
                part = slice(batch * 16, batch * 16 + 16)
                error = x[part] @ weights - y[part]
                gradient = np.zeros(8)
                MPI.COMM_WORLD.Allreduce(error @ x[part], gradient)
                weights -= 0.01 * gradient / 64
                training.log(epoch.index * 4 + batch, loss=float(error @ error), norm=np.float32(gradient @ gradient))
            epoch.evaluate(mse=float(error @ error) / 16)
            run.flush()
    return weights.tobytes()


def uneven(output: str, round_bytes: int, buffer: str) -> None:
    """Each rank logs and flushes another number of times, and ends when it likes."""
    transport.choose.__kwdefaults__["round_bytes"] = round_bytes
    with provml.init("uneven", phase="learning", output=output, comm=comm, buffer=buffer) as run:
        training = run.training(params={"lr": 0.1})
        for at in range(100):
            training.log(at, loss=rank + at / 1000)
        for turn in range(2 + 3 * rank):
            for at in range(50 * (rank + 1)):
                step = 100 + turn * 1000 + at
                training.log(step, loss=rank + step / 1000)
                if at % 10 == 0:
                    training.log(step, b=-1.5, a=float(rank))
                if at % 10 == 1:
                    training.log(step, a=float(rank), b=-1.5)
                if at % 25 == 0:
                    training.log_metrics({"a name of any sort: é": step}, step=step)
            run.flush()
        training.log(10_000, loss=-1.0)
    transport.choose.__kwdefaults__["round_bytes"] = 64 << 20


def shared(output: str) -> None:
    """What all ranks say alike, and what they say each for themselves."""
    with provml.init("shared", phase="learning", study="a study", output=output, comm=comm, persona="a@b.c") as run:
        run.log_params({"seed": 7, "own": rank})
        run.log_values({"site": "here"})
        with run.training("t", task="classification", algorithm="SGD", params={"lr": 0.1}) as training:
            record = training.series("loss", "acc")
            for fold in training.sections("fold", 2):
                for epoch in fold.sections("epoch", 2, start=10):
                    record(epoch.index, 0.5, rank)
                    epoch.evaluate(acc=0.5)
                    epoch.evaluate({"own acc": rank / 10}, step=epoch.index)
                    time.sleep(0.002)
        with run.validation() as validation:
            validation.evaluate(f1=0.25)
        with run.activity("own work", params={"who": rank}) as own:
            own.log(0, seconds=float(rank))
            with own.section("piece", 3):
                own.log(1, seconds=float(rank))
        with run.activity("joint work", local=False, key="all") as joint:
            joint.log_values({"joint": True})
        with run.evaluation("last", key=("k", 1)) as last:
            last.evaluate(acc=0.125)


def partial(output: str) -> None:
    """Sub-communicators, one process alone, and two runs at once."""
    half = comm.Split(rank % 2, rank)
    assert isinstance(half, MPI.Intracomm)
    first = provml.init("half", phase="preparation", output=f"half{rank % 2}.h5", comm=half)
    second = provml.init("self", phase="curation", output=f"self{rank}.h5", comm=MPI.COMM_SELF)
    third = provml.init("world", phase="learning", output=output, comm=comm)
    for at in range(20):
        first.log(at, world=float(rank))
        second.log(at, world=float(rank))
        third.log(at, world=float(rank))
        if at == 10:
            first.flush()
        if at == 11:
            third.flush()
        if at == 12 and rank == size - 1:
            second.flush()
    second.finish()
    third.finish()
    first.finish()
    half.Free()


told: dict[str, object] = {}
os.environ["PROVML_DISABLE"] = "1"
told["off"] = train("off.h5", comm).hex()
os.environ["PROVML_DISABLE"] = ""
told["on"] = train("on.h5", comm).hex()
# Without a communicator: all processes of the job, as the launcher started them.
told["found"] = train("found.h5", None).hex()
uneven("uneven.h5", 64 << 20, "64 MiB")
uneven("rounds.h5", 1000, "64 KiB")
shared("shared.h5")
partial("world.h5")
told["time"] = time.time_ns()
Path(f"told.{rank}").write_text(json.dumps(told))
