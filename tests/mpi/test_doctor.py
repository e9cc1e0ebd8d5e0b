"""`provml doctor` as the ranks of a job: one report, and where all ranks are."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.mpi import launch

COMMAND = launch.ROOT / "tools" / "provml_tools" / "cli.py"


@pytest.fixture
def environment() -> dict[str, str]:
    """Return the variables of a job that has the right mpiexec on its path."""
    folder = str(Path(launch.mpiexec()).parent)
    return {"PATH": os.pathsep.join([folder, os.environ["PATH"]])}


def findings(stdout: str) -> dict[str, dict[str, Any]]:
    return {f"{one['topic']}/{one['name']}": one for one in json.loads(stdout)["findings"]}


@pytest.mark.parametrize("ranks", [1, 3])
def test_one_report_for_all_ranks(mpi_run: Any, environment: dict[str, str], tmp_path: Path, ranks: int) -> None:
    done = mpi_run(COMMAND, ranks, ["doctor", "--json"], env=environment, timeout=200).check()
    found = findings(done.stdout)  # which would be no JSON if two ranks had said something
    assert found["MPI/mpi4py"]["state"] == "ok"
    assert found["MPI/mpiexec"]["state"] == "ok"
    assert found["MPI/launch"]["details"]["size"] == ranks
    assert found["MPI/launch"]["details"]["ranks_on_node"] == ranks
    assert ("Ranks/together" in found) == (ranks > 1)
    if ranks > 1:
        together = found["Ranks/together"]
        assert together["state"] == "ok", together
        assert together["details"]["nodes"] == {socket.gethostname(): list(range(ranks))}
        assert found["Ranks/journals"]["details"]["ranks"][2]["beside"]
        assert found["Ranks/GPUs"]["details"]["by_rank"].keys() == {"0", "1", "2"}
    flush = found["Ranks/flush" if ranks > 1 else "Run/flush"]
    assert flush["state"] in ("ok", "note")
    assert all(flush["details"]["flush_s"])
    assert list(tmp_path.iterdir()) == []


def test_a_report_for_people(mpi_run: Any, environment: dict[str, str]) -> None:
    done = mpi_run(COMMAND, 2, ["doctor"], env=environment, timeout=200).check()
    assert done.stdout.count("\nMPI\n") == done.stdout.count("\nRanks\n") == 1
    assert f"2 on 1 node ({socket.gethostname()}: 0-1)" in done.stdout
    assert "\033" not in done.stdout


def test_a_launcher_of_another_mpi(mpi_run: Any, environment: dict[str, str], tmp_path: Path) -> None:
    # As far as the doctor can see: an mpi4py that says that it is of the other kind.
    other, function = ("MPICH", "MPICH Version: 5") if launch.is_open_mpi() else ("Open MPI", "Open MPI v5")
    package = tmp_path / "modules" / "mpi4py"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '4.0'\nclass rc:\n    initialize = True\n")
    (package / "MPI.py").write_text(
        f"def get_vendor(): return {other!r}, (5, 0)\ndef Get_library_version(): return {function!r}\n"
        "def Get_version(): return 4, 1\ndef Init_thread(): pass\ndef Query_thread(): return 0\n"
        "THREAD_SINGLE, THREAD_FUNNELED, THREAD_SERIALIZED, THREAD_MULTIPLE = range(4)\n"
        "class COMM_WORLD:\n    size = 1\ndef Finalize(): pass\n"
    )
    path = os.pathsep.join([str(tmp_path / "modules"), str(launch.ROOT), str(launch.ROOT / "tools")])
    done = mpi_run(COMMAND, 2, ["doctor", "--json"], env={**environment, "PYTHONPATH": path}, timeout=200).check()
    found = findings(done.stdout)
    assert found["MPI/launch"]["state"] == found["MPI/mpiexec"]["state"] == "broken"
    assert "2 jobs of one rank" in found["MPI/launch"]["meaning"]
    assert found["Ranks/together"]["state"] == "note"
    assert found["Ranks/together"]["details"]["ranks"] == []
