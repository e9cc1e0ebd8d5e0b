"""Samples: every row once and in order, whatever stretch of them is read, and what they come to."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provml_hpc import records
from provml_hpc.assembly.graph import ABSENT, SampleTable
from provml_hpc.errors import FormatError
from tests.unit.assembly.builder import TRAINING, FakeFrames, View


def rows(table: SampleTable, *names: str) -> list[tuple[float, ...]]:
    columns = table.read(0, table.count)
    return list(zip(*[columns[name].tolist() for name in names], strict=True))


def logged(ranks: int = 2, blocks: int = 3, steps: int = 5) -> FakeFrames:
    """Ranks that log loss and accuracy, the odd ones in the other order."""
    frames = FakeFrames(ranks)
    stages = [rank.open(TRAINING) for rank in frames.ranks()]
    layouts = [
        rank.layout(stage, *(("loss", "acc") if number % 2 == 0 else ("acc", "loss")))
        for number, (rank, stage) in enumerate(zip(frames.ranks(), stages, strict=True))
    ]
    step = 0
    for _ in range(blocks):
        for _ in range(steps):
            for number, rank in enumerate(frames.ranks()):
                loss, acc = 100.0 * number + step, -1.0 - step
                rank.sample(layouts[number], step, *((loss, acc) if number % 2 == 0 else (acc, loss)))
            step += 1
        frames.commit()
    return frames


def test_rows_come_in_order_of_rank_and_step_with_each_measure_in_its_column() -> None:
    (table,) = logged().view().graph.samples
    assert sorted(table.measures) == ["acc", "loss"]
    expected = [(rank, step, 100.0 * rank + step, -1.0 - step) for rank in (0, 1) for step in range(15)]
    assert rows(table, "rank", "step", "loss", "acc") == expected
    times = table.read(0, table.count)["time_ns"].reshape(2, 15)
    assert (np.diff(times) > 0).all()
    assert (times[1] - times[0] == 10**9).all(), "in wall time, though each rank's clock starts elsewhere"


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 90), st.data())
@settings(max_examples=25)
def test_a_stretch_equals_the_slice_of_all(ranks: int, blocks: int, steps: int, data: st.DataObject) -> None:
    (table,) = logged(ranks, blocks, steps).view().graph.samples
    whole = table.read(0, table.count)
    for _ in range(4):
        start = data.draw(st.integers(0, table.count + 2))
        stop = data.draw(st.integers(0, table.count + 5))
        part = table.read(start, stop)
        assert part.keys() == whole.keys()
        for name, column in part.items():
            assert np.array_equal(column, whole[name][start:stop])


def test_two_tables_may_be_read_in_turn() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    first, second = rank.layout(rank.open(TRAINING, "a"), "x"), rank.layout(rank.open(TRAINING, "b"), "x")
    for step in range(12):
        rank.sample(first, step, float(step))
        rank.sample(second, step, -float(step))
        frames.commit()
    a, b = frames.view().graph.samples
    for at in (0, 11, 5, 3, 7):
        assert a.read(at, at + 1)["x"].tolist() == [float(at)]
        assert b.read(at, at + 1)["x"].tolist() == [-float(at)]
    assert (a.name, b.name) == ("a", "b")


def test_sections_are_the_ids_of_the_activities_that_ranks_share() -> None:
    frames = FakeFrames(2)
    for rank in frames.ranks():
        stage = rank.open(TRAINING)
        layout = rank.layout(stage, "loss")
        rank.sample(layout, 0, 0.0)
        for index in range(2):
            epoch = rank.section(stage, index)
            for step in range(2):
                rank.sample(layout, step, 0.0, section=epoch)
            rank.close(epoch)
    view = frames.view()
    (table,) = view.graph.samples
    ids = [row["id"] for row in view.all("LearningStageSectionExecution")]
    one = [ABSENT, ids[0], ids[0], ids[1], ids[1]]
    assert table.read(0, 10)["section"].tolist() == one + one


def series(view: View, name: str) -> dict[str, object]:
    return view.one("MetricSeries", label=name)


def test_what_the_samples_come_to() -> None:
    view = logged(3).view()
    loss = series(view, "loss")
    assert (loss["count"], loss["minimum"], loss["maximum"], loss["last"]) == (45, 0.0, 214.0, 214.0)
    assert loss["row_count"] == 45
    assert loss["attempt"] == 1
    by_rank = json.loads(str(loss["by_rank"]))
    assert by_rank["1"] == {"count": 15, "minimum": 100.0, "maximum": 114.0, "last": 114.0}
    (activity,) = view.of(loss, "wasGeneratedBy")
    assert activity == view.one(TRAINING)
    assert [row["label"] for row in view.of(loss, "valueOf")] == ["loss"]


def test_the_last_value_is_that_of_the_latest_time_and_not_of_the_first_rank() -> None:
    frames = FakeFrames(2)
    layouts = [rank.layout(rank.open(TRAINING), "x") for rank in frames.ranks()]
    frames.rank(1).sample(layouts[1], 1, 7.0)
    frames.rank(0).sample(layouts[0], 1, 8.0)
    assert series(frames.view(), "x")["last"] == 8.0
    frames.rank(1).sample(layouts[1], 2, 9.0)
    assert series(frames.view(), "x")["last"] == 9.0


@pytest.mark.parametrize(
    ("values", "least", "greatest", "last"),
    [
        ([math.nan, 2.0, 1.0, math.nan], 1.0, 2.0, math.nan),
        ([math.nan, math.nan], math.nan, math.nan, math.nan),
        ([math.inf, 1.0, -math.inf], -math.inf, math.inf, -math.inf),
        ([math.nan, math.inf], math.inf, math.inf, math.inf),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_numbers_that_are_none_and_infinity(
    values: list[float], least: float, greatest: float, last: float, apart: bool
) -> None:
    frames = FakeFrames()
    rank = frames.rank()
    layout = rank.layout(rank.open(TRAINING), "x")
    for step, value in enumerate(values):
        rank.sample(layout, step, value)
        if apart:
            frames.commit()
    row = series(frames.view(), "x")
    assert np.array_equal([row["minimum"], row["maximum"], row["last"]], [least, greatest, last], equal_nan=True)
    (figures,) = json.loads(str(row["by_rank"]), parse_constant=_refuse).values()
    assert float(figures["last"]) == last or math.isnan(last)


def _refuse(name: str) -> float:
    raise AssertionError(f"{name} is no JSON")


def test_the_side_lane_of_a_rank_adds_to_the_same_table() -> None:
    frames = FakeFrames()
    rank, side = frames.rank(), frames.rank(lane=1)
    stage = rank.open(TRAINING)
    rank.sample(rank.layout(stage, "x", "y"), 1, 1.0, 10.0)
    side.sample(side.layout(stage, "y", "x"), 2, 20.0, 2.0)
    view = frames.view()
    (table,) = view.graph.samples
    assert rows(table, "step", "x", "y") == [(1, 1.0, 10.0), (2, 2.0, 20.0)]
    assert series(view, "x")["count"] == 2


def test_measures_named_like_the_columns_keep_theirs() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    rank.sample(rank.layout(rank.open(TRAINING), "step", "rank"), 3, 0.25, 0.5)
    (table,) = frames.view().graph.samples
    columns = table.read(0, 1)
    assert (columns["step"].tolist(), columns["rank"].tolist()) == ([3], [0])
    assert sorted(columns[name].tolist()[0] for name in columns if name.endswith("-2")) == [0.25, 0.5]


@pytest.mark.parametrize("measures", ["", "no json", "7", '["a","a"]', "[1]", "[]", '["a","b"]', "[" * 100_000])
def test_samples_whose_layout_is_damaged_are_counted(measures: str) -> None:
    frames = FakeFrames()
    rank = frames.rank()
    rank.open(TRAINING)
    rank(records.Layout(1, 2, measures))
    rank.sample(1, 1, 1.0)
    rank.sample(9, 1, 1.0)
    view = frames.view()
    assert view.graph.samples == []
    assert view.graph.run.details["damaged"] == {"records": 0, "samples": 2}


def test_bytes_that_are_no_frames_are_one_of_our_errors() -> None:
    frames = FakeFrames()
    frames.rank().open_block += bytes(64)
    with pytest.raises(FormatError, match="provml recover"):
        frames.view()
    frames = FakeFrames()
    rank = frames.rank()
    rank.sample(rank.layout(rank.open(TRAINING), "x"), 1, 1.0)
    frames.commit()
    rank.sample(1, 1, 1.0, 2.0)
    with pytest.raises(FormatError, match="provml recover"):
        frames.view()


def test_a_record_that_cannot_be_decoded_is_passed_over_and_counted() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    at = len(rank.open_block)
    rank(records.Fact("run", "n", "text", "x"))
    rank.open_block[at + 40 : at + 44] = b"\xff\xff\xff\x7f"
    rank.open(TRAINING)
    view = frames.view()
    assert view.one(TRAINING)
    assert view.graph.run.details["damaged"]["records"] == 1
