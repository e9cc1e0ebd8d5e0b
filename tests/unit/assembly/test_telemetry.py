"""Counters of devices, nodes and processes become tables apart from the samples, and what they cost can be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from provml_hpc import records
from provml_hpc.assembly.graph import Graph
from provml_hpc.storage import reader
from provml_hpc.storage.costs import Meter, Span, costs
from provml_hpc.storage.log_format import COMMIT_ROW
from provml_hpc.storage.tables import TablesFile, write_file
from tests.unit.assembly.builder import SECOND, TRAINING, FakeFrames, View, Writer

FULL = {"power_W": "W", "energy_J": "J"}


def counters(writer: Writer, number: int, names: dict[str, str], *, device: int = 0, rank: int = -1) -> int:
    writer(records.Counters(number, device, rank, json.dumps([*names]), json.dumps([*names.values()])))
    return number


def sampled(size: int = 1) -> tuple[FakeFrames, list[Writer], Writer]:
    """Return frames, the lanes of the ranks' own threads, and that of rank 0's sampler."""
    frames = FakeFrames(size)
    ranks = frames.ranks()
    return frames, ranks, frames.rank(0, lane=records.TELEMETRY_LANE)


def gpu(sampler: Writer, number: int = 0, *, parent: int = 0, by: dict[int, str] | None = None) -> int:
    name = f"GPU-{number}" if not parent else f"MIG-{parent}-{number}"
    handle = sampler(records.Device(number, parent, name, f"node0 {name.lower()}", "A GPU"))
    for rank, how in (by or {}).items():
        sampler(records.Placed(handle, rank, how))
    return handle


def test_counters_are_series_of_their_places_and_no_samples_of_the_training() -> None:
    frames, (rank,), sampler = sampled()
    training = rank.open(TRAINING, "t")
    rank.sample(rank.layout(training, "loss"), 0, 0.5)
    device = gpu(sampler, by={0: records.BY_PROCESS})
    sampler(records.Fact("telemetry", "memory.total_B", "integer", "80", device))
    of_gpu = counters(sampler, 1, FULL, device=device)
    of_node = counters(sampler, 2, {"cpu_percent": "%"})
    of_rank = counters(sampler, 3, {"cpu_s": "s"}, rank=0)
    for turn in range(3):
        sampler.sample(of_gpu, turn, 300.0, 1000.0 + 300 * turn)
        sampler.sample(of_node, turn, 50.0)
        sampler.sample(of_rank, turn, 0.1 * turn)
    view = frames.view()
    assert [table.measures for table in view.graph.samples] == [("loss",)]
    assert [(table.name, table.count) for table in view.graph.telemetry] == [
        ("node0", 3), ("node0 gpu-0", 3), ("rank 0", 3),
    ]  # fmt: skip
    power = view.one("TelemetrySeries", label="power_W")
    assert (power["count"], power["minimum"], power["unit"]) == (3, 300.0, "W")
    assert [one["label"] for one in view.of(power, "atLocation")] == ["node0 gpu-0"]
    assert [one["label"] for one in view.of(power, "valueOf")] == ["power_W"]
    assert [one["label"] for one in view.of(view.one("TelemetrySeries", label="cpu_s"), "wasAttributedTo")] == [
        "rank 0"
    ]
    place = view.one("Device")
    assert (place["identifier"], place["model"]) == ("GPU-0", "A GPU")
    assert [one["label"] for one in view.of(place, "isPartOf")] == ["node0"]
    assert [(one["label"], one["value"]) for one in view.of(place, "hasAttribute")] == [("memory.total_B", "80")]
    assert {one["label"] for one in view.of(view.one("Rank"), "atLocation")} == {"node0", "node0 gpu-0"}


def test_what_was_seen_of_a_process_counts_more_than_what_it_was_given() -> None:
    frames, _, sampler = sampled(2)
    gpu(sampler, 0, by={0: "CUDA_VISIBLE_DEVICES", 1: "CUDA_VISIBLE_DEVICES"})
    second = gpu(sampler, 1, by={0: "CUDA_VISIBLE_DEVICES"})
    sampler(records.Placed(second, 0, records.BY_PROCESS))
    view = frames.view()
    devices = {
        rank["rank"]: {one["label"] for one in view.of(rank, "atLocation")} - {"node0"} for rank in view.all("Rank")
    }
    # Rank 0 was seen on the one, rank 1 on none, so for it what it was given is all there is.
    assert devices == {0: {"node0 gpu-1"}, 1: {"node0 gpu-0"}}


def test_a_slice_is_a_part_of_its_gpu() -> None:
    frames, _, sampler = sampled()
    whole = gpu(sampler)
    gpu(sampler, 1, parent=whole)
    view = frames.view()
    (part,) = [one for one in view.all("Device") if one["identifier"].startswith("MIG")]
    assert [one["identifier"] for one in view.of(part, "isPartOf")] == ["GPU-0"]


def test_damaged_counters_are_counted_and_harm_nothing() -> None:
    frames, _, sampler = sampled()
    sampler(records.Counters(1, 0, -1, "[1", "["))
    sampler(records.Counters(2, 0, -1, '["a", "a"]', '["x", "x"]'))
    sampler(records.Counters(3, 99, -1, '["a"]', '["x"]'))  # of a device that is not known
    sampler.sample(1, 0, 1.0)
    sampler.sample(2, 0, 1.0, 2.0)
    sampler.sample(3, 0, 1.0)
    view = frames.view()
    assert view.graph.telemetry == []
    assert view.graph.run.details["damaged"] == {"records": 0, "samples": 3}


def closed(frames: FakeFrames, path: Path) -> reader.Reader:
    graph = frames.view().graph
    graph.run.committed_ns = frames.now
    write_file(path, graph, np.zeros(0, COMMIT_ROW))
    return reader.open(path)


def test_a_closed_file_has_them_under_a_name_of_their_own(tmp_path: Path) -> None:
    frames, (rank,), sampler = sampled()
    rank.sample(rank.layout(rank.open(TRAINING, "t"), "power_W"), 0, -1.0)  # a user's measure of the same name
    number = counters(sampler, 1, FULL, device=gpu(sampler))
    for turn in range(5):
        sampler.sample(number, turn, 300.0 + turn, float("nan"))
    with closed(frames, tmp_path / "a.h5") as file:
        assert file.samples("power_W")["value"].tolist() == [-1.0]
        assert file.measures == ["power_W"]
        assert file.counters == {"node0 gpu-0": FULL}
        power = file.telemetry("power_W")
        assert power["value"].tolist() == [300.0, 301.0, 302.0, 303.0, 304.0]
        assert power["turn"].tolist() == list(range(5))
        assert set(power["place"].tolist()) == {"node0 gpu-0"}
        assert np.isnan(file.telemetry("energy_J", place="node0 gpu-0")["value"]).all()
        assert set(file.telemetry()["counter"].tolist()) == set(FULL)
        with pytest.raises(ValueError, match="choose one of energy_J, power_W"):
            file.telemetry("loss")
        (series,) = [row for row in file.nodes("TelemetrySeries") if row.label == "power_W"]
        assert (series.path, series.column) == ("/telemetry/node0 gpu-0", "power_W")
    with TablesFile(tmp_path / "a.h5") as tables:
        group = tables.file["telemetry"]["node0 gpu-0"]
        assert group["power_W"].attrs["units"] == b"W"
        assert "section" not in group


class TestCosts:
    @staticmethod
    def graph(
        values: list[tuple[float, ...]], names: dict[str, str], parts: dict[int, str], seconds: int = 10
    ) -> Graph:
        """A training of some seconds on ranks that use one device, which is sampled every three seconds."""
        frames, ranks, sampler = sampled(max(parts) + 1)
        number = counters(sampler, 1, names, device=gpu(sampler, by=parts))
        for turn, row in enumerate(values):
            sampler.sample(number, turn, *row)
            frames.now += 2 * SECOND
        for rank in ranks:
            rank.end()
        return frames.view().graph

    @staticmethod
    def span(graph: Graph, first: float, last: float, rank: int = 0, attempt: int = 1) -> Span:
        """From one sample to another, by their numbers."""
        times = graph.telemetry[0].read(0, 100)["time_ns"]
        at = np.interp([first, last], range(len(times)), times - times[0]).astype(int) + times[0]
        return Span(attempt, rank, int(at[0]), int(at[1]))

    def test_energy_between_two_moments_is_read_off_the_counter(self) -> None:
        graph = self.graph([(1000.0,), (1300.0,), (1600.0,), (1900.0,)], {"energy_J": "J"}, {0: "process"})
        spent = Meter(graph).spent([self.span(graph, 0.5, 2.5)])
        assert spent.energy_J == pytest.approx(600.0)
        assert (spent.gpu_s, spent.energy_from, spent.measured) == (pytest.approx(6.0), "counter", 1.0)
        assert spent.devices == ("node0 gpu-0",)

    def test_without_a_counter_power_is_integrated_over_time(self) -> None:
        graph = self.graph([(100.0,), (100.0,), (300.0,)], {"power_W": "W"}, {0: "process"})
        spent = Meter(graph).spent([self.span(graph, 0, 2)])
        assert (spent.energy_J, spent.energy_from) == (pytest.approx(300.0 + 600.0), "power")

    def test_a_counter_that_began_anew_goes_on_from_where_it_was(self) -> None:
        graph = self.graph([(1000.0,), (1300.0,), (50.0,), (350.0,)], {"energy_J": "J"}, {0: "process"})
        assert Meter(graph).spent([self.span(graph, 0, 3)]).energy_J == pytest.approx(600.0)

    def test_a_counter_that_did_not_answer_is_passed_over(self) -> None:
        graph = self.graph([(0.0,), (float("nan"),), (600.0,)], {"energy_J": "J"}, {0: "process"})
        assert Meter(graph).spent([self.span(graph, 0, 1)]).energy_J == pytest.approx(300.0)

    def test_ranks_that_share_a_device_share_its_hours(self) -> None:
        parts = {0: "process", 1: "process"}
        graph = self.graph([(0.0,), (300.0,), (600.0,), (900.0,)], {"energy_J": "J"}, parts)
        together = [self.span(graph, 0, 2, 0), self.span(graph, 1, 3, 1)]
        spent = Meter(graph).spent(together)
        assert (spent.gpu_s, spent.energy_J) == (pytest.approx(9.0), pytest.approx(900.0))
        # With a pause between the two, the pause does not count.
        apart = [self.span(graph, 0, 1, 0), self.span(graph, 2, 3, 1)]
        assert Meter(graph).spent(apart).energy_J == pytest.approx(600.0)

    def test_what_the_samples_do_not_cover_is_said(self) -> None:
        graph = self.graph([(0.0,), (300.0,)], {"energy_J": "J"}, {0: "process"})
        span = self.span(graph, 0, 1)
        spent = Meter(graph).spent([span._replace(end_ns=span.end_ns + 9 * SECOND)])
        assert (spent.energy_J, spent.measured) == (pytest.approx(300.0), pytest.approx(0.25))
        assert spent.gpu_s == pytest.approx(12.0)

    def test_unknown_is_not_zero(self) -> None:
        graph = self.graph([(0.0,), (300.0,)], {"temperature_C": "Cel"}, {0: "process"})
        spent = Meter(graph).spent([self.span(graph, 0, 1)])
        assert (spent.gpu_s, spent.energy_J, spent.measured) == (pytest.approx(3.0), None, None)
        assert Meter(graph).spent([self.span(graph, 0, 1, rank=0, attempt=2)]) == Meter(graph).spent([])
        assert Meter(graph).spent([]).gpu_s is None

    def test_an_attempt_that_was_killed_costs_up_to_its_own_last_word(self) -> None:
        frames = FakeFrames()
        first = frames.rank(attempt=1)
        first.open(TRAINING, "killed", key="one")
        first.value("AttributeValue", "last", "words")
        killed = frames.now
        frames.now += 86_400 * SECOND
        second = frames.rank(attempt=2)
        handle = second.open(TRAINING, "done", key="two")
        second.close(handle)
        second.end()
        found = {row.name: row for row in costs(frames.view().graph)}
        began = frames.view().one(TRAINING, label="killed")["start_ns"]
        assert found["killed"].wall_s == pytest.approx((killed - began) / SECOND)
        assert found["killed"].rank_s == found["killed"].wall_s
        # The day between the two is nobody's.
        assert found["facies-unet"].wall_s < 60

    def test_each_activity_has_its_cost_and_shared_ones_add_up_over_ranks(self) -> None:
        frames, ranks, sampler = sampled(2)
        for at in range(2):
            counters(sampler, at + 1, {"energy_J": "J"}, device=gpu(sampler, at, by={at: "process"}))

        def turn(number: int) -> None:
            for at in range(2):
                sampler.sample(at + 1, number, 100.0 * (at + 1) * frames.second)

        turn(0)
        handles = [rank.open(TRAINING, "t") for rank in ranks]
        own = ranks[1].open("DataTransformationExecution", "mine", handles[1], own=True)
        frames.now += 20 * SECOND
        turn(1)
        ranks[1].close(own)
        for rank, handle in zip(ranks, handles, strict=True):
            rank.close(handle)
        turn(2)
        for rank in ranks:
            rank.end()
        found: dict[str, Any] = {row.kind: row for row in costs(frames.view().graph)}
        training, mine = found[TRAINING], found["DataTransformationExecution"]
        lengths = [part.end_ns - part.start_ns for part in _parts(frames.view(), "t")]
        assert training.rank_s == pytest.approx(sum(lengths) / SECOND)
        assert training.gpu_s == pytest.approx(training.rank_s)
        assert len(training.devices) == 2
        assert mine.devices == ["node0 gpu-1"]
        assert mine.energy_J == pytest.approx(200.0 * mine.wall_s, rel=0.1)
        run = found["LearningExperimentExecution"]
        assert run.energy_J > training.energy_J > mine.energy_J > 0


def _parts(view: View, label: str) -> list[Any]:
    whole = view.one(TRAINING, label=label)
    return [_Row(row) for row in view.to(whole, "isPartOf") if view.class_of[row["id"]] == "RankExecution"]


class _Row:
    def __init__(self, row: dict[str, Any]) -> None:
        self.start_ns, self.end_ns = row["start_ns"], row["end_ns"]
