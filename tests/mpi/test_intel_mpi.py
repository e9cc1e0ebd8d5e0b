"""Under Intel MPI's own mpiexec and library, beside whichever MPI this environment has.

Its runtime is proprietary (Intel Simplified Software License), so no dependency of ours, and CI has none: these run
where somebody installed it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.mpi.launch import ROOT, environment
from tests.mpi.reading import File

INTEL = ROOT / ".venv-intelmpi" / "bin"
pytestmark = pytest.mark.skipif(
    not (INTEL / "mpiexec").exists(), reason="there is no environment with Intel MPI: make test-intelmpi"
)


@pytest.mark.parametrize("ranks", [2, 4])
def test_all_ranks_write_one_file(tmp_path: Path, ranks: int) -> None:
    command = [INTEL / "mpiexec", "-n", str(ranks), INTEL / "python", ROOT / "examples" / "minimal.py"]
    env = environment({"VIRTUAL_ENV": str(INTEL.parent), "PATH": f"{INTEL}:/usr/bin:/bin"})
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.glob("*.h5")] == ["line.h5"]
    file = File(tmp_path / "line.h5")
    assert (file.run.status, len(file.all("Rank"))) == ("finished", ranks)
    facts = file.parameters(file.one("LearningExperimentExecution"))
    assert facts["mpi.library"][1].startswith("Intel(R) MPI Library")
    assert (facts["launcher.kind"], facts["launcher.size"]) == (("text", "PMI"), ("integer", str(ranks)))
