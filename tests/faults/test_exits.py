"""Every way in which a job ends: by itself, in bounded time, with its own exit code, and with nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provml_hpc.storage.place import hidden_of, partial_of
from provml_hpc.storage.recover import recover
from provml_hpc.storage.tables import TablesFile
from tests.faults import guarantee
from tests.mpi import launch

RANKS = 3
LIMIT = 150
"""Seconds that only end a hang."""
RUN_MODULE = ("-m", "mpi4py")

# way, options of python, whether the run is left to the guard, status in the end, error of the first failure
ROWS: list[tuple[str, tuple[str, ...], bool, str, str | None]] = [
    ("normal", (), False, "finished", None),
    ("normal", (), True, "finished", None),
    ("finalize", (), True, "finished", None),
    ("exception", RUN_MODULE, False, "failed", "ValueError"),
    ("exception", RUN_MODULE, True, "failed", "ValueError"),
    ("exception-all", (), False, "failed", "ValueError"),
    ("exception-all", (), True, "failed", "ValueError"),
    ("exception-all", RUN_MODULE, False, "failed", "ValueError"),
    ("exit", RUN_MODULE, False, "failed", "SystemExit"),
    ("exit", (), True, "finished", None),
    ("exit-all", (), False, "failed", "SystemExit"),
    ("exit-well", (), False, "finished", None),
    ("abort", (), False, "recovered", None),
    ("os-exit", (), False, "recovered", None),
    ("computing:SIGTERM", (), False, "recovered", None),
    ("computing:SIGUSR1", (), False, "recovered", None),
    ("computing:SIGUSR2", (), False, "recovered", None),
    ("computing:SIGINT", RUN_MODULE, False, "failed", "KeyboardInterrupt"),
    ("computing:SIGKILL", (), False, "recovered", None),
    ("blocked:SIGTERM", (), False, "recovered", None),
    ("blocked:SIGUSR1", (), False, "recovered", None),
    ("blocked:SIGUSR2", (), False, "recovered", None),
    ("blocked:SIGINT", RUN_MODULE, False, "failed", "KeyboardInterrupt"),
    ("blocked:SIGKILL", (), False, "recovered", None),
    ("late", (), False, "finished", None),
]


def _code(way: str, result: launch.Result) -> int:
    """Return an exit code as far as the launcher does not throw dice for it.

    MPICH's adds the signal with which it killed ranks that were still there, or says nothing else where a rank left
    without a word.
    """
    if way == "os-exit":
        return int(result.returncode != 0)
    return result.returncode | 9 if result.returncode else 0


def row_name(row: tuple[Any, ...]) -> str:
    """Return what a row is called in a report."""
    way, python, left_open, *_ = row
    return "-".join([way.replace(":", "-"), *(["mpi4py"] if python else []), *(["open"] if left_open else [])])


@pytest.mark.parametrize("row", ROWS, ids=row_name)
def test_every_way_a_job_ends(row: tuple[Any, ...], mpi_run: Callable[..., launch.Result], tmp_path: Path) -> None:
    way, python, left_open, status, error = row
    output, told = tmp_path / "job.h5", tmp_path / "told"
    told.mkdir()
    arguments = [way, output, told, *(["open"] if left_open else [])]

    without = mpi_run("exits.py", RANKS, arguments, python=python, timeout=LIMIT, env={"PROVML_DISABLE": "1"})
    assert not output.exists()
    assert not hidden_of(output).exists()
    done = mpi_run("exits.py", RANKS, arguments, python=python, timeout=LIMIT)
    assert _code(way, done) == _code(way, without), f"{without.stderr}\n---\n{done.stderr}"

    result = guarantee.recover_and_check(output, told, RANKS)
    assert result.status == status, done.stderr
    with TablesFile(output) as file:
        assert file.attributes["status"] == status
        failures = file.attributes["details"]["failures"]
    if error is None:
        assert failures == []
    else:
        assert failures[0]["error"] == error
        assert failures == sorted(failures, key=lambda one: one["time_ns"])
        assert failures[0]["time_ns"] > 0
        if way.startswith(("exception-all", "exit-all")):
            assert {one["rank"] for one in failures} <= set(range(RANKS))
        else:
            assert failures[0]["rank"] == (0 if way.startswith("blocked") else RANKS - 1)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
@pytest.mark.parametrize("way", ["stop-computing", "stop-blocked"])
def test_a_signal_to_stop_is_a_clean_end(
    way: str, name: str, mpi_run: Callable[..., launch.Result], tmp_path: Path
) -> None:
    """All ranks agree at the next flush point, and end well."""
    output, told = tmp_path / "job.h5", tmp_path / "told"
    told.mkdir()
    mpi_run("exits.py", RANKS, [f"{way}:{name}", output, told], timeout=LIMIT).check()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.h5", "told"]
    with TablesFile(output) as file:
        assert file.attributes["status"] == "finished"


def test_an_exception_on_one_rank_under_plain_python_hangs_no_longer_than_without(
    mpi_run: Callable[..., launch.Result], tmp_path: Path
) -> None:
    """Plain python waits for the others in MPI's own end, where ranks that come to theirs release it."""
    output, told = tmp_path / "job.h5", tmp_path / "told"
    told.mkdir()
    without = mpi_run("exits.py", RANKS, ["exception", output, told], timeout=LIMIT, env={"PROVML_DISABLE": "1"})
    done = mpi_run("exits.py", RANKS, ["exception", output, told], timeout=LIMIT)
    assert done.returncode == without.returncode
    assert recover(output).status == "failed"


def test_a_normal_end_leaves_the_closed_file_alone(mpi_run: Callable[..., launch.Result], tmp_path: Path) -> None:
    output, told = tmp_path / "job.h5", tmp_path / "told"
    told.mkdir()
    mpi_run("exits.py", RANKS, ["normal", output, told]).check()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.h5", "told"]
    assert not partial_of(output).exists()
