"""What other trackers wrote, repaired: as RDF, and as a file that the questions work on."""

from __future__ import annotations

import json
import math
import shutil
from datetime import timezone
from pathlib import Path
from typing import Any

import pyoxigraph
import pytest

from provml_hpc.errors import FileMissingError, FormatError
from provml_hpc.storage import reader
from provml_tools import cli
from provml_tools.importing import graph_of, nquads, read
from provml_tools.importing.mapping import stage_of, typed
from provml_tools.query import Engine, ask

HERE = Path(__file__).parent / "imports"
FILES = {
    "yprov4ml-3": HERE / "yprov4ml" / "prov_digits_GR0_0.json",
    "yprov4ml-1": HERE / "yprov4ml-1.json",
    "dlprov": HERE / "dlprov.json",
}
NOON = 1_700_000_000 * 10**9


def bring(name: str, out: Path, *more: str) -> Path:
    assert (
        cli.main(["import", str(FILES[name]), "-o", str(out), "--timezone", "UTC", "--authority", "x.org", *more]) == 0
    )
    return out


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_valid_and_the_same_each_time(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = bring(name, tmp_path / "one.h5"), bring(name, tmp_path / "other.h5")
    capsys.readouterr()
    assert cli.main(["validate", str(one)]) == 0, capsys.readouterr().out
    texts = []
    for file in (one, other):
        assert cli.main(["convert", str(file), "--to", "nquads", "-o", str(tmp_path / "out.nq")]) == 0
        texts.append((tmp_path / "out.nq").read_text().replace(file.name, ""))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("name", FILES)
def test_rdf_passes_a_strict_parser_in_every_format(name: str, tmp_path: Path) -> None:
    found = {}
    forms = pyoxigraph.RdfFormat
    kinds = {".nq": forms.N_QUADS, ".nt": forms.N_TRIPLES, ".ttl": forms.TURTLE, ".trig": forms.TRIG}
    for suffix, form in (kinds | {".jsonld": forms.JSON_LD}).items():
        out = bring(name, tmp_path / f"out{suffix}")
        found[suffix] = {quad.triple for quad in pyoxigraph.parse(out.read_bytes(), form)}
    assert len({frozenset(one) for one in found.values()}) == 1
    predicates = {str(one.predicate.value) for one in found[".nt"]}
    assert "http://www.w3.org/ns/prov#used" in predicates
    assert all(iri.startswith("http") and not iri.endswith(":") for iri in predicates)


def test_yprov4ml_3_answers_questions(tmp_path: Path) -> None:
    with reader.open(bring("yprov4ml-3", tmp_path / "digits.h5")) as file:
        engine = Engine([file.graph])
        [training] = ask(engine, "compare-trainings").rows
        assert (training["learning_rate"], training["batch_size"]) == (0.1, 32)
        assert training["accuracy"] == pytest.approx(0.8)
        made = {row["name"]: row for row in ask(engine, "model-lineage", {"model": "model.npz"}).rows}
        assert {"Original_model.npz", "TRAINING", "train_data"} <= set(made)
        losses = file.samples("loss")
        assert losses["value"].tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6])
        epochs = {one["id"]: one["section_index"] for one in file.nodes("LearningStageSectionExecution")}
        assert [epochs[int(one)] for one in losses["section"]] == [0, 0, 0, 1, 1, 1]
        assert [one["name"] for one in file.activities if one["kind"] == "LearningExperimentExecution"] == [
            "digits_GR0_0"
        ]
        assert file.run.started_ns == 1795422082854973000


def test_yprov4ml_1_series_are_text(tmp_path: Path) -> None:
    with reader.open(bring("yprov4ml-1", tmp_path / "unet.h5")) as file:
        losses = file.samples("loss")
        assert losses["value"][:3].tolist() == [0.9, 0.7, 0.5]
        assert math.isnan(losses["value"][3])
        assert losses["time_ns"].tolist() == [NOON + at * 10**9 for at in range(4)]
        [training] = ask(Engine([file.graph]), "compare-trainings").rows
        assert (training["training"], training["lr"], training["batch_size"]) == ("training", 0.001, 64)
        assert training["accuracy"] == 0.8
        lineage = ask(Engine([file.graph]), "model-lineage").rows
        assert [row["name"] for row in lineage][:2] == ["models/unet.pt", "training"]
        assert "train_dataset" in {row["name"] for row in lineage}


def test_dlprov_answers_questions(tmp_path: Path) -> None:
    with reader.open(bring("dlprov", tmp_path / "digits.h5")) as file:
        engine = Engine([file.graph])
        [training] = ask(engine, "compare-trainings").rows
        assert (training["training"], training["experiment"]) == ("trainmodel", "digits")
        assert (training["learning_rate"], training["num_epochs"], training["optimizer_name"]) == (0.001, 2, "adam")
        assert (training["loss"], training["accuracy"]) == (0.25, 0.875)
        assert not any("val_loss" in name for name in training), "-9999999 stands for nothing"
        rows = ask(engine, "training-progress").rows
        assert [(row["section"], row["loss"], row["seconds"]) for row in rows] == [
            ("epoch 0", 0.5, 11.5),
            ("epoch 1", 0.25, 10.0),
        ]
        lineage = {row["name"]: row["kind"] for row in ask(engine, "model-lineage").rows}
        assert lineage == {
            "digits-net": "Model",
            "trainmodel": "TrainingExecution",
            "out/train.npz": "LearningDataset",
            "splitdata": "DataTransformationExecution",
            "digits": "Dataset",
        }


def test_times_without_a_zone_are_taken_where_they_were_said(tmp_path: Path) -> None:
    rome = tmp_path / "rome.h5"
    assert cli.main(["import", str(FILES["dlprov"]), "-o", str(rome), "--timezone", "Europe/Rome"]) == 0
    with reader.open(rome) as there, reader.open(bring("dlprov", tmp_path / "utc.h5")) as here:
        assert here.run.started_ns - there.run.started_ns == 2 * 3600 * 10**9


def test_each_kind_of_repair_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bring("dlprov", tmp_path / "out.h5")
    told = capsys.readouterr().err.splitlines()
    assert [any(word in line for line in told) for word in ("'DLProv'", "colon (29 times)", "taken for UTC")] == [
        True
    ] * 3
    assert len(told) == 3


def test_several_files_become_several_runs_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert cli.main(["import", *map(str, FILES.values()), "-o", str(tmp_path / "out")]) == 0
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == [
        "dlprov.h5",
        "prov_digits_GR0_0.h5",
        "yprov4ml-1.h5",
    ]


@pytest.mark.parametrize(
    ("out", "more", "code", "words"),
    [
        ("out.xyz", [], 2, "no format"),
        ("out.h5", ["--timezone", "Rome"], 2, "time zone"),
        ("there.h5", [], 1, "there already"),
        ("none/out.h5", [], 1, "none"),
    ],
)
def test_wrong_calls(
    out: str, more: list[str], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there.h5").write_text("years of work")
    assert cli.main(["import", str(FILES["dlprov"]), "-o", str(tmp_path / out), *more]) == code
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert [one.name for one in tmp_path.iterdir()] == ["there.h5"]
    assert (tmp_path / "there.h5").read_text() == "years of work"


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '{"entity": ', '{"a": 1}', "[" * 100_000])
def test_what_is_no_prov_json_is_one_clear_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FormatError):
        read(tmp_path / "a.json")
    with pytest.raises(FileMissingError):
        read(tmp_path / "missing.json")


def document(tmp_path: Path, **said: Any) -> Path:
    (tmp_path / "a.json").write_text(json.dumps(said))
    return tmp_path / "a.json"


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    evil = 'x> <urn:a> <urn:b> "c'
    path = document(
        tmp_path,
        prefix={"p": f"no iri {evil}", "q": "http://ok.org/", "xsd": "http://www.w3.org/2000/10/XMLSchema#"},
        entity={
            evil: {evil: evil, "p:a:": {"$": "5", "type": "xsd:int"}, "prov:type": evil},
            "q:é ü": {"odd": [1, True, None]},
        },
        activity={"q:train": {"prov:startTime": "not a time", "prov:label": 'a "b"\n'}},
        used={"_:1": {"prov:activity": "q:train", "prov:entity": evil}, "_:2": {"prov:activity": "q:train"}, "_:3": 7},
        wasGeneratedBy=[{"prov:entity": "q:é ü", "prov:activity": "q:train", "prov:time": "2024-01-01T00:00:00Z"}],
    )
    found = read(path, timezone.utc)
    triples = list(pyoxigraph.parse("".join(nquads(found)).encode(), pyoxigraph.RdfFormat.N_QUADS))
    assert not any(str(one.subject.value) == "urn:a" or str(one.predicate.value) == "urn:a" for one in triples)
    assert 'a "b"\n' in {one.object.value for one in triples}
    graph = graph_of(found, "x.org")
    assert graph.nodes["TrainingExecution"].columns["label"] == ['a "b"\n']
    assert evil in graph.nodes["Dataset"].columns["label"]
    assert len(graph.relations["used"]) >= 1


def test_any_other_prov_json_is_taken_as_steps_and_data(tmp_path: Path) -> None:
    path = document(
        tmp_path,
        prefix={"ex": "http://example.org/"},
        entity={"ex:raw": {"ex:rows": 7}, "ex:model": {"prov:type": {"$": "ex:Model", "type": "prov:QUALIFIED_NAME"}}},
        activity={
            "ex:train": {"prov:startTime": "2024-01-01T10:00:00+01:00", "prov:endTime": "2024-01-01T10:00:05.5+01:00"}
        },
        agent={"ex:ada": {"prov:label": "Ada"}},
        used={"_:u": {"prov:activity": "ex:train", "prov:entity": "ex:raw", "prov:role": "input"}},
        wasGeneratedBy={"_:g": {"prov:entity": "ex:model", "prov:activity": "ex:train"}},
    )
    found = read(path)
    assert found.repairs == {}
    graph = graph_of(found, "x.org")
    rows = ask(Engine([graph]), "model-lineage").rows
    assert [(row["kind"], row["name"]) for row in rows] == [
        ("Model", "model"),
        ("TrainingExecution", "train"),
        ("Dataset", "raw"),
    ]
    row = next(graph.nodes["TrainingExecution"].rows())
    assert row["end_ns"] - row["start_ns"] == 5_500_000_000
    assert row["outcome"] == "completed"
    assert rows[1]["who"] == "Ada"


def test_metrics_whose_files_are_gone_are_told(tmp_path: Path) -> None:
    shutil.copy(FILES["yprov4ml-3"], tmp_path / "a.json")
    found = read(tmp_path / "a.json", timezone.utc)
    graph = graph_of(found, "x.org")
    assert graph.samples == []
    assert any("metrics" in what and count == 2 for what, count in found.repairs.items())


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("0.1", ("0.1", "real")),
        ("1e-3", ("0.001", "real")),
        ("32", ("32", "integer")),
        ("True", ("true", "boolean")),
        ("None", ("None", "none")),
        ("1.2.3", ("1.2.3", "text")),
        (True, ("true", "boolean")),
        (7, ("7", "integer")),
        (0.5, ("0.5", "real")),
        ("", ("", "text")),
    ],
)
def test_text_that_is_a_number_becomes_one(value: Any, said: tuple[str, str]) -> None:
    assert typed(value) == said


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("TRAINING", "TrainingExecution"),
        ("val_epoch_3", "ValidationExecution"),
        ("VALIDATION", "ValidationExecution"),
        ("testmodel", "EvaluationExecution"),
        ("splitdata", "DataTransformationExecution"),
        ("evaluate", "EvaluationExecution"),
    ],
)
def test_stages_are_known_by_their_names(name: str, cls: str) -> None:
    assert stage_of(name) == cls


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T01:00:01.5+01:00", 1_500_000_000),
        ("1970-01-01T00:00:01.123456789Z", 1_123_456_789),
        ("1969-12-31T23:59:59.25Z", -750_000_000),
        ("yesterday", None),
    ],
)
def test_a_time_keeps_its_fraction_under_every_python(tmp_path: Path, text: str, nanoseconds: int | None) -> None:
    assert read(document(tmp_path, activity={})).nanoseconds(text) == nanoseconds
