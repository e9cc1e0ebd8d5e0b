"""Activities and sections: what is inside of what, how it ends, and whose it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import provml_hpc as provml
from tests.unit.capture.jobs import File, capture


def _tree(file: File) -> dict[str, str]:
    """Return for each activity, by its label, what it is part of."""
    kinds = ("DataTransformationExecution", "FeatureExtractionExecution", "LearningStageExecution")
    found = [row for cls in (*kinds, "LearningStageSectionExecution") for row in file.all(cls)]
    return {row["label"]: file.whole(row)["label"] for row in found}


def _outcomes(file: File) -> dict[str, str]:
    return {row["label"]: row["outcome"] for row in file.by_id.values() if row.get("outcome")}


def test_activities_open_further_ones(tmp_path: Path) -> None:
    with capture(tmp_path) as job, job.run as run:
        with run.training("t") as training:
            for fold in training.sections("fold", 2):
                with fold.training(f"inner {fold.index}") as inner:
                    for _ in inner.sections("epoch", 1, start=fold.index):
                        with inner.validation(f"v {fold.index}") as validation, validation.activity(f"a {fold.index}"):
                            pass
        with run.activity("work") as work, work.activity("part of the work"):
            pass
        with run.feature_extraction("features"), run.evaluation("beside"):
            pass
    assert _tree(job.file) == {
        "t": "job",
        "fold 0": "t",
        "fold 1": "t",
        "inner 0": "fold 0",
        "inner 1": "fold 1",
        "epoch 0": "inner 0",
        "epoch 1": "inner 1",
        "v 0": "epoch 0",
        "v 1": "epoch 1",
        "a 0": "v 0",
        "a 1": "v 1",
        "work": "job",
        "part of the work": "work",
        "features": "job",
        "beside": "job",
    }
    assert set(_outcomes(job.file).values()) == {"completed"}


def test_calls_go_to_the_innermost_open_section(tmp_path: Path) -> None:
    with capture(tmp_path) as job:
        training = job.run.training()
        training.log(0, loss=0.0)
        for fold in training.sections("fold", 1):
            training.log(1, loss=0.0)
            for epoch in training.sections("epoch", 1):  # within the fold, though it is not called on it
                for who in (training, fold, epoch):
                    who.log(2, loss=0.0)
                    who.evaluate(acc=0.5)
                    who.log_params({f"p{who.name}": 1})
                    who.use_dataset(np.ones(3), label=f"d{who.name}")
                training.log_model(np.ones(3), label="m")
                record = training.series("loss")
                record(2, 0.0)
            record(1, 0.0)
            training.evaluate(f1=0.5)
        record(0, 0.0)
        # The sections are over, and what is logged on one is still its own.
        epoch.log(3, loss=0.0)
    file = job.file
    assert _tree(file) == {"training": "job", "fold 0": "training", "epoch 0": "fold 0"}
    table = file.tables["training", ("loss",)]
    names = [file.by_id[s]["label"] if s in file.by_id else "" for s in table["section"].tolist()]
    expected = ["", "fold 0", *["epoch 0"] * 4, "fold 0", "", "epoch 0"]
    assert names == expected
    epoch_row, fold_row = (file.one("LearningStageSectionExecution", label=name) for name in ("epoch 0", "fold 0"))
    made = {row["label"] for row in file.subjects("wasGeneratedBy", epoch_row)}
    assert made == {"acc", "m"}
    assert len([row for row in file.all("ModelEvaluation") if row["label"] == "acc"]) == 3
    assert {row["label"] for row in file.subjects("wasGeneratedBy", fold_row)} == {"f1"}
    used = {row["label"] for row in file.objects("used", epoch_row)}
    assert {"dtraining", "dfold 0", "depoch 0", "ptraining", "pfold 0", "pepoch 0"} <= used


def test_sections_of_one_kind_are_not_inside_each_other(tmp_path: Path) -> None:
    with capture(tmp_path) as job, job.run.training() as training:
        first = training.section("epoch", 0)
        second = training.section("epoch", 1)
        second.log(1, loss=1.0)
        with first.section("batch", 0):
            training.log(1, loss=1.0)  # the latest that is open
        first.log(0, loss=0.0)
    assert _tree(job.file) == {"training": "job", "epoch 0": "training", "epoch 1": "training", "batch 0": "epoch 0"}


def _leave_by_break(training: provml.Activity) -> None:
    for epoch in training.sections("epoch", 5):
        for batch in epoch.sections("batch", 5):
            if batch.index == 1:
                break
        if epoch.index == 1:
            break


def _leave_by_return(training: provml.Activity) -> None:
    for epoch in training.sections("epoch", 5):
        for batch in epoch.sections("batch", 5):
            if (epoch.index, batch.index) == (1, 1):
                return


def _leave_by_continue(training: provml.Activity) -> None:
    for epoch in training.sections("epoch", 2):
        for batch in epoch.sections("batch", 2):
            if batch.index == 0:
                continue


def _forget(training: provml.Activity) -> None:
    training.section("epoch", 0).section("batch", 0)
    iterator = training.sections("epoch", 3, start=1)
    next(iterator).section("batch", 1)


@pytest.mark.parametrize("leave", [_leave_by_break, _leave_by_return, _leave_by_continue, _forget])
def test_a_section_left_early_ends_as_what_encloses_it(tmp_path: Path, leave: Callable[[Any], None]) -> None:
    with capture(tmp_path) as job, job.run.training() as training:
        leave(training)
    assert set(_outcomes(job.file).values()) == {"completed"}
    assert all(row["end_ns"] >= row["start_ns"] for row in job.file.all("LearningStageSectionExecution"))


def test_an_exception_fails_what_it_passes_through(tmp_path: Path) -> None:
    with capture(tmp_path) as job:
        with job.run.training("caught") as training:
            for _ in training.sections("epoch", 3):
                try:
                    with training.validation("failing") as validation:
                        validation.evaluate(acc=0.5)
                        raise KeyError("no such batch")
                except KeyError:
                    continue
        with pytest.raises(ValueError, match="diverged"), job.run.training("failed") as training:
            for epoch in training.sections("step", 3):
                with epoch.section("batch", 0):
                    raise ValueError("diverged")
    outcomes = _outcomes(job.file)
    assert (outcomes["failing"], outcomes["epoch 0"], outcomes["caught"]) == ("failed", "completed", "completed")
    assert (outcomes["failed"], outcomes["step 0"], outcomes["batch 0"]) == ("failed", "failed", "failed")
    assert outcomes["job"] == "completed"
    assert job.file.run.status == "finished"


def test_what_is_still_open_ends_with_the_run(tmp_path: Path) -> None:
    with capture(tmp_path) as job:
        training = job.run.training()
        training.section("epoch", 0).log(0, loss=1.0)
        job.run.activity("work").generate_dataset(tmp_path / "made")
        (tmp_path / "made").write_text("made")
    assert set(_outcomes(job.file).values()) == {"completed"}
    assert job.file.one("LearningDataset")["digest_state"] == "whole"


def test_sections_over_other_things_than_numbers(tmp_path: Path) -> None:
    def batches() -> Iterator[np.ndarray[Any, Any]]:
        for _ in range(2):
            yield np.zeros((32, 100))

    with capture(tmp_path) as job, job.run.training() as training:
        for section in training.sections("rate", [0.1, 0.01], start=5):
            section.log(section.index, rate=section.item)
        for section in training.sections("config", [{"depth": 3, "act": "relu"}, ("a", 1)]):
            assert section.item in ({"depth": 3, "act": "relu"}, ("a", 1))
        for section in training.sections("batch", batches()):
            assert section.item.shape == (32, 100)
        for section in training.sections("loader", [[np.zeros((8, 3)), {"labels": np.zeros(8)}], "x" * 10_000]):
            assert len(section.item) in (2, 10_000)
        for section in training.sections("count", np.int64(2)):
            assert section.item == section.index
        with training.section("fold", 3, item="left out: site B"):
            pass
    file = job.file
    found: dict[str, list[Any]] = {}
    for row in file.all("LearningStageSectionExecution"):
        found.setdefault(row["section_kind"], []).append((row["section_index"], row["item_type"], row["item"]))
    assert found == {
        "rate": [(5, "real", "0.1"), (6, "real", "0.01")],
        "config": [(0, "json", '{"act":"relu","depth":3}'), (1, "json", '["a",1]')],
        # Data is told, not dumped into the record.
        "batch": [(0, "text", "ndarray[32, 100]"), (1, "text", "ndarray[32, 100]")],
        "loader": [(0, "json", found["loader"][0][2]), (1, "text", "x" * 10_000)],
        "count": [(0, "absent", ""), (1, "absent", "")],
        "fold": [(3, "text", "left out: site B")],
    }


def test_the_same_opened_again_is_another(tmp_path: Path) -> None:
    with capture(tmp_path) as job:
        for _ in range(2):
            with job.run.training("again", params={"lr": 1}) as training:
                for _ in range(2):
                    for _ in training.sections("epoch", 2):
                        pass
            with job.run.validation(key="k"), job.run.evaluation("by list", key=["a", {"b": 1}]):
                pass
    file = job.file
    assert len(file.all("TrainingExecution")) == 2
    assert len(file.all("LearningStageSectionExecution")) == 2 * 2 * 2
    assert len(file.all("Training")) == 1
    # A key says that it is the same one.
    assert len(file.all("ValidationExecution")) == 1
    assert len(file.all("EvaluationExecution")) == 1


def test_times_are_those_of_the_calls(tmp_path: Path) -> None:
    began = time.time_ns()
    with capture(tmp_path) as job, job.run.training() as training:
        with training.section("epoch", 0) as epoch:
            epoch.log(0, loss=1.0)
            time.sleep(0.02)
        middle = time.time_ns()
    file = job.file
    training_row, epoch_row = file.one("TrainingExecution"), file.one("LearningStageSectionExecution")
    order = [began, training_row["start_ns"], epoch_row["start_ns"]]
    order += [int(file.tables["training", ("loss",)]["time_ns"][0]), epoch_row["end_ns"], middle, time.time_ns()]
    assert order == sorted(order)
    assert epoch_row["end_ns"] - epoch_row["start_ns"] >= 20_000_000
    assert training_row["end_ns"] >= epoch_row["end_ns"]


def test_a_representation_for_people(tmp_path: Path) -> None:
    with capture(tmp_path) as job:
        training = job.run.training("name")
        assert repr(training) == "<TrainingExecution 'name', open, rank 0>"
        assert repr(training.use_dataset(np.zeros(2), label="d")) == "<used entity 'd'>"
    assert repr(training) == "<TrainingExecution 'name', closed, rank 0>"


def test_plans_that_contain_each_other_do_not_go_in_a_circle(tmp_path: Path) -> None:
    """Nested cross-validation: a training within a fold of a training of the same name."""
    with capture(tmp_path) as job, job.run.training() as outer:
        for fold in outer.sections("fold", 2):
            with fold.training() as inner:
                for _ in inner.sections("fold", 2):
                    pass
    file = job.file
    plans = [
        (row["subject"]["label"], row["object"]["label"])
        for row in file.relations("isPartOf")
        if row["subject"]["cls"] in ("Training", "LearningStageSection")
    ]
    assert sorted(plans) == [("fold", "training"), ("training", "job")]
    assert len(file.all("TrainingExecution")) == 3


def test_a_section_may_be_named_by_anything(tmp_path: Path) -> None:
    with capture(tmp_path) as job, job.run.training() as training:
        for place in ("north", "south", "north"):
            with training.section("region", place) as region:
                region.log(1, loss=1.0)
    rows = [(r["section_index"], r["item"]) for r in job.file.all("LearningStageSectionExecution")]
    assert sorted(set(rows)) == [(0, "north"), (1, "south")]
    assert sum(table.count for table, _ in job.file.tables_in_order) == 3


def test_models_are_revisions_in_a_training_only(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        (tmp_path / name).write_text(name)
    with capture(tmp_path) as job:
        job.run.log_model(tmp_path / "a.npz")
        job.run.log_model(tmp_path / "b.npz")
    assert "wasDerivedFrom" not in job.file.graph.relations
