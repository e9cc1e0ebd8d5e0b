"""srun without an MPI, on the virtual cluster: each task writes a file of its own, and they are those of one run."""

from __future__ import annotations

import sys

from provml_hpc.storage.merge import merge
from tests.mpi.launch import SCENARIOS
from tests.mpi.reading import File
from tests.slurm.conftest import Place


def test_tasks_that_no_mpi_joins(place: Place) -> None:
    (place.folder / "tiles.csv").write_text("1\n2\n3\n")
    script = f"#!/bin/bash\nsrun --mpi=none {sys.executable} {SCENARIOS / 'apart.py'}\n"
    job = place.submit(script, "--nodes=2", "--ntasks-per-node=2")
    assert job.end() == ["COMPLETED"]
    made = merge(sorted(place.folder.glob("run-rank*.h5")), place.folder / "run.h5")
    assert (made.ranks, made.status, made.missing) == ([0, 1, 2, 3], "finished", [])
    file = File(made.output)
    assert not file.faults
    assert len(file.all("ComputeNode")) == 2
    (job_node,) = file.all("Job")
    assert job_node["identifier"] == job.id
