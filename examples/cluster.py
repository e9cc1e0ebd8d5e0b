"""A training as a queue wants it: it stops in order when it is asked to, and goes on from its checkpoint.

    srun python -m mpi4py examples/cluster.py --output cluster.h5

is what the job scripts in ``slurm`` run. What is fitted is a line through points that the ranks share; what matters is
around it. While a checkpoint is there, there is more to do: the last epoch removes it, and a script that finds it
submits the job again. The provenance of all attempts is in one file.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI

import provml_hpc as provml


def main() -> None:
    """Train until all epochs are done, or until the job is asked to stop."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("cluster.h5"), help="the provenance file")
    parser.add_argument("--study", default="cluster", help="what trainings that are to be compared have in common")
    parser.add_argument("--rate", type=float, default=0.3, help="learning rate")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1, help="what an epoch takes, in place of real work")
    parser.add_argument("--journal", default="output", help='"output", "node" or a folder')
    options = parser.parse_args()
    comm = MPI.COMM_WORLD
    checkpoint, model = options.output.with_suffix(".checkpoint.npz"), options.output.with_suffix(".model.npz")

    run = provml.init(
        "line",
        phase="learning",
        study=options.study,
        output=options.output,
        comm=comm,
        if_exists="resume",  # what an earlier attempt left is gone on with, however it ended
        journal=options.journal,
        stop_signals=["SIGUSR1", "SIGTERM"],  # they set run.stop_requested, and no longer kill
    )
    with run:
        line, first, before = np.zeros(2), 0, []
        if checkpoint.exists():
            before = [run.use_model(checkpoint)]
            with np.load(checkpoint) as saved:
                line, first = saved["line"], int(saved["epoch"])
        x = np.linspace(-1, 1, 1000)[comm.rank :: comm.size]  # the share of this rank
        y = 3 * x + 1
        with run.training(algorithm="gradient descent", use=before, params={"rate": options.rate}) as training:
            for epoch in training.sections("epoch", options.epochs - first, start=first):
                error = line[0] * x + line[1] - y
                training.log(epoch.index, loss=np.mean(error**2))
                gradient = np.array([error @ x, error.sum()])
                comm.Allreduce(MPI.IN_PLACE, gradient)  # of arrays, not of objects: a tenth of the time at 48 ranks
                line = line - options.rate * gradient / 1000
                time.sleep(options.seconds)
                run.flush()  # after it all ranks agree on whether to stop
                if run.stop_requested:
                    break
            done = epoch.index + 1 if first < options.epochs else first
            training.evaluate(error=float(comm.allreduce(float(error @ error)) / 1000))
            if comm.rank == 0:
                path = model if done == options.epochs else checkpoint
                save(path, line=line, epoch=done)
                found = {"slope": line[0], "offset": line[1]}
                training.log_model(path, step=done, derived_from=before, params=found)
                if path == model:
                    checkpoint.unlink(missing_ok=True)


def save(path: Path, **arrays: object) -> None:
    """Write a checkpoint whole or not at all: a job may end at any moment."""
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
    temporary.replace(path)


if __name__ == "__main__":
    main()
