"""Graphs for the tests of the closed file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from provml_hpc import identity
from provml_hpc.assembly.graph import (
    ABSENT,
    FIXED_COLUMNS,
    Graph,
    RunInfo,
    SampleTable,
    Table,
    column_names,
    key_of,
)
from provml_hpc.vocabulary import RELATION, fields

RUN = "5d8f3d5e-6a0b-5c86-9d65-6f5f6a1c6a12"
Columns = dict[str, np.ndarray[Any, np.dtype[Any]]]


def table(cls: str, first: int, rows: list[dict[str, Any]]) -> Table:
    """Make a table of a class from rows that say what they have to say."""
    found = Table(
        cls, {"id": np.arange(first, first + len(rows)), "uuid": [f"uuid-{first + n}" for n in range(len(rows))]}
    )
    return _fill(found, list(column_names(fields(cls))), rows)


def relation(name: str, rows: list[dict[str, Any]]) -> Table:
    """Make a table of a relation."""
    found = Table(name, {end: np.array([row[end] for row in rows], np.int64) for end in ("subject", "object")})
    return _fill(found, list(column_names(RELATION[name].fields)), rows)


def _fill(found: Table, columns: list[tuple[str, str]], rows: list[dict[str, Any]]) -> Table:
    for name, kind in columns:
        if kind in ("text", "type"):
            found.columns[name] = [row.get(name, "absent" if kind == "type" else "") for row in rows]
        elif kind == "integer":
            found.columns[name] = np.array([row.get(name, ABSENT) for row in rows], np.int64)
        elif kind == "real":
            found.columns[name] = np.array([row.get(name, np.nan) for row in rows], np.float64)
        else:
            found.columns[name] = np.array([row.get(name, False) for row in rows], np.bool_)
    return found


def samples(
    name: str, activity: int, measures: tuple[str, ...], count: int, seed: int = 0
) -> tuple[SampleTable, Columns]:
    """Make a sample table and what is in it."""
    chance = np.random.default_rng(seed)
    columns: Columns = {key: chance.integers(0, 5, count) for key in FIXED_COLUMNS}
    columns["rank"].sort()
    columns |= {key_of(measure): chance.normal(size=count) for measure in measures}
    return SampleTable(name, activity, measures, count, reader(columns)), columns


def reader(columns: Columns) -> Callable[[int, int], Columns]:
    return lambda start, stop: {key: values[start:stop] for key, values in columns.items()}


def graph(*tables: SampleTable, **details: Any) -> Graph:
    """Make a run with a training, two epochs and a parameter."""
    nodes = [
        table("LearningExperimentExecution", 0, [
            {"label": "facies", "start_ns": 5, "end_ns": 90, "outcome": "completed", "attempt": 1, "ranks": "0-3",
             "phase": "learning", "run": RUN}]),
        table("TrainingExecution", 1, [{"label": "training", "start_ns": 10, "outcome": "open", "attempt": 1}]),
        table("LearningStageSectionExecution", 2, [
            {"label": "epoch 0", "section_kind": "epoch", "section_index": 0, "outcome": "completed", "start_ns": 11},
            {"label": "epoch 1", "section_kind": "epoch", "section_index": 1, "item": "1.5", "item_type": "real"}]),
        table("LearningDataset", 4, [
            {"label": "tiles.h5", "path": "/data/tiles.h5", "digest_state": "whole", "size": 7}]),
        table("Model", 5, [{"label": "unet.npz", "path": "/data/unet.npz", "step": 3}]),
        table("Content", 6, [{"algorithm": "sha256", "digest": "ab12", "size": 7}]),
        table("LearningHyperparameterValue", 7, [
            {"label": "lr", "value": "0.001", "value_type": "real", "ranks": "0-3"},
            {"label": "deep", "value": "true", "value_type": "boolean"}]),
        table("ModelHyperparameterValue", 9, [{"label": "layers", "value": "3", "value_type": "integer"}]),
    ]  # fmt: skip
    series = [
        (
            identity.series(RUN, f"uuid-{activity}", measure),
            measure,
            sum(one.count for one in tables if measure in one.measures),
        )
        for activity, measure in dict.fromkeys((one.activity, measure) for one in tables for measure in one.measures)
    ]
    if series:
        found = table(
            "MetricSeries", 10, [{"label": name, "count": count, "by_rank": "{}"} for _, name, count in series]
        )
        found.columns["uuid"] = [uuid for uuid, _, _ in series]
        nodes.append(found)
    relations = [
        relation("used", [{"subject": 1, "object": 4, "role": "training", "time_ns": 12, "ranks": "0-3"},
                          {"subject": 1, "object": 7, "time_ns": 12}, {"subject": 0, "object": 8, "time_ns": 12},
                          {"subject": 1, "object": 9, "time_ns": 12}]),
        relation("wasGeneratedBy", [{"subject": 5, "object": 1, "time_ns": 80}]),
        relation("specializationOf", [{"subject": 4, "object": 6}]),
        relation("isPartOf", [{"subject": 1, "object": 0}, {"subject": 2, "object": 1}, {"subject": 3, "object": 1}]),
    ]  # fmt: skip
    run = RunInfo(RUN, "facies", "learning", "f3", "example.org", "finished", 5, 91, "provml-hpc 0.1", details=details)
    return Graph(run, {one.name: one for one in nodes}, {one.name: one for one in relations}, list(tables))


def equal(one: Table, other: Table) -> None:
    """Assert that two tables hold the same."""
    assert one.name == other.name
    assert list(one.columns) == list(other.columns)
    for name, column in one.columns.items():
        if isinstance(column, list):
            assert column == other.columns[name]
        else:
            assert column.dtype == other.columns[name].dtype  # type: ignore[union-attr]
            np.testing.assert_array_equal(column, other.columns[name])
