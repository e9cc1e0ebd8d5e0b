"""What is said of an activity: parameters of every sort, samples good and bad, measures, people."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import provml_hpc as provml
from tests.unit.capture.jobs import capture

HOSTILE = [
    'it\'s "quoted" `twice`',
    "two\nlines\r\nand\ttabs",
    '<http://example.org/a> <b> "c" . } GRAPH <x> {',
    "back\\slash \\u0041 \\n \\\\",
    "ünïcödé 漢字 🚀 \u202e\u0301\ufeff",
    "control \x01\x07\x1b\x7f\x85\u2028",
    "../../etc/passwd",
    "a/b/c",
    ".",
    " leading and trailing ",
    "x" * 10_000,
    "漢" * 10_000,
]


class Optimizer(enum.Enum):
    SGD = "sgd"
    ADAM = object()


@dataclasses.dataclass
class Layer:
    units: int
    bias: bool = True


class Weird:
    """Whatever one asks of it raises, and not what one expects."""

    def __float__(self) -> float:
        raise RuntimeError("no number")

    def __index__(self) -> int:
        raise ZeroDivisionError

    def __repr__(self) -> str:
        raise LookupError

    def __str__(self) -> str:
        raise LookupError


def _kind(value: Any) -> str:
    return type(value).__name__


PARAMETERS: dict[str, tuple[Any, str, str]] = {
    "int": (3, "integer", "3"),
    "huge": (10**40, "integer", "1" + "0" * 40),
    "float": (0.1, "real", "0.1"),
    "nan": (math.nan, "real", "NaN"),
    "infinite": (-math.inf, "real", "-INF"),
    "float32": (np.float32(0.5), "real", "0.5"),
    "int64": (np.int64(-7), "integer", "-7"),
    "zero dimensions": (np.array(2.5), "real", "2.5"),
    "numpy bool": (np.bool_(True), "boolean", "true"),
    "bool": (False, "boolean", "false"),
    "text": ("é\n", "text", "é\n"),
    "none": (None, "none", "None"),
    "list": ([1, 2.5, "a", None], "json", '[1,2.5,"a",null]'),
    "tuple": ((3, 3), "json", "[3,3]"),
    "empty": ({}, "json", "{}"),
    "small array": (np.arange(3), "json", "[0,1,2]"),
    "path": (Path("a/b"), "text", "a/b"),
    "enum": (Optimizer.SGD, "text", "sgd"),
    "enum of an object": (Optimizer.ADAM, "text", "ADAM"),
    "class": (np.float32, "text", "numpy.float32"),
}
NESTED = {
    "optimizer": {"name": "SGD", "betas": (0.9, 0.99), "schedule": {"warmup": 5}},
    "layers": [Layer(8), {"units": 4, "bias": False}],
    "head": Layer(2),
}
FLAT = {
    "optimizer.name": ("text", "SGD"),
    "optimizer.betas": ("json", "[0.9,0.99]"),
    "optimizer.schedule.warmup": ("integer", "5"),
    "layers[0].units": ("integer", "8"),
    "layers[0].bias": ("boolean", "true"),
    "layers[1].units": ("integer", "4"),
    "layers[1].bias": ("boolean", "false"),
    "head.units": ("integer", "2"),
    "head.bias": ("boolean", "true"),
}


def test_parameters_of_every_sort(tmp_path: Path) -> None:
    given = {name: value for name, (value, _, _) in PARAMETERS.items()}
    expected = {name: (kind, text) for name, (_, kind, text) in PARAMETERS.items()}
    with capture(tmp_path) as job:
        job.run.log_params(given)
        job.run.log_values({"fact": 1} | NESTED)
        with job.run.training(params=NESTED) as training:
            training.log_params(Layer(9))
            with training.section("epoch", 0) as epoch:
                training.log_params({"of the epoch": 1})
                model = epoch.log_model(np.zeros(3), params=given)
        with job.run.activity("work", params={"a": 1}):
            pass
    file = job.file
    run, training_row = file.one("LearningExperimentExecution"), file.one("TrainingExecution")
    assert file.parameters(run) == expected | FLAT | {"fact": ("integer", "1")}
    assert file.parameters(training_row) == FLAT | {"units": ("integer", "9"), "bias": ("boolean", "true")}
    assert file.parameters(file.one("LearningStageSectionExecution")) == {"of the epoch": ("integer", "1")}
    assert file.parameters(file.one("DataTransformationExecution")) == {"a": ("integer", "1")}
    settings = file.objects("hasSetting", file.one("Model", label=model.label))
    assert {row["label"]: (row["value_type"], row["value"]) for row in settings} == expected
    assert {row["cls"] for row in settings} == {"ModelHyperparameterValue"}
    knobs = {row["label"] for row in file.all("LearningHyperparameter")}
    assert knobs == {*expected, *FLAT, "units", "bias", "of the epoch", "a"}
    # Facts are no hyperparameters.
    assert {row["label"] for row in file.all("AttributeValue")} == {"fact", *FLAT}


def test_arguments_are_copied_at_the_call(tmp_path: Path) -> None:
    params: dict[str, Any] = {"lr": 0.1, "inner": {"list": [1, 2]}}
    array, measures = np.arange(4.0), {"acc": 0.5}
    value = np.array(1.0)
    with capture(tmp_path) as job:
        job.run.log_params(params)
        data = job.run.use_dataset(array, characteristics=params)
        job.run.evaluate(measures, on=data)
        job.run.log(0, loss=value)
        job.run.log_metrics({"loss": value}, step=1)
        params["lr"] = 9.9
        params["inner"]["list"].append(3)
        array += 1
        value += 1
        measures["acc"] = 0.0
        same = job.run.use_dataset(np.arange(4.0))
    file = job.file
    expected = {"lr": ("real", "0.1"), "inner.list": ("json", "[1,2]")}
    assert expected.items() <= file.parameters(file.one("LearningExperimentExecution")).items()
    quality = file.all("DatasetCharacteristic")
    assert {row["label"]: (row["value_type"], row["value"]) for row in quality} == expected
    assert file.one("ModelEvaluation")["value"] == "0.5"
    assert file.tables["job", ("loss",)]["loss"].tolist() == [1.0, 1.0]
    assert data.label == same.label
    # The array as it was then is the array that was given again.
    assert len(file.all("LearningDataset")) == 1


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (True, 1.0),
        (np.float32(0.25), 0.25),
        (np.array(3), 3.0),
        ("0.5", 0.5),
        (math.inf, math.inf),
        (10**300, 1e300),
    ],
    ids=repr,
)
def test_whatever_gives_a_number_is_logged(tmp_path: Path, value: Any, kept: float) -> None:
    with capture(tmp_path, warn=True) as job:
        for at in range(3):
            job.run.log(at, loss=value, acc=at)
    table = job.file.tables["job", ("acc", "loss")]
    assert table["loss"].tolist() == [kept] * 3
    assert table["acc"].tolist() == [0.0, 1.0, 2.0]
    assert job.dropped() == {}


@pytest.mark.parametrize("value", [None, "much", [1.0], {}, object(), 10**400, 1j, Weird(), np.arange(3)], ids=_kind)
def test_what_is_no_number_is_counted_and_said_once(tmp_path: Path, value: Any) -> None:
    with capture(tmp_path, warn=True) as job:
        record = job.run.series("loss", "acc")
        for at in range(3):
            job.run.log(at, loss=value, acc=at)
            record(at, value, at)
            job.run.log_metrics({"loss": value, "acc": at}, step=at)
        job.run.log(3, loss=0.5, acc=3)
    assert len(job.warned) == 1
    assert "loss" in job.warned[0]
    assert job.dropped() == {"loss": 9}
    # What could be recorded of the same samples was.
    assert job.file.tables["job", ("acc",)]["acc"].tolist() == [0.0] * 3 + [1.0] * 3 + [2.0] * 3
    assert job.file.tables["job", ("acc", "loss")]["loss"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (np.int32(4), 4),
        (np.array(4), 4),
        (4.0, 4),
        (np.float32(4), 4),
        (np.array(4.0), 4),
        (True, 1),
        (-(2**62), -(2**62)),
    ],
    ids=repr,
)
def test_steps_that_are_whole(tmp_path: Path, step: Any, kept: int) -> None:
    with capture(tmp_path) as job:
        job.run.log(step, loss=0.5)
        job.run.log(step, loss=0.5)
    assert job.file.tables["job", ("loss",)]["step"].tolist() == [kept, kept]


@pytest.mark.parametrize(
    "step", [None, 0.5, "4", math.nan, math.inf, 2**64, 1e300, Weird(), [1]], ids=lambda v: type(v).__name__
)
def test_steps_that_are_not_are_counted(tmp_path: Path, step: Any) -> None:
    with capture(tmp_path, warn=True) as job:
        for _ in range(2):
            job.run.log(step, loss=0.5)
        job.run.log(1, loss=0.25)
    assert len(job.warned) == 1
    assert job.dropped() == {"step": 2}
    assert job.file.tables["job", ("loss",)]["loss"].tolist() == [0.25]


def test_weird_arguments_stop_nothing(tmp_path: Path) -> None:
    weird: Any = Weird()
    with capture(tmp_path, warn=True) as job:
        run = job.run
        for bad in (weird, 3, [1], "text"):
            run.log_params(bad)
            run.log_values(bad)
            run.log_metrics(bad)
            run.evaluate(bad)
        run.log_params({"good": 1, "bad": weird, "nested": {"bad": weird, "good": 2}, weird: 3})
        run.evaluate(acc=weird, good=0.5)
        run.evaluate(acc=0.5, step=weird)
        run.persona(weird)
        run.persona({"name": weird})
        run.use(weird)
        run.use({"role": weird})
        run.use(3)
        for method in (run.use_dataset, run.use_model, run.generate_dataset, run.generate_features, run.log_model):
            assert isinstance(method(weird), provml.Entity)
            assert isinstance(method(None), provml.Entity)
        run.use_dataset("missing", characteristics=weird, select=weird, role=weird, label=weird)
        run.generate_dataset(tmp_path / "x", derived_from=weird, member_of=weird, digest="nonsense")
        run.log_model(tmp_path / "y", params=weird, step=weird, label=weird)
        for name in (weird, None, 3):
            with run.activity(name, key=weird, use=weird, params=weird, persona=weird) as inner:
                inner.log_params({"of inner": 1})
            with run.training(name, task=weird, algorithm=weird) as inner:
                inner.log(0, loss=1.0)
                with inner.section("epoch", weird, key=weird, item=weird) as section:
                    section.log(0, loss=1.0)
                for section in inner.sections("batch", [weird, object(), np.zeros(1000)]):
                    section.log(0, loss=1.0)
        with run.activity("sound"):
            pass
    assert len(job.warned) == 1
    assert sum(job.dropped().values()) > 20
    file = job.file
    assert file.parameters(file.one("LearningExperimentExecution"))["good"] == ("integer", "1")
    assert file.one("ModelEvaluation", label="good")["value"] == "0.5"
    assert file.one("DataTransformationExecution", label="sound")["outcome"] == "completed"
    # What is said of an activity that could not be opened is not taken for the run's.
    assert "of inner" not in file.parameters(file.one("LearningExperimentExecution"))


def test_a_strict_run_raises(tmp_path: Path) -> None:
    with capture(tmp_path, strict=True) as job:
        with pytest.raises(provml.ProvMLError, match=r"loss=None is no number.*strict"):
            job.run.log(0, loss=None)  # type: ignore[arg-type]
        with pytest.raises(provml.ProvMLError, match="bad"):
            job.run.log_params({"bad": object()})
        with pytest.raises(provml.ProvMLError, match=r"No such file"):
            job.run.use_dataset(tmp_path / "missing")
        with pytest.raises(provml.ProvMLError):
            job.run.activity(Weird())  # type: ignore[arg-type]
        job.run.log(1, loss=0.5)
    assert job.file.tables["job", ("loss",)]["loss"].tolist() == [0.5]


def test_names_of_any_sort_come_back(tmp_path: Path) -> None:
    names = [*HOSTILE, "lone \ud800 surrogate", "zero \0 character"]
    cleaned = [*HOSTILE, "lone \\ud800 surrogate", "zero \ufffd character"]
    with capture(tmp_path, HOSTILE[2], study=HOSTILE[1], persona=HOSTILE[0]) as job:
        run = job.run
        run.log_params(dict.fromkeys(names, 1))
        run.log_values({"value": names})
        run.log_params({f"p{at}": name for at, name in enumerate(names)})
        run.log_metrics(dict.fromkeys(names, 0.5), step=1)
        for at, name in enumerate(names):
            run.persona(name, role=name)
            with run.training(name, task=name, algorithm=name, key=name) as training:
                training.log(at, **{name: float(at)})
                training.evaluate({name: name})
                training.use_dataset(np.full(3, at), role=name, label=name, select=name)
                with training.section(name, at, key=name, item=name) as section:
                    section.log(at, **{name: float(at)})
            run.reference(name, name)
    file = job.file
    assert (file.run.name, file.run.study) == (HOSTILE[2], HOSTILE[1])
    assert file.one("Study")["label"] == HOSTILE[1]
    run_row = file.one("LearningExperimentExecution")
    given = file.parameters(run_row)
    assert {name: given[name] for name in cleaned} == dict.fromkeys(cleaned, ("integer", "1"))
    assert [given[f"p{at}"] for at in range(len(names))] == [("text", name) for name in cleaned]
    assert json.loads(given["value"][1]) == cleaned
    people = [row for row in file.relations("wasAssociatedWith") if row["object"]["cls"] == "Persona"]
    assert {(row["object"]["label"], row["role"]) for row in people} == {
        *((name, name) for name in cleaned),
        (HOSTILE[0], ""),
    }
    assert {row["label"] for row in file.all("TrainingExecution")} == set(cleaned)
    assert {row["label"] for row in file.all("LearningTask")} == set(cleaned)
    assert {row["label"] for row in file.all("Algorithm")} == set(cleaned)
    assert {row["label"] for row in file.all("EvaluationMeasure")} == set(cleaned)
    assert {(row["label"], row["value"]) for row in file.all("ModelEvaluation")} == {(n, n) for n in cleaned}
    sections = file.all("LearningStageSectionExecution")
    assert {(row["section_kind"], row["item"], row["label"]) for row in sections} == {
        (name, name, f"{name} {at}") for at, name in enumerate(cleaned)
    }
    arrays = [row for row in file.relations("used") if row["object"]["cls"] == "LearningDataset"]
    assert {(r["role"], r["object"]["label"], r["object"]["select"]) for r in arrays} == {(n, n, n) for n in cleaned}
    assert {row["label"] for row in file.all("DataStore")} >= set(cleaned)
    for at, name in enumerate(cleaned):
        table = file.tables[name, (name,)]
        assert table["step"].tolist() == [at, at]
        (column,) = [values for key, values in table.items() if values.dtype == np.float64]
        assert column.tolist() == [float(at)] * 2
    assert set(file.tables[HOSTILE[2], tuple(sorted(cleaned))]) >= set(cleaned)


def test_measures_named_like_the_columns(tmp_path: Path) -> None:
    with capture(tmp_path) as job:
        job.run.log_metrics({"step": 1.5, "rank": 2.5, "time_ns": 3.5, "loss": 4.5}, step=5)
        job.run.log(step=6, acc=1.0)
        job.run.log_metrics({"self": 1.0, "values": 2.0})
    table, columns = next((t, c) for t, c in job.file.tables_in_order if "loss" in t.measures)
    assert set(table.measures) == {"step", "rank", "time_ns", "loss"}
    assert columns["step"].tolist() == [5]
    assert columns["rank"].tolist() == [0]
    assert columns["step-2"].tolist() == [1.5]
    assert columns["rank-2"].tolist() == [2.5]
    assert ("job", ("self", "values")) in job.file.tables


def test_evaluations(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"model")
    with capture(tmp_path) as job:
        with job.run.training() as training:
            model = training.log_model(tmp_path / "m")
        data = job.run.use_dataset(np.zeros(3), label="test data")
        with job.run.evaluation(use=[model, data]) as evaluation:
            evaluation.evaluate({"acc": 0.5}, f1=np.float32(0.25), on=data, model=model, step=7)
            evaluation.evaluate(acc=0.5, on=data, model=tmp_path / "m", step=8)
            evaluation.evaluate(acc=0.5)
            evaluation.evaluate(acc=0.5)
            evaluation.evaluate(matrix=[[1, 2], [3, 4]], verdict="good")
    file = job.file
    row = file.one("EvaluationExecution")
    found = [one for one in file.subjects("wasGeneratedBy", row) if one["cls"] == "ModelEvaluation"]
    assert sorted((one["label"], one["value"], one["step"]) for one in found if one["step"] > 0) == [
        ("acc", "0.5", 7),
        ("acc", "0.5", 8),
        ("f1", "0.25", 7),
    ]
    assert {
        one["label"]: (one["value_type"], one["value"]) for one in found if one["label"] in ("matrix", "verdict")
    } == {
        "matrix": ("json", "[[1,2],[3,4]]"),
        "verdict": ("text", "good"),
    }
    # Said twice for no step: two moments.
    assert len([one for one in found if one["label"] == "acc"]) == 4
    assert file.pairs("ofModel") == {("acc", str(tmp_path / "m")), ("f1", str(tmp_path / "m"))}
    assert file.pairs("onData") == {("acc", "test data"), ("f1", "test data")}
    assert {one["object"]["label"] for one in file.relations("specifiedBy")} == {"acc", "f1", "matrix", "verdict"}


def test_people(tmp_path: Path) -> None:
    orcid = "https://orcid.org/0000-0002-1825-0097"
    with capture(tmp_path, persona={"name": "Josiah", "identifier": orcid, "role": "runs it"}) as job:
        job.run.persona({"name": "Ada", "identifier": "ada@example.org", "role": "labels"})
        job.run.persona("bob@example.org", "looks on")
        with job.run.training(persona=orcid) as training:
            training.persona({"name": "Josiah", "identifier": orcid}, role="trains")
    file = job.file
    said = {
        (row["subject"]["cls"], row["object"]["label"], row["object"]["identifier"], row["role"])
        for row in file.relations("wasAssociatedWith")
        if row["object"]["cls"] == "Persona"
    }
    run, training_row = "LearningExperimentExecution", "TrainingExecution"
    assert said == {
        (run, "Josiah", orcid, "runs it"),
        (run, "Ada", "ada@example.org", "labels"),
        (run, "bob@example.org", "bob@example.org", "looks on"),
        (training_row, "Josiah", orcid, ""),
        (training_row, "Josiah", orcid, "trains"),
    }
    assert len(file.all("Persona")) == 3
    plans = {file.by_id[row["plan"]]["cls"] for row in file.relations("wasAssociatedWith") if row["role"] == "trains"}
    assert plans == {"Training"}


def test_other_threads(tmp_path: Path) -> None:
    def work() -> None:
        for at in range(50):
            training.log(at, loss=float(at))
        training.log_params({"threads": 1})
        with training.section("epoch", 1) as section:
            section.log_params({"lost": 1})
            section.log(0, loss=-1.0)

    with capture(tmp_path, warn=True) as job, job.run.training(params={"lr": 1}) as training:
        thread = threading.Thread(target=work)
        thread.start()
        for at in range(50, 100):
            training.log(at, loss=float(at))
        thread.join()
        training.log(100, loss=100.0)
    file = job.file
    assert sorted(file.tables["training", ("loss",)]["loss"].tolist()) == [float(at) for at in range(101)]
    assert file.parameters(file.one("TrainingExecution")) == {"lr": ("integer", "1"), "threads": ("integer", "1")}
    # Activities have to be opened where the run was; that this one was not is said, and it is nobody else's.
    assert file.all("LearningStageSectionExecution") == []
    assert job.dropped() == {"epoch 1": 1}
    assert ["in the thread that called init()" in told for told in job.warned] == [True]
