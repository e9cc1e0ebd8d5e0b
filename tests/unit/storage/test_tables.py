"""The closed file: what is written is read back, other programs can read it too, and damage is said clearly."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provml_hpc.assembly.graph import ABSENT, VALUE_TYPES, SampleTable, column_names
from provml_hpc.errors import FileMissingError, FormatError, StorageError
from provml_hpc.storage.log_format import COMMIT, COMMIT_ROW
from provml_hpc.storage.tables import RECORDS, RELATIONS, TablesFile, read_attributes, write_file
from provml_hpc.vocabulary import CLASS, fields
from tests.unit.storage import graphs

COMMITS = np.array([(1, 50, 100, 1, 0, 0), (2, 60, 250, 2, 0, 0)], COMMIT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.h5"


def check(path: Path, expected: graphs.Graph, contents: list[graphs.Columns]) -> None:
    with TablesFile(path) as file:
        found = file.graph()
        assert found.run == expected.run.__class__(**{**expected.run.__dict__, "file": path.name})
        for mine, theirs in ((expected.nodes, found.nodes), (expected.relations, found.relations)):
            assert set(mine) == set(theirs)
            for name, table in mine.items():
                if name != "MetricSeries":
                    graphs.equal(table, theirs[name])
        assert [t.name for t in found.samples] == [t.name for t in expected.samples]
        for table, mine, columns in zip(found.samples, expected.samples, contents, strict=True):
            assert (table.activity, table.measures, table.count) == (mine.activity, mine.measures, mine.count)
            back = table.read(0, table.count)
            assert set(back) == set(columns)
            for name, values in columns.items():
                np.testing.assert_array_equal(back[name], values)


def test_a_run_comes_back_as_it_was(path: Path) -> None:
    one, first = graphs.samples("training", 1, ("loss", "val/loss"), 1000)
    two, second = graphs.samples("training", 1, ("accuracy",), 70_000, seed=1)
    graph = graphs.graph(one, two, dropped=[{"name": "samples", "count": 3}], cost={"flush": {"0": 0.25}})
    write_file(path, graph, COMMITS)
    check(path, graph, [first, second])
    with TablesFile(path) as file:
        tables = file.graph().samples
        assert [t.path for t in tables] == ["/samples/training", "/samples/training-2"]
        assert tables[0].column_of == {"loss": "loss", "val/loss": "val_loss"}
        np.testing.assert_array_equal(tables[1].read(65_530, 65_540)["accuracy"], second["accuracy"][65_530:65_540])
        assert tables[1].read(69_999, 10**9)["rank"].shape == (1,)
        assert tables[1].read(70_000, 70_000)["rank"].shape == (0,)
        expected = np.array([(1, 50, ABSENT, 100), (2, 60, ABSENT, 150)], COMMIT_ROW)
        np.testing.assert_array_equal(file.commits(), expected)
        assert file.names(RECORDS)[:3] == [
            "LearningExperimentExecution",
            "TrainingExecution",
            "LearningStageSectionExecution",
        ]


def test_a_series_points_at_its_samples_wherever_the_file_is(path: Path) -> None:
    one, _ = graphs.samples("training", 1, ("loss", "step"), 5)
    two, _ = graphs.samples("training", 1, ("loss",), 7)
    write_file(path, graphs.graph(one, two), COMMITS)
    moved = path.with_name("moved.h5")
    path.rename(moved)
    with TablesFile(moved) as file, h5py.File(moved) as raw:
        series = file.table(RECORDS, "MetricSeries")
        assert series.columns["label"] == ["loss", "step"]
        assert series.columns["file"] == ["moved.h5"] * 2
        assert series.columns["column"] == ["loss", "step-2"]
        # One series a measure: it points at the table that has most of it, and names the other.
        assert series.columns["path"] == ["/samples/training-2", "/samples/training"]
        other = {"path": "/samples/training", "column": "loss", "rows": 5}
        assert [json.loads(text or "[]") for text in series.columns["elsewhere"]] == [[other], []]
        for path_, column, rows in zip(series.columns["path"], series.columns["column"], (7, 5), strict=True):
            assert raw[path_][column].shape == (rows,)


TEXT = st.text(max_size=20).filter(lambda s: "\0" not in s)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXT,
    "type": st.sampled_from(VALUE_TYPES),
    "integer": INTEGERS,
    "real": st.floats(),
    "boolean": st.booleans(),
}
CLOSED = {
    "outcome": st.sampled_from(("", "completed", "failed", "open")),
    "digest_state": st.sampled_from(("", "whole")),
}


@st.composite
def records(draw: st.DrawFn) -> graphs.Table:
    cls = draw(
        st.sampled_from(["TrainingExecution", "Model", "LearningHyperparameterValue", "MetricSeries", "Content"])
    )
    row = {n: CLOSED.get(n, KINDS[k]) if draw(st.booleans()) else KINDS[k] for n, k in column_names(fields(cls))}
    return graphs.table(
        cls, draw(st.integers(0, 9)), draw(st.lists(st.fixed_dictionaries(row), min_size=1, max_size=6))
    )


@settings(max_examples=60)
@given(table=records())
def test_any_table_comes_back_as_it_was(table: graphs.Table, tmp_path_factory: pytest.TempPathFactory) -> None:
    graph = graphs.graph()
    graph.nodes = {table.name: table}
    path = tmp_path_factory.mktemp("tables") / "a.h5"
    write_file(path, graph, COMMITS[:0])
    with TablesFile(path) as file:
        back = file.table(RECORDS, table.name)
        if table.name == "MetricSeries":
            for name in ("file", "path", "column"):
                table.columns[name] = [""] * len(table)
        graphs.equal(table, back)


NAME = st.one_of(
    st.text(max_size=150),
    st.sampled_from(
        ["step", "rank", "", ".", "..", "/", "a/b", "a\0b", "\ud800", "step-2", "time_ns", "x" * 300, "é\n"]
    ),
)


@settings(max_examples=60)
@given(labels=st.lists(NAME, max_size=4), measures=st.lists(NAME, min_size=1, max_size=5, unique=True))
def test_no_name_of_an_activity_or_measure_breaks_the_file(
    labels: list[str], measures: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    keys = [graphs.key_of(m) for m in measures]
    measures = [m for m, key in zip(measures, keys, strict=True) if keys.count(key) == 1]
    made = [graphs.samples(label, 1, tuple(measures), 3, seed) for seed, label in enumerate(labels)]
    path = tmp_path_factory.mktemp("names") / "a.h5"
    write_file(path, graphs.graph(*(table for table, _ in made)), COMMITS)
    with TablesFile(path) as file:
        found = file.graph().samples
        assert len(found) == len(labels)
        for table, (_, columns) in zip(found, made, strict=True):
            assert len(table.measures) == len(measures)
            back = table.read(0, 3)
            for mine, theirs in zip(measures, table.measures, strict=True):
                np.testing.assert_array_equal(back[graphs.key_of(theirs)], columns[graphs.key_of(mine)])


def test_h5dump_shows_text_as_text(path: Path) -> None:
    if shutil.which("h5dump") is None:
        pytest.skip("h5dump is not installed")
    table, _ = graphs.samples("training", 1, ("loss",), 3)
    write_file(path, graphs.graph(table), COMMITS)

    def dump(name: str) -> str:
        return subprocess.run(["h5dump", "-d", name, str(path)], capture_output=True, text=True, check=True).stdout

    assert '(0): "lr", "deep"' in dump("/records/LearningHyperparameterValue/label")
    assert "(0): real, boolean" in dump("/records/LearningHyperparameterValue/value_type")
    assert "(0): completed, absent" in dump("/records/LearningStageSectionExecution/outcome")
    assert "nanoseconds since 1970" in dump("/records/TrainingExecution/start_ns")
    assert 'ATTRIBUTE "measure"' in dump("/samples/training/loss")


def test_pandas_takes_a_table_with_nothing_but_h5py(path: Path) -> None:
    write_file(path, graphs.graph(), COMMITS)
    with h5py.File(path) as file:
        group = file["records/LearningHyperparameterValue"]
        columns = {
            name: group[name].asstr()[:] if h5py.check_string_dtype(group[name].dtype) else group[name][:]
            for name in group.attrs["columns"].astype(str)
        }
        frame = pd.DataFrame(columns)
        names = group["value_type"].attrs["categories"].astype(str)
        frame["value_type"] = pd.Categorical.from_codes(frame["value_type"], names)
    assert frame[["label", "value", "value_type"]].values.tolist() == [
        ["lr", "0.001", "real"],
        ["deep", "true", "boolean"],
    ]


def test_samples_are_small(path: Path) -> None:
    rows = 65_536
    chance = np.random.default_rng(0)
    step = np.arange(rows)
    columns = {
        "rank": np.zeros(rows, np.int64), "attempt": np.ones(rows, np.int64), "section": step // 1000, "step": step,
        "time_ns": 1_700_000_000_000_000_000 + np.cumsum(chance.normal(1.3e6, 2e5, rows).astype(np.int64)),
        "loss": np.exp(-step / rows) + chance.normal(0, 0.05, rows),
        "accuracy": 1 - np.exp(-step / rows) + chance.normal(0, 0.02, rows),
        "norm": chance.lognormal(0, 0.3, rows),
    }  # fmt: skip
    table = SampleTable("training", 1, ("loss", "accuracy", "norm"), rows, graphs.reader(columns))
    write_file(path, graphs.graph(table), COMMITS)
    with h5py.File(path) as file:
        stored = sum(file["samples/training"][name].id.get_storage_size() for name in file["samples/training"])
    assert stored / rows <= 24


def test_what_a_newer_minor_version_adds_is_passed_over(path: Path) -> None:
    table, columns = graphs.samples("training", 1, ("loss",), 3)
    graph = graphs.graph(table)
    write_file(path, graph, COMMITS)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = "1.7"
        file.attrs["mood"] = "good"
        file["news"] = 1
        group = file["records/TrainingExecution"]
        group["colour"] = ["red"]
        group["shape"] = np.zeros((1, 2))
        group["wave"] = np.zeros(1, np.complex128)
        file.copy("records/TrainingExecution", "records/DreamExecution")
        file["samples/training/extra"] = np.zeros(3)
    with TablesFile(path) as file_:
        found = file_.graph()
        assert "DreamExecution" not in found.nodes
        assert "DreamExecution" in file_.names(RECORDS)
        training = found.nodes["TrainingExecution"]
        assert training.columns["colour"] == ["red"]
        assert set(training.columns) == {*graph.nodes["TrainingExecution"].columns, "colour"}
        assert set(found.samples[0].read(0, 3)) == set(columns)


def test_what_an_older_minor_version_lacks_is_absent(path: Path) -> None:
    write_file(path, graphs.graph(), COMMITS)
    with h5py.File(path, "r+") as file:
        for name in ("records/LearningStageSectionExecution", "records/LearningHyperparameterValue"):
            group = file[name]
            for column in ("section_index", "item", "item_type", "value_type", "label"):
                if column in group:
                    del group[column]
    with TablesFile(path) as file_:
        section = file_.table(RECORDS, "LearningStageSectionExecution").columns
        assert np.asarray(section["section_index"]).tolist() == [ABSENT, ABSENT]
        assert (section["item"], section["item_type"], section["label"]) == (["", ""], ["absent", "absent"], ["", ""])


def test_a_newer_major_version_is_refused(path: Path) -> None:
    write_file(path, graphs.graph(), COMMITS)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = "2.0"
    with pytest.raises(FormatError, match=r"has format 2\.0"):
        TablesFile(path)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="check the name"):
        TablesFile(tmp_path / "none.h5")
    with pytest.raises(FormatError, match="folder"):
        TablesFile(tmp_path)
    for content, message in ((b"", "empty"), (b"hello world", "not an HDF5 file"), (b"\x89HDF\r\n\x1a\nxx", "cut off")):
        (tmp_path / "x.h5").write_bytes(content)
        with pytest.raises(FormatError, match=message):
            TablesFile(tmp_path / "x.h5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(FormatError, match="not one of provml-hpc"):
        TablesFile(tmp_path / "foreign.h5")


def read_all(path: Path) -> None:
    with TablesFile(path) as file:
        graph = file.graph()
        graph.nodes.values()
        graph.relations.values()
        for table in graph.samples:
            table.read(0, table.count)
        file.commits()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: f["records/TrainingExecution"].attrs.__setitem__("row_count", 10**15),
        lambda f: f["records/TrainingExecution"].attrs.__setitem__("row_count", -1),
        lambda f: f["records/TrainingExecution"].attrs.__delitem__("row_count"),
        lambda f: f["records/TrainingExecution"].attrs.__setitem__("row_count", 2),
        lambda f: f.attrs.__setitem__("details", "{"),
        lambda f: f["samples/training"].attrs.__setitem__("row_count", 7),
        lambda f: f["samples/training/loss"].attrs.__delitem__("measure") or f["samples/training"].pop("loss"),
        lambda f: f.pop("commits"),
        lambda f: f["records/TrainingExecution"].pop("uuid"),
        lambda f: f["relations/used"].pop("object"),
    ],
)
def test_damage_is_a_format_error(path: Path, spoil: Any) -> None:
    table, _ = graphs.samples("training", 1, ("loss",), 3)
    write_file(path, graphs.graph(table), COMMITS)
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(FormatError, match="damaged"):
        read_all(path)


def test_a_cut_off_file_is_a_format_error(path: Path) -> None:
    table, _ = graphs.samples("training", 1, ("loss",), 3000)
    write_file(path, graphs.graph(table), COMMITS)
    data = path.read_bytes()
    for cut in range(0, len(data) - 1, len(data) // 25):
        path.write_bytes(data[:cut])
        with pytest.raises(FormatError):
            read_all(path)


def test_nothing_is_left_of_a_file_that_was_given_up(path: Path) -> None:
    table, _ = graphs.samples("training", 1, ("loss",), 200_000)
    calls = iter(range(100))

    def time_is_up() -> None:
        if next(calls) > 12:
            raise TimeoutError("time is up")

    with pytest.raises(StorageError):
        write_file(path, graphs.graph(table), COMMITS, check=time_is_up)
    assert not path.exists()
    path.write_text("mine")
    with pytest.raises(StorageError):
        write_file(path, graphs.graph(table), COMMITS)
    assert path.read_text() == "mine"


def test_a_limit_on_the_file_leaves_nothing_and_kills_nobody(path: Path) -> None:
    code = """
import resource, sys, pathlib
from provml_hpc.errors import StorageError
from provml_hpc.storage.tables import write_file
from tests.unit.storage import graphs, test_tables
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
table, _ = graphs.samples("training", 1, ("loss", "x"), 200_000)
try:
    write_file(pathlib.Path(sys.argv[1]), graphs.graph(table), test_tables.COMMITS)
except StorageError as error:
    print(error)
"""
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    assert "File too large" in done.stdout
    assert not path.exists()


def test_attributes_tell_of_the_run(path: Path) -> None:
    write_file(path, graphs.graph(dropped=[{"name": "loss", "count": 2}]), COMMITS)
    told = read_attributes(path)
    assert (told["run"], told["status"], told["committed_ns"]) == (graphs.RUN, "finished", 91)
    assert told["details"] == {"dropped": [{"name": "loss", "count": 2}]}
    with h5py.File(path) as file:
        assert json.loads(file.attrs["details"]) == {"dropped": [{"name": "loss", "count": 2}]}
    with TablesFile(path) as file_, pytest.raises(KeyError):
        _ = file_.graph().nodes["Study"]
    assert set(CLASS) > set(TablesFile(path).names(RECORDS))
    assert TablesFile(path).names(RELATIONS) == ["used", "wasGeneratedBy", "specializationOf", "isPartOf"]
