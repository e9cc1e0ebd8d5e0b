"""Which rank held the others up, asked of a job that ran: the question that a run of one process has no answer to."""

from __future__ import annotations

from pathlib import Path

import provml_hpc as provml
from provml_tools.query import Engine, ask
from tests.mpi.launch import mpi_run


def test_the_slow_rank_is_named(tmp_path: Path) -> None:
    mpi_run("capture_slow_rank.py", 3, cwd=tmp_path, timeout=150).check()
    answer = ask(Engine([provml.open(tmp_path / "slow.h5").graph]), "stragglers")
    assert [(row["section"], row["ranks"], row["slowest rank"]) for row in answer.rows] == [
        (f"epoch {index}", 3, 1) for index in range(3)
    ]
    assert answer.notes == ["rank 1 is persistently slow: the slowest in 3 of 3 sections of slow"]
