"""What the tests on the virtual cluster share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import acknowledged
from tests.slurm.cluster import INSTALL, ROOT, Cluster, missing
from tests.slurm.jobs import Job, submit, until

WORKER = Path(__file__).resolve().parent / "scenarios" / "worker.py"
# 48 ranks on two cores: those that wait let the others work.
YIELD = {"MPIR_CVAR_ENABLE_HEAVY_YIELD": "1", "MPIR_CVAR_POLLS_BEFORE_YIELD": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Return the virtual cluster, up; it stays up afterwards if it was before."""
    if missing() and not os.environ.get("CI"):  # CI installs what it needs, so there `up` fails instead
        pytest.skip(f"{', '.join(missing())} not found: {INSTALL}")
    cluster = Cluster()
    began = cluster.up()
    yield cluster
    if began:
        cluster.down()


class Place:
    """A folder to submit from, in which the job scripts find what they find in a checkout."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.told = folder / "told"
        self.told.mkdir(parents=True)
        (folder / ".venv").symlink_to(sys.prefix)
        for name in ("examples", "provml_hpc", "tools", "tests", "slurm"):
            (folder / name).symlink_to(ROOT / name)

    def submit(self, script: Path | str, *options: str, **env: str) -> Job:
        """Submit a script, a file or its text."""
        env = {**YIELD, "PYTHONPATH": f"{ROOT}:{ROOT / 'tools'}", **env}
        return submit(self.cluster, script, *options, folder=self.folder, env=env)

    def worker(self, output: str, **options: object) -> str:
        """Return the command of a rank of ``scenarios/worker.py``, as words of a shell."""
        return f"{sys.executable} -m mpi4py {WORKER} {output} {self.told} '{json.dumps(options)}'"

    def until_flushed(self, ranks: int, job: Job, attempt: int = 1) -> None:
        """Wait until each rank of the worker was told by a flush that something is safe."""

        def all_told() -> bool:
            job.running()
            files = (acknowledged.file_of(self.told, attempt, rank) for rank in range(ranks))
            return all(acknowledged.read(file)["flushed_samples"] for file in files)

        until(all_told, job.told)


@pytest.fixture
def place(cluster: Cluster, tmp_path: Path) -> Place:
    """Return a folder to submit from."""
    return Place(cluster, tmp_path)


@pytest.fixture(scope="module")
def place_at(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Place]:
    """Return a function that makes such folders for a whole module."""
    return lambda name: Place(cluster, tmp_path_factory.mktemp(name) / "place")
