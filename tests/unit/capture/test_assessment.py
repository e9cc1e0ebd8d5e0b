"""How results are judged, whose work data is, and what is known of a measure or directory as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from provml_hpc.content import digest_directory
from tests.unit.capture.jobs import File, capture


def _parts(file: File, specification: dict[str, object]) -> set[tuple[str, str]]:
    return {(row["cls"], row["label"]) for row in file.objects("hasPart", specification)}


def test_measures_and_procedure_are_one_specification_that_the_task_is_defined_on(tmp_path: Path) -> None:
    data = tmp_path / "tiles.csv"
    data.write_text("1")
    with capture(tmp_path) as job:
        judged = {"measures": ["f1", "accuracy"], "procedure": "5-fold cross-validation"}
        with job.run.training("a", task="classification", use=data, **judged) as training:
            training.use_model(_write(tmp_path / "start.npz", "w"))
        with job.run.validation("b", measures=("accuracy", "f1"), procedure="5-fold cross-validation"):
            pass
        with job.run.evaluation("c", task="classification", measures="accuracy"):
            pass
        with job.run.evaluation("d", procedure="hold-out"):
            pass
    file = job.file
    accuracy, f1 = ("EvaluationMeasure", "accuracy"), ("EvaluationMeasure", "f1")
    folds, apart = (("EvaluationProcedure", name) for name in ("5-fold cross-validation", "hold-out"))
    parts = {row["label"]: _parts(file, row) for row in file.all("EvaluationSpecification")}
    assert parts == {
        "accuracy, f1 by 5-fold cross-validation": {accuracy, f1, folds},
        "accuracy": {accuracy},
        "hold-out": {apart},
    }
    both, alone = "accuracy, f1 by 5-fold cross-validation", "accuracy"
    assert file.pairs("assessedBy") == {("a", both), ("b", both), ("c", alone), ("d", "hold-out")}
    # The model that the training began with is no data.
    assert file.pairs("definedOn") == {("classification", one) for one in (both, alone, str(data))}


def test_names_that_look_alike_put_together_are_two_specifications(tmp_path: Path) -> None:
    with capture(tmp_path) as job:
        for measures in (["a, b"], ["a", "b"]):
            with job.run.training(measures=measures):
                pass
    specifications = job.file.all("EvaluationSpecification", label="a, b")
    assert [len(_parts(job.file, row)) for row in specifications] == [1, 2]


@pytest.mark.parametrize("measures", [None, (), "", [""]])
def test_no_measures_are_no_specification(tmp_path: Path, measures: object) -> None:
    with capture(tmp_path) as job, job.run.training(measures=measures):
        pass
    assert job.file.all("EvaluationSpecification") == []


def test_the_algorithm_of_a_feature_extraction_is_a_fact_about_it(tmp_path: Path) -> None:
    with capture(tmp_path) as job, job.run.feature_extraction("pca", algorithm="PCA", task="reduction"):
        pass
    extraction = job.file.one("FeatureExtractionExecution")
    assert job.file.parameters(extraction) == {"algorithm": ("text", "PCA"), "task": ("text", "reduction")}
    assert job.file.all("Algorithm") == []


def test_data_and_models_are_attributed_to_those_whose_work_they_are(tmp_path: Path) -> None:
    with capture(tmp_path, persona="Ada") as job, job.run.training() as training:
        training.use_dataset(
            _write(tmp_path / "raw", "r"), persona={"name": "Zoe", "identifier": "0000-0002-1825-0097"}
        )
        training.use_model(_write(tmp_path / "old", "o"), persona="Yan")
        training.generate_dataset(_write(tmp_path / "made", "d"), persona="Ben")
        training.generate_features(_write(tmp_path / "features", "f"), persona="Ben")
        training.log_model(_write(tmp_path / "model", "m"), persona="Cleo")
    by = {(Path(name).name, person) for name, person in job.file.pairs("wasAttributedTo")}
    assert by == {("raw", "Zoe"), ("old", "Yan"), ("made", "Ben"), ("features", "Ben"), ("model", "Cleo")}
    assert job.file.one("Persona", label="Zoe")["identifier"] == "0000-0002-1825-0097"
    # They did not take part in the training.
    assert {
        row["object"]["label"] for row in job.file.relations("wasAssociatedWith") if row["object"]["cls"] == "Persona"
    } == {"Ada"}


def test_a_measure_logged_beside_others_now_and_then_is_one_series(tmp_path: Path) -> None:
    with capture(tmp_path) as job, job.run.training() as training:
        for step in range(10):
            training.log(step, loss=float(step))
        training.log(10, loss=-1.0, accuracy=0.5)
    series = job.file.one("MetricSeries", label="loss")
    assert (series["count"], series["minimum"], series["maximum"], series["last"]) == (11, -1.0, 9.0, -1.0)
    assert (series["path"], series["row_count"]) == ("/samples/training", 10)
    assert series["elsewhere"] == '[{"path": "/samples/training-2", "column": "loss", "rows": 1}]'
    assert job.file.one("MetricSeries", label="accuracy")["elsewhere"] == ""


@pytest.mark.parametrize("given", [None, "sha256:" + 64 * "a"], ids=["read", "given"])
def test_a_directory_of_shards_has_the_bytes_that_its_next_reader_finds(tmp_path: Path, given: str | None) -> None:
    shards = tmp_path / "tiles"
    (shards / "b").mkdir(parents=True)
    with capture(tmp_path, phase="preparation") as job, job.run.activity("split") as step:
        for name in ("b/1.csv", "0.csv", "empty"):
            path = _write(shards / name, "" if name == "empty" else name)
            step.generate_dataset(path, member_of=shards, digest=given if name == "0.csv" else None)
        step.generate_dataset(_write(shards / "0.csv", "written anew"), member_of=shards)
    tiles = job.file.one("LearningDataset", label=str(shards))
    assert job.file.content(tiles) == [digest_directory(shards).digest.hexdigest]
    assert (tiles["digest_state"], tiles["size"]) == ("whole", 19)


def test_a_directory_of_which_a_shard_is_unknown_has_no_bytes(tmp_path: Path) -> None:
    shards = tmp_path / "tiles"
    shards.mkdir()
    with capture(tmp_path, phase="preparation") as job, job.run.activity("split") as step:
        step.generate_dataset(_write(shards / "0.csv", "0"), member_of=shards)
        step.generate_dataset(_write(shards / "1.csv", "1"), member_of=shards, digest=False)
    assert job.file.content(job.file.one("LearningDataset", label=str(shards))) == []


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
