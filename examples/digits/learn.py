"""Job 3 of 3, learning: search a good setting, train it in full on all ranks, evaluate, keep the model.

    mpiexec -n 4 python -m mpi4py learn.py FOLDER

reads FOLDER/digits.h5, writes FOLDER/model.npz and the provenance FOLDER/learning.h5. In the search every rank tries
settings of its own; then all ranks train one network together, each on its share of every batch.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import h5py
import numpy as np
from mpi4py import MPI
from network import Array, Network
from numpy.typing import NDArray
from progress import report

import provml_hpc as provml


class Setting(TypedDict):
    """The hyperparameters of one training."""

    lr: float
    hidden: int
    epochs: int
    seed: int


# What all trainings have in common.
MOMENTUM, BATCH_SIZE = 0.9, 64

# One trial for each of four ranks; more ranks try some again with another seed, fewer ranks try several.
CANDIDATES = [(0.02, 32), (0.1, 32), (0.1, 64), (0.5, 64)]
TRIAL_EPOCHS, FULL_EPOCHS = 6, 20


class Part:
    """The pixels, shape (n, 64), and the digits, shape (n,), of one part of the learning dataset."""

    def __init__(self, path: Path, name: str) -> None:
        with h5py.File(path) as file:
            self.X: Array = file[name]["pixels"][:].reshape(-1, 64)
            self.y: NDArray[np.uint8] = file[name]["digits"][:]

    def batches(self, size: int, seed: int) -> Iterator[NDArray[np.intp]]:
        """Deal all rows out into batches, in an order that every rank draws alike."""
        order = np.random.default_rng(seed).permutation(len(self.y))
        yield from np.array_split(order, max(1, len(order) // size))


class Descent:
    """Stochastic gradient descent with momentum, on one rank or on all ranks of a communicator together."""

    def __init__(self, network: Network, lr: float, comm: MPI.Comm) -> None:
        self.network, self.lr, self.comm = network, lr, comm
        self.velocity = np.zeros_like(network.weights)

    def step(self, X: Array, y: NDArray[np.uint8], samples: int) -> tuple[float, float]:
        """Take a step, of which this rank sees rows `X` of `samples` in all; return its loss and gradient norm.

        The gradients are added up in the order of the ranks, and not in whichever order a reduction picks: so the
        weights are the same to the last bit, whatever MPI the job runs on.
        """
        loss, gradient = self.network.gradient(X, y)
        of_all = np.empty((self.comm.size, gradient.size))
        self.comm.Allgather(gradient, of_all)
        total = of_all.sum(axis=0) / samples
        self.velocity = MOMENTUM * self.velocity - self.lr * total
        self.network.weights += self.velocity
        return loss / len(y), float(np.linalg.norm(total))


def try_out(run: provml.Run, digits: provml.Entity, setting: Setting, training: Part, validation: Part) -> float:
    """Train one setting briefly on this rank alone and return its validation accuracy."""
    network = Network(setting["hidden"], setting["seed"])
    descent = Descent(network, setting["lr"], MPI.COMM_SELF)
    accuracy = 0.0
    with run.training(
        "trial", local=True, task="classification", algorithm="SGD with momentum", use=[digits], params=setting
    ) as trial:
        step = 0
        for epoch in trial.sections("epoch", setting["epochs"]):
            for batch in training.batches(BATCH_SIZE, seed=epoch.index):
                loss, norm = descent.step(training.X[batch], training.y[batch], len(batch))
                trial.log(step, loss=loss, gradient_norm=norm)
                step += 1
            accuracy = network.hits(validation.X, validation.y) / len(validation.y)
            epoch.evaluate(accuracy=accuracy)
        trial.evaluate(accuracy=accuracy)
    return accuracy


def search(run: provml.Run, digits: provml.Entity, training: Part, validation: Part, comm: MPI.Comm) -> Setting:
    """Try all candidates, spread over the ranks, and return the best: the most accurate, of equal ones the first."""
    mine: list[tuple[float, int, Setting]] = []
    for number in range(comm.rank, max(comm.size, len(CANDIDATES)), comm.size):
        lr, hidden = CANDIDATES[number % len(CANDIDATES)]
        setting = Setting(lr=lr, hidden=hidden, epochs=TRIAL_EPOCHS, seed=100 + number)
        accuracy = try_out(run, digits, setting, training, validation)
        mine.append((-accuracy, number, setting))
        report(number + 1, len(CANDIDATES) + FULL_EPOCHS, f"trial {number}: accuracy {accuracy:.3f}")
    everybodys: list[list[tuple[float, int, Setting]]] = comm.allgather(mine)
    run.flush()
    _, _, best = min(trial for of_rank in everybodys for trial in of_rank)
    return best


def train(
    run: provml.Run, digits: provml.Entity, setting: Setting, training: Part, validation: Part, folder: Path
) -> Network:
    """Train on all ranks together, keep a checkpoint an epoch, and end with the best of them."""
    comm = MPI.COMM_WORLD
    network = Network(setting["hidden"], setting["seed"])
    descent = Descent(network, setting["lr"], comm)
    best, best_accuracy = folder / "checkpoints" / "none", -1.0
    with run.training(
        "full training", task="classification", algorithm="SGD with momentum", use=[digits], params=setting
    ) as stage:
        step = 0
        for epoch in stage.sections("epoch", setting["epochs"]):
            for batch in training.batches(BATCH_SIZE * comm.size, seed=epoch.index):
                mine = batch[comm.rank :: comm.size]
                loss, norm = descent.step(training.X[mine], training.y[mine], len(batch))
                stage.log(step, loss=loss, gradient_norm=norm)
                step += 1
            checkpoint = folder / "checkpoints" / f"epoch-{epoch.index:02}.npz"
            if comm.rank == 0:
                network.save(checkpoint)
                epoch.log_model(checkpoint, step=step, derived_from=[digits])
            comm.Barrier()
            accuracy = measure(network, validation, comm)
            with epoch.validation(use={"model": checkpoint, "validation": digits}) as check:
                check.evaluate(accuracy=accuracy)
            if accuracy > best_accuracy:
                best, best_accuracy = checkpoint, accuracy
            if comm.rank == 0:
                done, total = len(CANDIDATES) + epoch.index + 1, len(CANDIDATES) + setting["epochs"]
                report(done, total, f"epoch {epoch.index}: accuracy {accuracy:.3f}")
            run.flush()
        network.load(best)
        stage.evaluate(accuracy=best_accuracy)
        if comm.rank == 0:
            model = folder / "model.npz"
            shutil.copyfile(best, model)
            stage.log_model(model, params={"units": [64, setting["hidden"], 10]}, derived_from=[best])
        comm.Barrier()
    return network


def measure(network: Network, part: Part, comm: MPI.Comm) -> float:
    """Return the accuracy over `part`, each rank having looked at its share."""
    mine = slice(comm.rank, None, comm.size)
    hits: int = comm.allreduce(network.hits(part.X[mine], part.y[mine]))
    return hits / len(part.y)


def main() -> None:
    """Search, train, evaluate."""
    parser = argparse.ArgumentParser(description="Learn to tell handwritten digits apart.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    comm = MPI.COMM_WORLD

    (folder / "checkpoints").mkdir(exist_ok=True)
    dataset = folder / "digits.h5"
    training, validation, test = (Part(dataset, name) for name in ("training", "validation", "test"))
    with provml.init(
        "digits-network", phase="learning", study="handwritten-digits", output=folder / "learning.h5", comm=comm
    ) as run:
        digits = run.use_dataset(dataset, role="learning", characteristics={"training": len(training.y)})
        run.log_params({"momentum": MOMENTUM, "batch_size": BATCH_SIZE})
        best = search(run, digits, training, validation, comm)
        network = train(run, digits, best | {"epochs": FULL_EPOCHS}, training, validation, folder)
        with run.evaluation(use={"model": folder / "model.npz", "test": digits}) as evaluation:
            accuracy = measure(network, test, comm)
            evaluation.evaluate(accuracy=accuracy)
    if comm.rank == 0:
        print(f"accuracy on digits never seen: {accuracy:.3f}")
        print(f"sha256 of the weights: {network.fingerprint()}", flush=True)


if __name__ == "__main__":
    main()
