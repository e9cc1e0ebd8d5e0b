"""Ranks that are left go on: after deaths under Open MPI's ULFM, and without ranks that left the run by themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import provml_hpc as provml
from provml_hpc.storage.place import hidden_of, part_of, partial_of
from provml_hpc.storage.recover import recover
from provml_hpc.storage.tables import TablesFile
from provml_hpc.transport.tree import divide
from tests.faults import acknowledged, guarantee, killing
from tests.faults.killing import Plan
from tests.mpi import launch

RANKS = 4
JOURNAL, OUTPUT, MPI = "provml_hpc.journal", "provml_hpc.storage.output", "provml_hpc.transport.mpi"
STEPS = "provml_hpc.transport.steps:Steps"

Run = Callable[..., launch.Result]

needs_ulfm = pytest.mark.skipif(
    not launch.is_open_mpi(),
    reason="MPICH ends a job with its first rank: only Open MPI has ULFM; make test-openmpi runs this",
)

CASES = {
    "one that does not write": [Plan("capture", f"{JOURNAL}:Journal.write", 12, True, 2)],
    "one in the gathering": [Plan("gather", f"{MPI}:Parallel.meet", 2, False, 3)],
    "the writer before its commit": [Plan("append to commit", f"{OUTPUT}:Output.commit", 2, False, 0)],
    "the writer between commit and word": [Plan("after commit", f"{OUTPUT}:Output.commit", 2, True, 0)],
    "the writer, and its successor": [
        Plan("capture", f"{JOURNAL}:Journal.write", 20, True, 0),
        Plan("rebind", f"{OUTPUT}:LogWriter.reopen", 1, True, 1),
    ],
    "two, one as the others rebind": [
        Plan("capture", f"{JOURNAL}:Journal.write", 12, True, 3),
        Plan("rebind", f"{MPI}:Parallel.allgather", 3, False, 2),
    ],
}


OF_SEVERAL = {
    "the second writer before its commit": [Plan("append to commit", f"{OUTPUT}:Output.commit", 2, False, 2)],
    "the second writer between commit and word": [Plan("after commit", f"{OUTPUT}:Output.commit", 2, True, 2)],
    "both writers, one as the others rebind": [
        Plan("capture", f"{JOURNAL}:Journal.write", 20, True, 2),
        Plan("rebind", f"{MPI}:Parallel.allgather", 2, True, 0),
    ],
}
"""Where ranks 0 and 2 write, each for two."""
AMONG_SEVERAL = ("one in the gathering", "the writer before its commit", "the writer, and its successor")
"""Of the other cases those that are worth seeing there, too."""


def _details(output: Path) -> dict[str, Any]:
    with TablesFile(output) as file:
        details: dict[str, Any] = file.attributes["details"]
        return details


def _survive(mpi_run: Run, tmp_path: Path, plans: list[Plan], writers: int = 1, **options: Any) -> launch.Result:
    (tmp_path / "told").mkdir()
    options["plans"] = [plan.text() for plan in plans]
    return mpi_run(
        "survivors.py",
        RANKS,
        [tmp_path / "job.h5", tmp_path / "told", json.dumps(options)],
        launcher=("--with-ft", "ulfm"),
        env={killing.WRITERS: str(writers)},
    )


def _ended_well(tmp_path: Path, result: launch.Result, dead: set[int], writers: int = 1) -> None:
    """All but the dead came to their end, and the files were closed by the job itself."""
    for rank in range(RANKS):
        counted = acknowledged.read(acknowledged.file_of(tmp_path / "told", 1, rank))
        assert bool(counted["finished"]) == (rank not in dead), f"rank {rank}: {counted}\n{result.stderr}"
        if rank not in dead:
            assert counted["flushed_samples"] == counted["samples"] > 0
    divided = divide(RANKS, writers, 0)
    for part, writer in enumerate(sorted(set(divided))):
        output = part_of(tmp_path / "job.h5", part)
        if {rank for rank in range(RANKS) if divided[rank] == writer} <= dead:
            assert partial_of(output).exists(), "nobody is left who could close it"
            continue
        assert output.exists(), result.stderr
        assert not partial_of(output).exists()
        assert not hidden_of(output).exists(), [path.name for path in hidden_of(output).iterdir()]


@needs_ulfm
@pytest.mark.parametrize(
    ("case", "writers"), [*((case, 1) for case in CASES), *((case, 2) for case in (*AMONG_SEVERAL, *OF_SEVERAL))]
)
def test_survivors_go_on(case: str, writers: int, mpi_run: Run, tmp_path: Path) -> None:
    plans = (CASES | OF_SEVERAL)[case]
    dead = {plan.rank for plan in plans}
    result = _survive(mpi_run, tmp_path, plans, writers)
    _ended_well(tmp_path, result, dead, writers)
    whole_group = writers == 2 and dead in ({0, 1}, {2, 3})  # of which nobody is left who adopts
    guarantee.check(tmp_path / "job.h5", tmp_path / "told", RANKS)
    with provml.open(tmp_path / "job.h5") as file:
        lost = file.run.details["lost"]
        assert {one["rank"] for one in lost} == dead
        assert all(one["adopted"] != whole_group and one["reason"] == "its process died" for one in lost)
        assert file.status == "recovered"
        (attempt,) = file.nodes("Attempt")
        assert attempt["outcome"] == "completed"
        assert len(file.nodes("TrainingExecution")) == 1
        outcomes = {row["rank"]: row["outcome"] for row in file.nodes("RankExecution")}
    assert outcomes.keys() == set(range(RANKS))


IN_DUP = re.compile(
    r"Segmentation fault\s.*?most recent call first\S*\s+File \S+steps.py\S+ line \d+ in __init__\s", re.S
)
"""Open MPI 5.0 ends a rank that is in ``MPI_Comm_dup`` as another dies, once in some sixty times on a busy machine."""

BEGINNING = {
    "one before there is a communicator": (Plan("begin", f"{MPI}:Steps", 1, False, 2), 1),
    "the writer before it has the output": (Plan("begin", f"{OUTPUT}:Output.claim", 1, False, 0), 1),
    "the writer when it has the output": (Plan("begin", f"{OUTPUT}:Output.claim", 1, True, 0), 2),
    "the writer when some have heard of the run": (Plan("begin", f"{STEPS}.send", 5, True, 0), 2),
    "one that has not heard of it": (Plan("begin", f"{STEPS}.receive", 1, False, 2), 1),
}


@needs_ulfm
@pytest.mark.parametrize("case", BEGINNING)
def test_a_death_before_all_have_heard_of_the_run(case: str, mpi_run: Run, tmp_path: Path) -> None:
    """Either all that are left have a run, which they bind anew, or none, and they begin one: nobody waits for ever."""
    plan, attempt = BEGINNING[case]
    for again in range(3):
        tmp_path = tmp_path / str(again)
        tmp_path.mkdir()
        result = _survive(mpi_run, tmp_path, [plan])
        if not IN_DUP.search(result.stderr):
            break
    told, output = tmp_path / "told", tmp_path / "job.h5"
    assert guarantee.last_attempt(told) == (attempt, RANKS - 1), result.stderr
    for rank in range(RANKS - 1):
        counted = acknowledged.read(acknowledged.file_of(told, attempt, rank))
        assert counted["finished"], f"rank {rank}: {counted}\n{result.stderr}"
    assert not partial_of(output).exists()
    assert not hidden_of(output).exists()
    found = guarantee.check(output, told, RANKS - 1, attempts=attempt)
    assert found is not None
    assert found.status == "finished"


@needs_ulfm
def test_journals_on_the_node_are_adopted_too(mpi_run: Run, tmp_path: Path) -> None:
    plans = [Plan("capture", f"{JOURNAL}:Journal.write", 20, True, 0)]
    _ended_well(tmp_path, _survive(mpi_run, tmp_path, plans, journal=str(tmp_path)), {0})
    guarantee.check(tmp_path / "job.h5", tmp_path / "told", RANKS)
    assert not list(tmp_path.glob("provml-*")), "the journals of a dead rank stayed where they were"


@pytest.mark.parametrize("leaver", [0, 2])
def test_ranks_go_on_without_one_that_left(leaver: int, mpi_run: Run, tmp_path: Path) -> None:
    output = tmp_path / "job.h5"
    mpi_run("ranks.py", RANKS, [f"left:{leaver}", output]).check()
    steps, _ = guarantee.in_closed(output)
    assert {rank: len(found) for (_, rank), found in steps.items()} == {
        rank: 10 if rank == leaver else 30 for rank in range(RANKS)
    }
    details = _details(output)
    assert [(one["rank"], one["adopted"]) for one in details["lost"]] == [(leaver, True)]
    assert [one["rank"] for one in details["failures"]] == [leaver]
    with TablesFile(output) as file:
        assert file.attributes["status"] == "failed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.h5"]


@pytest.mark.parametrize("leavers", [[2], [1, 3], [0, 2], [0, 1]], ids=str)
def test_each_of_several_files_has_a_successor_where_its_writer_left(
    leavers: list[int], mpi_run: Run, tmp_path: Path
) -> None:
    """Ranks 0 and 2 write, each for two. Of a group that is gone nobody is left who could close its file."""
    output = tmp_path / "job.h5"
    mpi_run("ranks.py", RANKS, [f"left:{','.join(map(str, leavers))}", output], env={killing.WRITERS: "2"}).check()
    for part, group in ((0, {0, 1}), (1, {2, 3})):
        assert partial_of(part_of(output, part)).exists() == (group <= set(leavers))
        recover(part_of(output, part))
    steps, _ = guarantee.in_closed(output)
    assert {rank: len(found) for (_, rank), found in steps.items()} == {
        rank: 10 if rank in leavers else 30 for rank in range(RANKS)
    }
    with provml.open(output) as run:
        assert run.status == "failed"
        assert sorted(one["rank"] for one in run.run.details["lost"]) == leavers
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job-part1.h5", "job.h5"]


def test_one_that_is_merely_left_out_keeps_its_journal(mpi_run: Run, tmp_path: Path) -> None:
    """Nobody may take the journal of a rank that lives. It comes in later, as from another node."""
    output = tmp_path / "job.h5"
    mpi_run("ranks.py", RANKS, ["left-out", output]).check()
    with TablesFile(output) as file:
        assert file.attributes["status"] == "incomplete"
    assert [(one["rank"], one["adopted"]) for one in _details(output)["lost"]] == [(3, False)]
    assert recover(output).taken > 0
    steps, _ = guarantee.in_closed(output)
    assert {rank: len(found) for (_, rank), found in steps.items()} == {0: 20, 1: 20, 2: 20, 3: 30}
    with TablesFile(output) as file:
        assert file.attributes["status"] == "finished"
    assert not hidden_of(output).exists()


def test_a_rank_that_ended_its_run_cannot_be_bound_again(mpi_run: Run, tmp_path: Path) -> None:
    done = mpi_run("ranks.py", RANKS, ["ended", tmp_path / "job.h5"]).check()
    assert done.stdout.count("the run has ended on rank 3") == RANKS
