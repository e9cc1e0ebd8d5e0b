"""A job that goes on without ranks that die, under Open MPI's ULFM. Arguments: OUTPUT FOLDER [JSON of options].

What was acknowledged is counted as ``victim.py`` does. Options: ``plans``, a plan as JSON text for each that dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from array import array
from pathlib import Path

from mpi4py import MPI

import provml_hpc as provml
from tests.faults import acknowledged, killing

EPOCHS, STEPS, TEXTS = 4, 100, 3


class Job:
    """The work of one rank, which is told of a death by its own communication or by none at all."""

    def __init__(self, output: Path, folder: Path, options: dict[str, object]) -> None:
        self.comm = MPI.COMM_WORLD
        self.step = self.value = 0
        self.comm.Barrier()
        for plan in options.get("plans", ()):
            killing.arm(self.comm.Get_rank(), plan)
        self.run = self.begin(output, str(options.get("journal", "output")))
        # A rank died before there was a run: this one has the ranks that are left, and may be the second attempt.
        self.rank, self.attempt = self.comm.Get_rank(), self.run._session.meta["attempt"]
        self.told = acknowledged.Acknowledged(acknowledged.file_of(folder, self.attempt, self.rank))
        (folder / f"size-{self.attempt}").write_text(str(self.comm.Get_size()))

    def begin(self, output: Path, journal: str) -> provml.Run:
        """Begin the run with the ranks that live."""
        while True:
            try:
                return provml.init("survivors", phase="learning", output=output, comm=self.comm, buffer="64 KiB",
                                   journal=journal, close_timeout=90, if_exists="resume",
                                   writers=killing.writers())  # fmt: skip
            except provml.TransportError:
                self.comm.Revoke()
                self.comm = self.comm.Shrink()

    def epoch(self, training: provml.Activity, index: int) -> None:
        """Log an epoch."""
        with training.section("epoch", index):
            for _ in range(STEPS * (self.rank + 1) // 2):
                training.log(self.step, loss=float(self.attempt * 10**9 + self.rank * 10**6 + self.step), lr=0.5)
                self.step += 1
                self.told.put("samples", self.step)
            for _ in range(TEXTS):
                training.log_values({f"told-{self.attempt}-{self.rank}-{self.value}": "x" * 9000})
                self.value += 1
                self.told.put("values", self.value)

    def flushed(self) -> None:
        """Count what the file has, unless the run warned that nothing more gets there."""
        if self.run._session.broken is None:
            self.told.put("flushed_samples", self.step)
            self.told.put("flushed_values", self.value)

    def largest(self, number: int) -> int:
        """Return the largest number of all ranks. Not mpi4py's `allreduce`, whose own communicator none revokes."""
        mine, most = array("q", [number]), array("q", [0])
        self.comm.Allreduce([mine, MPI.INT64_T], [most, MPI.INT64_T], MPI.MAX)
        return most[0]

    def mend(self) -> None:
        """Leave the dead behind."""
        self.comm.Revoke()
        self.comm = self.comm.Shrink()
        self.run.rebind(self.comm)
        self.flushed()

    def train(self, training: provml.Activity) -> None:
        """Go through all epochs with whoever is left."""
        done = 0
        while done < EPOCHS:
            try:
                self.epoch(training, done)
                self.largest(1)
                self.run.flush()
                self.flushed()
                done = self.largest(done + 1)
            except MPI.Exception:
                self.mend()
                done = self.agree(done)

    def agree(self, done: int) -> int:
        """Return which epoch comes next, though ranks may die as they agree on it."""
        while True:
            try:
                return self.largest(done)
            except MPI.Exception:
                self.mend()


def main() -> None:
    job = Job(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]) if len(sys.argv) > 3 else {})
    with job.run as run:
        with run.training() as training:
            job.train(training)
        job.told.put("finishing", 1)
    job.told.put("finished", 1)
    # Open MPI's Finalize may wait for the dead.
    with contextlib.suppress(MPI.Exception):
        job.comm.Barrier()
    time.sleep(0.3)
    os._exit(0)


main()
