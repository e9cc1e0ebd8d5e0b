"""Three programs that a user would write, one after the other in one launch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from mpi4py import MPI

import provml_hpc as provml

comm = MPI.COMM_WORLD
rank, size = comm.rank, comm.size
LOSSES = [0.9, 0.5, 0.3, 0.4, 0.6, 0.7]
"""The validation loss after each epoch: the third is the best, and three worse ones later the training gives up."""


def train() -> None:
    """Data-parallel: a checkpoint an epoch, early stopping, the best one restored, evaluated and stored."""
    if rank == 0:
        np.save("train.npy", np.arange(40.0))
        np.save("test.npy", np.arange(8.0))
    comm.Barrier()
    with provml.init("parallel", phase="learning", study="programs", output="train.h5", comm=comm) as run:
        data = run.use_dataset("train.npy", role="training", characteristics={"samples": 40})
        with run.training(
            task="regression", algorithm="SGD", use=[data], params={"lr": 0.1, "optimizer": {"momentum": 0.9}}
        ) as training:
            weights, best, waited = np.zeros(4), 0, 0
            for epoch in training.sections("epoch", 10):
                for batch in range(5):
                    gradient = np.zeros(4)
                    comm.Allreduce(np.full(4, 1.0 + rank), gradient)
                    weights -= 0.1 * gradient
                    training.log(epoch.index * 5 + batch, loss=float(weights[0] + rank))
                with training.validation(use={"held out": "test.npy"}) as validation:
                    validation.evaluate(loss=LOSSES[epoch.index])
                if rank == 0:
                    np.save(f"checkpoint-{epoch.index}.npy", weights)
                    training.log_model(f"checkpoint-{epoch.index}.npy", step=epoch.index * 5 + 4)
                run.flush()
                best, waited = (epoch.index, 0) if LOSSES[epoch.index] < LOSSES[best] else (best, waited + 1)
                if waited > 2:
                    break
            comm.Barrier()
            training.use_model(f"checkpoint-{best}.npy", role="best")
            weights = np.load(f"checkpoint-{best}.npy")
            if rank == 0:
                shutil.copy(f"checkpoint-{best}.npy", "model.npy")
                training.log_model("model.npy", params={"units": 4}, derived_from=[f"checkpoint-{best}.npy"])
        comm.Barrier()
        with run.evaluation(use={"model": "model.npy", "test": "test.npy"}) as evaluation:
            evaluation.evaluate(mse=float(weights[0]), model="model.npy", on="test.npy")


def search() -> None:
    """A trial a rank and more where one is done early, each with folds of epochs."""
    with provml.init("search", phase="learning", study="programs", output="search.h5", comm=comm) as run:
        data = run.use_dataset("train.npy")
        for trial in range(rank, 6, size):
            # Trials take as long as they take: the first ends at once, the last has most epochs.
            with run.training(f"trial {trial}", local=True, use=[data], params={"lr": 10.0**-trial}) as training:
                for fold in training.sections("fold", 2):
                    for epoch in fold.sections("epoch", trial + 1):
                        epoch.log(epoch.index, loss=trial + epoch.index / 10)
                        if trial == 4 and epoch.index == 2:
                            break
                    fold.evaluate(accuracy=trial / 10 + fold.index / 100)
                training.evaluate(accuracy=trial / 10)
                path = Path(f"trial-{trial}.npy")
                np.save(path, np.full(3, trial))
                training.log_model(path, params={"depth": trial})
        comm.Barrier()
        # The rest of the run is uneven: each rank flushes as often as it likes, and ends when it likes.
        for _ in range(rank):
            run.flush()
        if rank == 0:
            with run.activity("choose", use=[f"trial-{trial}.npy" for trial in range(6)]) as choice:
                choice.log_values({"best": 5})


def curate() -> None:
    """Four hundred files, each rank its share: some are rejected, the others go into shards of one dataset."""
    if rank == 0:
        Path("raw").mkdir()
        for number in range(400):
            Path(f"raw/{number:03d}.txt").write_text("bad" if number % 50 == 7 else f"scan {number}")
    comm.Barrier()
    with provml.init(
        "curation", phase="curation", study="programs", output="curate.h5", comm=comm, persona="curator@example.org"
    ) as run:
        kept: list[tuple[provml.Entity, str]] = []
        for number in range(rank, 400, size):
            name = f"raw/{number:03d}.txt"
            with run.activity("check", use=[name], params={"rule": "no bad ones"}) as check:
                text = Path(name).read_text()
                if text == "bad":
                    check.log_values({"rejected": "bad scan"})
                else:
                    kept.append((check.use_dataset(name), text))
            if number == rank + 100 * size:
                run.flush()
        Path("clean").mkdir(exist_ok=True)
        for part in range(2):
            with run.activity("write shard", params={"part": part}) as work:
                mine = kept[part::2]
                path = Path(f"clean/{rank}-{part}.json")
                path.write_text(json.dumps([text for _, text in mine]))
                work.use([entity for entity, _ in mine])
                work.generate_dataset(
                    path,
                    derived_from=[entity for entity, _ in mine],
                    member_of="clean",
                    characteristics={"scans": len(mine)},
                )


train()
search()
curate()
