"""Several ranks of one run write: they agree as if one did, and what befalls one of them befalls no other."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import provml_hpc as provml
from provml_hpc.storage.place import partial_of
from provml_hpc.storage.recover import outputs_of, recover
from provml_hpc.storage.tables import TablesFile
from provml_tools import cli
from tests.mpi.launch import Result
from tests.mpi.parts import nothing_else, seen, steps

Run = Callable[..., Result]


def test_all_ranks_hear_at_the_same_flush_point_that_one_was_asked_to_stop(mpi_run: Run, tmp_path: Path) -> None:
    mpi_run("writers.py", 4, ["stop"], timeout=60).check()
    assert seen(tmp_path, 4) == [{"stop": True}] * 4
    assert steps(tmp_path / "run.h5") == {rank: list(range(10)) for rank in range(4)}


def test_a_run_is_read_while_it_goes_on(mpi_run: Run, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(mpi_run, "writers.py", 4, ["live"], timeout=60)
        while not (tmp_path / "committed").exists():
            assert not job.done(), job.result().check()
            time.sleep(0.01)
        with provml.open(tmp_path / "run.h5") as run:
            assert (run.status, run.live, run.damage) == ("running", True, [])
            assert [path.name for path in run.paths] == ["run.h5.partial", "run-part1.h5.partial"]
            assert Counter(run.samples("loss")["rank"].tolist()) == dict.fromkeys(range(4), 10)
            (tmp_path / "seen").touch()
            job.result().check()
            run.refresh()
            assert (run.status, run.live, run.damage) == ("finished", False, [])
            assert Counter(run.samples("loss")["rank"].tolist()) == dict.fromkeys(range(4), 20)


def test_ranks_of_different_files_flush_and_finish_unevenly(mpi_run: Run, tmp_path: Path) -> None:
    mpi_run("writers.py", 5, ["uneven"], timeout=60).check()
    assert steps(tmp_path / "run.h5") == {rank: list(range(10 * (rank + 1))) for rank in range(5)}
    nothing_else(tmp_path, "run.h5", "run-part1.h5", "run-part2.h5")


@pytest.mark.parametrize("how", ["", "uneven", "machines", "strict"])
def test_a_full_disk_of_one_file_is_told_and_loses_nothing(mpi_run: Run, tmp_path: Path, how: str) -> None:
    """Whichever steps the ranks take at their end, they all take the same ones."""
    mpi_run("writers.py", 4, ["full", how], timeout=60).check()
    told = seen(tmp_path, 4)
    if how == "strict":  # on all ranks, or some would wait for the others in their own communication
        assert all("No space left on device" in one["error"] for one in told)
        assert not any("left the run early" in one["error"] for one in told), "not by who else has heard of it"
        return
    assert [len(one["warnings"]) for one in told] == [0, 0, 1, 0]
    assert "the file could not be written" in told[2]["warnings"][0]
    with TablesFile(tmp_path / "run.h5") as file:
        assert file.run.status == "finished"
    assert partial_of(tmp_path / "run-part1.h5").exists()
    for output in outputs_of(tmp_path / "run.h5"):
        recover(output)
    assert steps(tmp_path / "run.h5") == {rank: list(range(20)) for rank in range(4)}
    nothing_else(tmp_path, "run.h5", "run-part1.h5", *(f"own-{rank}.bin" for rank in range(4)))


@pytest.mark.parametrize("strict", [False, True])
def test_a_file_that_cannot_be_made_is_told_and_what_was_logged_is_recovered(
    mpi_run: Run, tmp_path: Path, strict: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".run-part1.h5.provml").write_bytes(b"in the way of its hidden folder")
    (tmp_path / "journals").mkdir()
    mpi_run("writers.py", 4, ["unwritable", *(["strict"] if strict else [])], timeout=60).check()
    told = seen(tmp_path, 4)
    if strict:
        assert all("run-part1.h5 cannot be written" in one["error"] for one in told)
        assert not any("left the run early" in one["error"] for one in told), "not by who else has heard of it"
        return
    assert [len(one["warnings"]) for one in told] == [0, 0, 1, 0]
    (folder,) = (tmp_path / "journals").iterdir()
    assert f"provml recover {tmp_path / 'run.h5'} --journals {folder}" in told[2]["warnings"][0]
    (tmp_path / ".run-part1.h5.provml").unlink()
    words = ["recover", str(tmp_path / "run.h5"), "--journals", str(folder)]
    assert cli.main([*words, "--force"]) == 0, capsys.readouterr().err
    assert steps(tmp_path / "run.h5") == {rank: list(range(10)) for rank in range(4)}
    nothing_else(tmp_path, "run.h5", "run-part1.h5", "journals")


@pytest.mark.parametrize(("victim", "again"), [(0, "resume"), (2, "error")])
def test_an_interrupt_before_all_agreed_leaves_nothing_in_the_way(
    mpi_run: Run, tmp_path: Path, victim: int, again: str
) -> None:
    mpi_run("writers.py", 4, ["interrupted", victim, again], timeout=60).check()
    first = [one["first"] for one in seen(tmp_path, 4)]
    assert first[victim] == "interrupted"
    assert all(f"rank {victim} left the run early" in one for rank, one in enumerate(first) if rank != victim)
    assert steps(tmp_path / "run.h5") == {rank: list(range(10)) for rank in range(4)}
    nothing_else(tmp_path, "run.h5", "run-part1.h5")


@pytest.mark.parametrize("leaver", [0, 2, 3])
def test_a_rank_that_leaves_keeps_nobody_waiting(mpi_run: Run, tmp_path: Path, leaver: int) -> None:
    mpi_run("writers.py", 4, ["leave", leaver], timeout=60).check()
    told = [one["warnings"] for one in seen(tmp_path, 4)]
    # The lead tells the others who left, so one of them warns; of itself it tells nobody who else knows.
    assert sum(map(len, told)) == (3 if leaver == 0 else 1)
    assert f"rank {leaver} left the run early" in "".join(map(str, told))
    with provml.open(tmp_path / "run.h5") as run:
        assert run.status == "failed"
    for output in outputs_of(tmp_path / "run.h5"):
        recover(output)
    wanted = {rank: list(range(20 if rank == leaver else 30)) for rank in range(4)}
    assert steps(tmp_path / "run.h5") == wanted
    nothing_else(tmp_path, "run.h5", "run-part1.h5")


def test_a_file_that_ranks_of_both_groups_name_is_read_once(mpi_run: Run, tmp_path: Path) -> None:
    (tmp_path / "shared.bin").write_bytes(b"x" * 400_000)
    mpi_run("writers.py", 4, ["digests"], timeout=60).check()
    assert sum(one["read"] for one in seen(tmp_path, 4)) == 3, "the lead read its own two before it was counted"
    with provml.open(tmp_path / "run.h5") as run:
        data = [row for row in run.entities if row.kind == "LearningDataset"]
        assert len(data) == 5
        assert {row.digest_state for row in data} == {"whole"}
