"""Forked and spawned children, and threads: the parent's file is right, whatever they do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from provml_hpc.storage.recover import recover
from provml_hpc.storage.tables import TablesFile
from tests.faults import guarantee
from tests.mpi import launch

Run = Callable[..., launch.Result]


def _names(output: Path) -> list[str]:
    with TablesFile(output) as file:
        return [str(name) for name in file.table("records", "Attribute").columns["label"]]


@pytest.mark.parametrize("left_open", [False, True], ids=["finished", "open"])
@pytest.mark.parametrize("how", ["exit", "exception", "collect", "os-exit", "pool", "spawn"])
def test_children_neither_write_nor_end_the_run(how: str, left_open: bool, mpi_run: Run, tmp_path: Path) -> None:
    output = tmp_path / "job.h5"
    arguments = [how, *(["open"] if left_open else []), output]
    done = mpi_run("forks.py", None, arguments).check()
    assert "provml" not in done.stderr
    steps, _ = guarantee.in_closed(output)
    assert steps[1, 0].tolist() == list(range(100))
    names = _names(output)
    assert "child" not in names
    if how not in ("pool", "spawn"):
        assert len([name for name in names if name.startswith("after-")]) == 3
    with TablesFile(output) as file:
        assert file.attributes["status"] == "finished"
        assert file.attributes["details"]["failures"] == []
        sections = "LearningStageSectionExecution" in file.names("records")
        assert not sections or len(file.table("records", "LearningStageSectionExecution")) == 0


def test_a_child_that_ends_late_takes_nothing_out_of_the_file(mpi_run: Run, tmp_path: Path) -> None:
    """HDF5 brings a file that a process inherited to its own idea of an end when that process ends."""
    output = tmp_path / "job.h5"
    assert mpi_run("forks.py", None, ["late", output]).returncode == -9
    alone = guarantee.without_journals(output, tmp_path / "alone")
    steps, _ = guarantee.in_closed(alone)
    assert steps[1, 0].tolist() == list(range(40_000))


def test_threads_lose_and_tear_nothing(mpi_run: Run, tmp_path: Path) -> None:
    output = tmp_path / "job.h5"
    mpi_run("threads.py", None, [output]).check()
    assert recover(output).status == "finished"
    with TablesFile(output) as file:
        tables = {table.measures: table.read(0, table.count) for table in file.samples()}
        assert file.attributes["details"]["dropped"] == []
    for thread in range(6):
        rows = next(rows for measures, rows in tables.items() if f"loss-{thread}" in measures)
        assert np.array_equal(rows["step"], np.arange(3000))
        assert np.array_equal(rows[f"loss-{thread}"], np.arange(3000.0))
        assert (rows["shared"] == thread).all()
    assert {f"thread-{n}" for n in range(1, 6)} <= set(_names(output))


def test_a_thread_that_another_rank_waits_for_logs_while_its_own_rank_flushes(mpi_run: Run, tmp_path: Path) -> None:
    """Nobody waits for a flush point but who takes part in it: else the ranks would wait for each other for ever."""
    output = tmp_path / "job.h5"
    mpi_run("talking_threads.py", 2, [output], timeout=60).check()
    with TablesFile(output) as file:
        assert file.attributes["status"] == "finished"
        assert file.attributes["details"]["dropped"] == []
        (rows,) = [table.read(0, table.count) for table in file.samples() if "aside" in table.measures]
    assert rows["step"].tolist() == list(range(10))
    assert np.array_equal(rows["aside"], np.arange(10.0))
    assert [f"talked-{number}" for number in range(5)] == [name for name in _names(output) if "talked" in name]
    assert [path.name for path in tmp_path.iterdir()] == ["job.h5"]
