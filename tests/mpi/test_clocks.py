"""Clocks of ranks that are seconds apart: measured, corrected when read, raw times kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import provml_hpc as provml
from provml_tools import info
from tests.mpi.launch import Result
from tests.mpi.reading import File

AHEAD = 5 * 10**9
WIDTH = 10**9
"""What clocks are told apart by here: nobody's clock is that wrong, and no moment that long."""


@pytest.mark.parametrize("ranks", [2, 4])
def test_times_are_told_by_the_writers_clock(mpi_run: Callable[..., Result], tmp_path: Path, ranks: int) -> None:
    mpi_run("clocks.py", ranks, timeout=60).check()
    with provml.open(tmp_path / "clocks.h5") as run:
        for one in run.clocks:
            assert abs(one.offset_ns + AHEAD * one.rank) <= one.uncertainty_ns
        # On several machines twice: at the start and at the end.
        assert [one.rank for one in run.clocks] == [rank for rank in range(ranks) for _ in range(ranks // 2)]
        told, raw = run.samples("moment"), run.samples("moment", clock="raw")
        np.testing.assert_array_equal(told["rank"], raw["rank"])
        assert (np.abs(told["time_ns"] - told["value"]) < WIDTH).all()
        assert (np.abs(raw["time_ns"] - raw["value"] - AHEAD * raw["rank"]) < WIDTH).all()
        first, last = told["time_ns"].min(), told["time_ns"].max()
        for row in (*run.activities, *run.nodes("RankExecution")):
            assert first - 10 * WIDTH < row.start_ns <= row.end_ns < last + 10 * WIDTH
        training = run.activities.where(name="training")[0]
        parts = [row for row in run.nodes("RankExecution") if row.start_ns >= training.start_ns]
        assert training.end_ns - training.start_ns < AHEAD
        assert len(parts) >= ranks
        graph = run.graph  # what conversion and questions read
        assert all((np.abs(t.read(0, t.count)["time_ns"] - told["value"]) < WIDTH).all() for t in graph.samples)
    assert not File(tmp_path / "clocks.h5").faults
    told = info.collect(str(tmp_path / "clocks.h5"))["clocks"]
    assert (told["corrected"], round(told["most_seconds"])) == (ranks - 1, 5 * (ranks - 1))


def test_one_machine_keeps_its_times(mpi_run: Callable[..., Result], tmp_path: Path) -> None:
    mpi_run("apart.py", 2, timeout=60).check()
    with provml.open(tmp_path / "run.h5") as run:
        assert [one.rank for one in run.clocks] == [0, 1]
        assert all(abs(one.offset_ns) <= one.uncertainty_ns for one in run.clocks)
        np.testing.assert_array_equal(run.samples("loss"), run.samples("loss", clock="raw"))
