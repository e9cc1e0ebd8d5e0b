"""The reader: one face for a closed file and for one that is still being written."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import provml_hpc as provml
from provml_hpc.errors import FileMissingError, FormatError, StateError, UsageError
from provml_hpc.records import Source
from provml_hpc.storage import reader
from provml_hpc.storage.log import LogWriter
from provml_hpc.storage.place import hidden_of, partial_of
from provml_hpc.storage.record_table import RecordTable
from provml_hpc.storage.tables import write_file
from provml_hpc.wire import HEADER
from tests.unit.storage import graphs, test_tables


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.h5"


@pytest.fixture
def closed(path: Path) -> Iterator[reader.Reader]:
    """The closed file of a made-up run: two tables of samples, the second of which has a measure of the first."""
    one, first = graphs.samples("training", 1, ("loss", "step"), 100)
    two, second = graphs.samples("training", 1, ("loss",), 50, seed=1)
    first["section"][:] = np.repeat([2, 3], 50)
    second["section"][:] = provml_absent()
    write_file(path, graphs.graph(one, two), test_tables.COMMITS)
    with reader.open(path) as file:
        yield file


def provml_absent() -> int:
    return -(2**63)


def test_activities_tell_what_ran_and_within_what(closed: reader.Reader) -> None:
    rows = closed.activities
    assert [(row.name, row.kind, row.parent) for row in rows] == [
        ("facies", "LearningExperimentExecution", None),
        ("training", "TrainingExecution", 0),
        ("epoch 0", "LearningStageSectionExecution", 1),
        ("epoch 1", "LearningStageSectionExecution", 1),
    ]
    assert (rows[1].start_ns, rows[1].end_ns, rows[1].outcome) == (10, None, "open")
    assert rows[0]["phase"] == "learning"
    assert [row.item for row in rows] == [None, None, None, 1.5]
    assert [row.id for row in rows.where(section_kind="epoch")] == [2, 3]


def test_entities_have_the_digest_of_their_bytes(closed: reader.Reader) -> None:
    tiles, model = closed.entities
    assert (tiles.kind, tiles.label, tiles.path) == ("LearningDataset", "tiles.h5", "/data/tiles.h5")
    assert (tiles.algorithm, tiles.digest, tiles.content) == ("sha256", "ab12", "uuid-6")
    assert (tiles.role, tiles.used_by, tiles.generated_by) == ("training", [1], None)
    assert (model.generated_by, model.digest, model.step, model.size) == (1, None, 3, None)


def test_params_are_what_they_were_given_as(closed: reader.Reader) -> None:
    assert [(row.activity, row.name, row.value, row.kind) for row in closed.params] == [
        (1, "lr", 0.001, "learning"),
        (0, "deep", True, "learning"),
        (1, "layers", 3, "model"),
    ]


def test_a_value_that_does_not_fit_its_type_is_shown_as_text(path: Path) -> None:
    graph = graphs.graph()
    graph.nodes["LearningHyperparameterValue"].columns["value"] = ["nonsense", "maybe"]
    write_file(path, graph, test_tables.COMMITS)
    with reader.open(path) as file:
        assert [row.value for row in file.params.where(kind="learning")] == ["nonsense", "maybe"]


def test_samples_of_one_measure(closed: reader.Reader) -> None:
    found = closed.samples("loss")
    assert {"rank", "attempt", "section", "step", "time_ns", "value"} <= set(found.dtype.names or ())
    assert found.shape == (150,)
    order = list(zip(found["rank"], found["attempt"], found["time_ns"], strict=True))
    assert order == sorted(order)
    assert set(found["activity"]) == {1}
    assert closed.measures == ["loss", "step"]
    assert closed.samples(measure="step").shape == (100,)


def test_a_measure_called_like_a_column_keeps_its_values(closed: reader.Reader) -> None:
    _, columns = graphs.samples("training", 1, ("loss", "step"), 100)
    found = closed.samples("step")
    assert sorted(found["value"]) == sorted(columns["step-2"])
    assert sorted(found["step"]) == sorted(columns["step"])


def test_samples_of_all_measures_are_told_apart(closed: reader.Reader) -> None:
    found = closed.samples()
    assert found.shape == (250,)
    assert {str(name): int((found["measure"] == name).sum()) for name in ("loss", "step")} == {"loss": 150, "step": 100}


def test_samples_of_an_activity_are_those_inside_of_it(closed: reader.Reader) -> None:
    epoch = closed.activities.where(name="epoch 0")[0]
    for one in (epoch, epoch.id, epoch.uuid, "epoch 0"):
        assert closed.samples("loss", activity=one).shape == (50,)
    assert closed.samples("loss", activity="epoch").shape == (100,)
    assert closed.samples("loss", activity="facies").shape == (150,)
    assert set(closed.samples("loss", activity=epoch)["section"]) == {epoch.id}


def test_samples_of_some_ranks(closed: reader.Reader) -> None:
    everything = closed.samples("loss")
    one = closed.samples("loss", rank=2)
    np.testing.assert_array_equal(one, everything[everything["rank"] == 2])
    assert set(closed.samples("loss", rank=[1, 3])["rank"]) == {1, 3}
    assert closed.samples("loss", rank=99).shape == (0,)


def test_unknown_names_are_answered_with_the_known_ones(closed: reader.Reader) -> None:
    with pytest.raises(UsageError, match="choose one of loss, step"):
        closed.samples("los")
    with pytest.raises(UsageError, match="choose one of facies, training"):
        closed.samples("loss", activity="trainin")
    with pytest.raises(UsageError, match="or an id"):
        closed.samples("loss", activity=999)
    with pytest.raises(UsageError, match="no class"):
        closed.nodes("Trainning")
    with pytest.raises(UsageError, match="no relation"):
        closed.relations("useed")
    with pytest.raises(UsageError, match="choose one of id, uuid"):
        closed.activities.where(nmae="x")


def test_every_class_and_relation_can_be_asked_for(closed: reader.Reader) -> None:
    assert closed.nodes("TrainingExecution")[0].label == "training"
    assert closed.nodes("TrainingExecution")[0].end_ns is None
    assert len(closed.nodes("Study")) == 0
    assert closed.relations("isPartOf").column("subject") == [1, 2, 3]
    assert len(closed.relations("hadMember")) == 0


def test_the_run_and_its_commits(closed: reader.Reader) -> None:
    assert (closed.status, closed.run.name, closed.run.uuid, closed.live) == ("finished", "facies", graphs.RUN, False)
    assert closed.commits["number"].tolist() == [1, 2]
    assert closed.commits["bytes"].tolist() == [100, 150]
    assert closed.refresh() == 2
    assert closed.damage == []
    assert "facies" in repr(closed)


def test_rows_look_like_records(closed: reader.Reader) -> None:
    row = closed.params[0]
    assert row["name"] == row.name == "lr"
    assert dict(row)["value"] == 0.001
    assert "name='lr'" in repr(row)
    assert "activity" in dir(row)
    with pytest.raises(AttributeError, match="there are id"):
        _ = row.nmae
    assert [one.name for one in closed.params[-2:]] == ["deep", "layers"]
    assert closed.params[-1].name == "layers"
    with pytest.raises(IndexError):
        _ = closed.params[99]
    text = repr(closed.params)
    assert text.startswith("3 params\nid")
    assert "0.001" in text


def test_a_long_table_prints_short() -> None:
    table = RecordTable("things", {"id": list(range(100)), "label": ["x" * 100] * 100, "empty": [None] * 100})
    text = repr(table)
    assert "... and 88 more" in text
    assert "empty" not in text
    assert max(map(len, text.split("\n"))) < 60
    assert repr(RecordTable("things", {})) == "0 things"


def test_tables_and_samples_become_dataframes(closed: reader.Reader) -> None:
    frame = closed.activities.to_pandas()
    assert frame["name"].tolist() == ["facies", "training", "epoch 0", "epoch 1"]
    assert str(frame["parent"].dtype) == "Int64"
    assert frame["parent"].isna().tolist() == [True, False, False, False]
    samples = closed.samples("loss").to_pandas()
    assert samples.shape == (150, 7)
    assert samples.groupby("rank")["value"].count().sum() == 150


def test_without_pandas_it_is_said_what_to_do(closed: reader.Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install"):
        closed.params.to_pandas()
    with pytest.raises(ImportError, match="pip install"):
        closed.samples("loss").to_pandas()


def begin(path: Path) -> Any:
    """Begin a run of one process and log two epochs, of which the first is flushed."""
    run = provml.init("facies", phase="learning", output=str(path), study="f3")
    run.log_params({"lr": 0.5})
    training = run.training(task="classification")
    training.__enter__()
    for epoch in training.sections("epoch", 2):
        for step in range(20):
            training.log_metrics({"loss": 1.0 / (1 + step), "step": float(step)}, step=20 * epoch.index + step)
        if epoch.index == 0:
            run.flush()
    return run, training


def test_a_live_file_is_read_and_followed_to_its_end(path: Path) -> None:
    run, training = begin(path)
    with reader.open(path) as file:
        assert file.live
        assert file.path == partial_of(path)
        assert (file.status, file.liveness.state) == ("running", "alive")
        assert file.samples("loss")["step"].tolist() == list(range(20))
        assert file.samples("step")["value"].tolist() == [float(n) for n in range(20)]
        assert [row.value for row in file.params] == [0.5]
        run.flush()
        assert file.samples("loss").shape == (20,)
        assert file.refresh() == 2
        assert file.samples("loss").shape == (40,)
        assert set(file.samples(activity="epoch 1", measure="loss")["step"]) == set(range(20, 40))
        training.__exit__(None, None, None)
        run.finish()
        assert file.refresh() >= 2
        assert not file.live
        assert file.path == path
        assert file.status == "finished"
        assert file.samples("loss")["step"].tolist() == list(range(40))
    assert not partial_of(path).exists()


def test_what_a_dead_job_left_is_incomplete(path: Path) -> None:
    run, training = begin(path)
    copy = path.with_name("copy.h5")
    shutil.copy(partial_of(path), partial_of(copy))
    shutil.copytree(hidden_of(path), hidden_of(copy))
    training.__exit__(None, None, None)
    run.finish()
    with reader.open(partial_of(copy)) as file:
        assert file.status == "incomplete"
        assert file.samples("loss").shape == (20,)
        assert file.activities.where(name="training")[0].outcome == "open"


def test_a_log_that_goes_on_after_its_closed_file_comes_first(path: Path) -> None:
    write_file(path, graphs.graph(), test_tables.COMMITS)
    meta = {"run": graphs.RUN, "name": "facies", "phase": "learning"}
    with LogWriter.create(partial_of(path), meta) as log:
        log.commit(91)
    with reader.open(path) as file:
        assert not file.live
    with LogWriter.reopen(partial_of(path)) as log:
        log.commit(92)
    with reader.open(path) as file:
        assert file.live
    partial_of(path).unlink()
    LogWriter.create(partial_of(path), {**meta, "run": "another"}).close()
    with reader.open(path) as file:
        assert not file.live


def test_records_that_are_no_records_are_a_format_error(path: Path) -> None:
    with LogWriter.create(partial_of(path), {"run": graphs.RUN, "name": "x"}) as log:
        log.append(Source(1, 0, 0), HEADER.pack(16, 0, 1, 1), 1, 1)
        log.commit(1)
    with reader.open(path) as file, pytest.raises(FormatError, match="recover"):
        _ = file.activities


def test_an_empty_log_is_an_empty_run(path: Path) -> None:
    LogWriter.create(partial_of(path), {"run": graphs.RUN, "name": "facies", "phase": "learning"}).close()
    with reader.open(path) as file:
        assert (len(file.activities), len(file.entities), len(file.params), len(file.commits)) == (0, 0, 0, 0)
        assert file.samples().shape == (0,)
        assert file.run.name == "facies"
        with pytest.raises(UsageError, match="this run has none"):
            file.samples("loss")


def test_each_wrong_file_has_its_own_error(path: Path, tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="neither"):
        reader.open(path)
    path.write_text("hello")
    with pytest.raises(FormatError, match="not an HDF5 file"):
        reader.open(path)
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(FormatError, match="not one of provml-hpc"):
        reader.open(path)
    table, _ = graphs.samples("training", 1, ("loss",), 3000)
    path.unlink()
    write_file(path, graphs.graph(table), test_tables.COMMITS)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(FormatError, match="cut off"):
        reader.open(path)
    with pytest.raises(FormatError, match="folder"):
        reader.open(tmp_path)


def test_a_closed_reader_says_so(path: Path) -> None:
    write_file(path, graphs.graph(), test_tables.COMMITS)
    file = reader.open(str(path))
    nodes = file.graph.nodes
    file.close()
    file.close()
    with pytest.raises(StateError, match="while it is open"):
        _ = nodes["Model"]
    with pytest.raises(StateError, match="open it again"):
        _ = file.activities
    assert "closed" in repr(file)


def test_a_table_of_nothing_has_an_end() -> None:
    table = RecordTable("Device", {})
    assert list(table) == []
    with pytest.raises(IndexError, match="there are 0 Device"):
        table[0]
