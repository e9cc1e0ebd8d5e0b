"""Times of ranks on one clock, by what was measured of theirs."""

from __future__ import annotations

import numpy as np
import pytest

from provml_hpc import records
from provml_hpc.assembly.clocks import Correction, Measured, correct, corrections
from tests.unit.assembly.builder import NOON, SECOND, TRAINING, FakeFrames


def of(*offsets: tuple[int, int, int]) -> dict[tuple[int, int], Correction]:
    """Return the corrections of a rank that was measured at some times with these offsets and uncertainties."""
    return corrections([Measured(1, 3, *one) for one in offsets])


def test_between_two_measurements_the_clock_drifts_evenly() -> None:
    (by,) = of((NOON, 1000, 10), (NOON + 100 * SECOND, 3000, 10)).values()
    for seconds, offset in ((-50, 1000), (0, 1000), (25, 1500), (50, 2000), (100, 3000), (500, 3000)):
        time = NOON + seconds * SECOND
        assert by(time) == time + offset
    times = np.arange(NOON, NOON + 100 * SECOND, SECOND // 3)
    assert by.each(times).tolist() == [by(int(time)) for time in times]
    assert (np.diff(by.each(times)) > 0).all()


def test_what_a_dead_job_measured_once_holds_throughout() -> None:
    (by,) = of((NOON, -7 * SECOND, 10)).values()
    assert by(NOON) == by(NOON + 1) - 1 == NOON - 7 * SECOND


@pytest.mark.parametrize("offsets", [[(NOON, 10, 10)], [(NOON, -9, 10), (NOON + SECOND, 20, 20)], []])
def test_what_may_be_no_difference_is_none(offsets: list[tuple[int, int, int]]) -> None:
    assert of(*offsets) == {}


def test_measurements_that_would_turn_time_back_are_not_joined_by_a_line() -> None:
    (by,) = of((NOON, 5 * SECOND, 10), (NOON + SECOND, -5 * SECOND, 10)).values()
    assert by(NOON + SECOND) == NOON + 6 * SECOND


def test_only_the_rank_and_attempt_that_was_measured_is_corrected() -> None:
    columns = {
        "rank": np.array([3, 3, 2]),
        "attempt": np.array([1, 2, 1]),
        "time_ns": np.array([NOON, NOON, NOON]),
        "loss": np.array([1.0, 2.0, 3.0]),
    }
    told = correct(columns, of((NOON, SECOND, 1)))
    assert (told["time_ns"] - NOON).tolist() == [SECOND, 0, 0]
    assert columns["time_ns"].tolist() == [NOON] * 3
    assert told["loss"] is columns["loss"]


@pytest.mark.parametrize("offset", [0, -3600 * SECOND, 3600 * SECOND])
def test_a_shared_activity_is_told_on_one_clock(offset: int) -> None:
    frames = FakeFrames(2)
    first, second = frames.ranks()
    second(records.Clock(offset, 5))
    handles = [rank.open(TRAINING, "training") for rank in (first, second)]
    began = frames.now - SECOND, frames.now
    second.sample(second.layout(handles[1], "loss"), 0, 1.0)
    logged = frames.now
    for rank, handle in zip((first, second), handles, strict=True):
        rank.close(handle)
    ended = frames.now - SECOND, frames.now
    view = frames.view()
    training = view.one(TRAINING)
    assert training["start_ns"] == min(began[0], began[1] + offset)
    assert training["end_ns"] == max(ended[0], ended[1] + offset)
    parts = {row["rank"]: row for row in view.to(training, "isPartOf") if "rank" in row}
    assert parts[1]["start_ns"] == began[1] + offset
    (table,), (told,) = view.graph.samples, view.graph.on_one_clock().samples
    assert table.read(0, 1)["time_ns"].tolist() == [logged]
    assert told.read(0, 1)["time_ns"].tolist() == [logged + offset]
