"""`provml validate`: files of runs, whole and spoiled in one way each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given

from provml_hpc.assembly.graph import ABSENT, Graph
from provml_hpc.errors import FileMissingError
from provml_hpc.storage import careful
from provml_hpc.storage.columns import told_columns
from provml_hpc.storage.tables import COMMIT_ROW, write_file
from provml_tools.cli import main
from provml_tools.validate import Report, validate, validate_graph, validate_together
from provml_tools.validate.content import Content
from provml_tools.validate.layout import RULES
from provml_tools.validate.nodes import Nodes
from tests.offline.graphs import NOON, OTHER_RUN, GraphMaker, graphs, learning_graph

LEVELS = ("format", "prov")
_COMMITS = np.array([(1, NOON, 10, 500), (2, NOON + 9, 3, 100)], COMMIT_ROW)


def _found(graph: Graph, levels: tuple[str, ...] = LEVELS) -> Report:
    report = Report("test", levels)
    validate_graph(graph, report)
    return report


def _rules(report: Report) -> set[str]:
    return {one.constraint for one in report.findings if one.severity == "violation"}


def small_graph(run: str | None = None) -> GraphMaker:
    """Return a small job whose file is whole: a training that read data and made a model."""
    make = GraphMaker(run) if run else GraphMaker()
    uuid = make.info.uuid
    job = make.node(
        "LearningExperimentExecution", uuid, label="job", start_ns=NOON, end_ns=NOON + 100, outcome="completed",
        phase="learning", run=uuid, attempt=1, ranks="0-1",
    )  # fmt: skip
    training = make.node(
        "TrainingExecution", label="training", start_ns=NOON + 10, end_ns=NOON + 90, outcome="completed"
    )
    epoch = make.node(
        "LearningStageSectionExecution", label="epoch", section_kind="epoch", section_index=0, start_ns=NOON + 20,
        end_ns=NOON + 80, outcome="completed",
    )  # fmt: skip
    data = make.node("LearningDataset", label="tiles.h5", digest_state="whole")
    model = make.node("Model", label="unet.npz")
    older = make.node("Model", label="unet-0.npz")
    plan = make.node("Training", label="training")
    person = make.node("Persona", label="Ada", identifier="ada@example.org")
    series = make.node("MetricSeries", label="loss", count=3, minimum=0.5, maximum=2.0, row_count=3, first_row=0)
    setting = make.node("LearningHyperparameterValue", label="lr", value="0.1", value_type="real")
    make.relate("isPartOf", training, job)
    make.relate("isPartOf", epoch, training)
    make.relate("used", training, data, role="training", time_ns=NOON + 11)
    make.relate("used", training, setting, time_ns=NOON + 10)
    make.relate("wasGeneratedBy", older, epoch, time_ns=NOON + 30)
    make.relate("wasGeneratedBy", model, epoch, time_ns=NOON + 70)
    make.relate("wasGeneratedBy", series, training)
    make.relate("wasDerivedFrom", model, older)
    make.relate("wasAssociatedWith", training, person, plan=plan, role="scientist")
    rows = [(0, 1, epoch, 0, NOON + 30, 0.5), (0, 1, epoch, 1, NOON + 31, 2.0), (1, 1, ABSENT, 0, NOON + 30, 1.0)]
    make.sample(training, ("loss",), rows)
    return make


def _id(graph: Graph, cls: str, at: int = 0) -> int:
    return int(np.asarray(graph.nodes[cls].columns["id"])[at])


def test_a_whole_graph_has_no_findings() -> None:
    report = _found(small_graph().graph())
    assert report.findings == []
    assert report.checked == {"records": 10, "statements": 9, "samples": 3}
    assert _rules(_found(learning_graph(), ("prov",))) == set()


def _set(cls: str, column: str, value: Any, row: int = 0) -> Callable[[Graph], None]:
    def spoil(graph: Graph) -> None:
        table = graph.nodes.get(cls) or graph.relations[cls]
        table.columns[column][row] = value

    return spoil


def _also(name: str, subject: tuple[str, int], target: tuple[str, int], **fields: Any) -> Callable[[GraphMaker], None]:
    """Return what adds a relation between the nth nodes of two classes."""

    def add(make: GraphMaker) -> None:
        ends = [[at for at, c in enumerate(make.classes) if c == cls][nth] for cls, nth in (subject, target)]
        make.relate(name, *ends, **fields)

    return add


def _later(rows: str, column: str, row: int = 0) -> Callable[[Graph], None]:
    return _set(rows, column, NOON + 10**12, row)


ALSO = {
    # What cannot be wrong alone: with an id, all that points at it goes astray; ...
    "an id out of range": {"no-record"},
    "an id twice": {"no-record"},
    "a run that is no uuid": {"run"},
    # ... a model that used data is an entity and an activity; ...
    "a subject of the wrong class": {"entity-activity-disjoint"},
    "an end before the start": {"usage-within-activity"},
    "a second generation at another time": {"one-generation"},
    # ... and whoever reads the records needs their tables.
    "a table of another kind": {"identifier", "no-record"},
    "no uuids": {"readable"},
    "numbers where text belongs": {"readable"},
    "text where numbers belong": {"readable"},
    "a column that is cut off": {"readable"},
}
"""Cases that break more than their rule, and what."""

SPOILED: dict[str, tuple[str, Callable[[Graph], None]]] = {
    "an id out of range": ("identifier", _set("Model", "id", 10**6)),
    "an id twice": ("identifier", lambda graph: _set("Model", "id", _id(graph, "LearningDataset"))(graph)),
    "no uuid": ("identifier", _set("Persona", "uuid", "x")),
    "an end that is no record": ("no-record", _set("used", "object", 10**6)),
    "a subject of the wrong class": ("domain", lambda graph: _set("used", "subject", _id(graph, "Model"))(graph)),
    "an object of the wrong class": ("range", lambda graph: _set("used", "object", _id(graph, "Persona"))(graph)),
    "a plan that is none": (
        "range", lambda graph: _set("wasAssociatedWith", "plan", _id(graph, "Model"))(graph),
    ),
    "a plan that is no record": ("no-record", _set("wasAssociatedWith", "plan", -5)),
    "an outcome that is none": ("choice", _set("TrainingExecution", "outcome", "maybe")),
    "a value that is no number": ("value", _set("LearningHyperparameterValue", "value", "much")),
    "a value of an unknown type": ("value", _set("LearningHyperparameterValue", "value_type", "colour")),
    "no record of the run": ("run", _set("LearningExperimentExecution", "uuid", OTHER_RUN)),
    "an end before the start": ("start-precedes-end", _set("TrainingExecution", "end_ns", NOON + 1)),
    "a use before the start": ("usage-within-activity", _set("used", "time_ns", NOON)),
    "a use after the end": ("usage-within-activity", _later("used", "time_ns")),
    "a generation after the end": ("generation-within-activity", _later("wasGeneratedBy", "time_ns", 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_a_fault_in_the_tables_is_found(name: str) -> None:
    rule, spoil = SPOILED[name]
    graph = small_graph().graph()
    spoil(graph)
    assert _rules(_found(graph)) == {rule} | ALSO.get(name, set())


ADDED: dict[str, tuple[str, Callable[[GraphMaker], None]]] = {
    "a second generation": (
        "one-generation", _also("wasGeneratedBy", ("Model", 0), ("TrainingExecution", 0), time_ns=NOON + 70),
    ),
    "a second generation at another time": (
        "generation-generation-ordering",
        _also("wasGeneratedBy", ("Model", 0), ("TrainingExecution", 0), time_ns=NOON + 71),
    ),
    "the same generation at another time": (
        "unique-generation",
        _also("wasGeneratedBy", ("Model", 0), ("LearningStageSectionExecution", 0), time_ns=NOON + 71),
    ),
    "derivations in a circle": (
        "derivation-generation-generation-ordering", _also("wasDerivedFrom", ("Model", 1), ("Model", 0)),
    ),
    "derived from itself": (
        "derivation-generation-generation-ordering", _also("wasDerivedFrom", ("Model", 0), ("Model", 0)),
    ),
    "a revision of what is later": (
        "derivation-generation-generation-ordering", _also("wasRevisionOf", ("Model", 1), ("Model", 0)),
    ),
    "a thing more special than itself": (
        "impossible-specialization-reflexive", _also("specializationOf", ("Model", 0), ("Model", 0)),
    ),
    "an activity as data": (
        "entity-activity-disjoint", _also("wasDerivedFrom", ("Model", 0), ("TrainingExecution", 0)),
    ),
    "a member that is an activity": (
        "entity-activity-disjoint", _also("hadMember", ("Model", 0), ("TrainingExecution", 0)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ADDED)
def test_a_statement_too_many_is_found(name: str) -> None:
    rule, add = ADDED[name]
    make = small_graph()
    add(make)
    report = _found(make.graph(), ("prov",))
    assert _rules(report) == {rule} | ALSO.get(name, set())
    one = next(one for one in report.findings if one.constraint == rule)
    # The record is told in a way that a person can find it by.
    assert "unet" in one.record + str(one.others)
    assert one.remedy


def test_an_entity_that_is_an_activity_in_another_file() -> None:
    one, other = small_graph(), small_graph(OTHER_RUN)
    uuid = "0f0d2a44-1111-4222-8333-0123456789ab"
    one.node("Dataset", uuid, label="a thing")
    other.node("Attempt", uuid, label="a thing")
    pair = [one.graph(), other.graph()]
    assert all(not _found(graph).violations for graph in pair)
    report = Report("both", ("prov",))
    validate_together(pair, report)
    assert _rules(report) == {"entity-activity-disjoint"}


def test_content_is_known_by_what_it_is() -> None:
    make = small_graph()
    make.node("Content", "0f0d2a44-1111-4222-8333-0123456789ab", algorithm="sha256", digest="ab" * 32, size=3)
    make.node("Content", "1f0d2a44-1111-4222-8333-0123456789ab", algorithm="sha256", digest="ab" * 32, size=0)
    assert [one.constraint for one in _found(make.graph()).findings] == ["content", "content"]


@given(graphs())
def test_any_graph_gets_an_answer(graph: Graph) -> None:
    report = _found(graph)
    for one in report.findings:
        assert one.remedy
        assert one.record


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file that is whole."""
    path = tmp_path_factory.mktemp("whole") / "job.h5"
    write_file(path, _placed(small_graph()), _COMMITS)
    return path


def _placed(make: GraphMaker) -> Graph:
    """Give the series the uuid by which the file points it at its samples."""
    from provml_hpc import identity

    graph = make.graph()
    training = graph.nodes["TrainingExecution"].columns["uuid"][0]
    graph.nodes["MetricSeries"].columns["uuid"][0] = identity.series(graph.run.uuid, training, "loss")  # type: ignore[index]
    return graph


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    """Return a copy of it to spoil."""
    return Path(shutil.copy(whole, tmp_path / "job.h5"))


def test_a_whole_file_is_valid(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(path), "--level", "format", "--level", "prov"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{path}: valid, 0 violations (format, prov; 10 records, 9 statements, 3 samples)\n"
    assert said.err == ""


def _delete(name: str) -> Callable[[h5py.File], None]:
    def spoil(file: h5py.File) -> None:
        del file[name]

    return spoil


def _attribute(name: str, value: Any, group: str = "/") -> Callable[[h5py.File], None]:
    def spoil(file: h5py.File) -> None:
        if value is None:
            del file[group].attrs[name]
        else:
            file[group].attrs[name] = value

    return spoil


def _replace(name: str, data: Any) -> Callable[[h5py.File], None]:
    def spoil(file: h5py.File) -> None:
        del file[name]
        file[name] = data

    return spoil


FILES: dict[str, tuple[str, Callable[[h5py.File], None]]] = {
    "no authority": ("root-attribute", _attribute("authority", None)),
    "a start that is text": ("root-attribute", _attribute("started_ns", "noon")),
    "details that are no JSON": ("readable", _attribute("details", "{")),
    "details that are a list": ("root-attribute", _attribute("details", "[]")),
    "a status that is none": ("status", _attribute("status", "fine")),
    "a run that is no uuid": ("identifier", _attribute("run", "job 12")),
    "a table of another kind": ("encoding", _attribute("encoding-type", "table", "records/Model")),
    "a table of a newer version": ("encoding", _attribute("encoding-version", "2.0", "records/Model")),
    "a list of columns that is not so": ("columns", _attribute("columns", ["id"], "records/Model")),
    "no uuids": ("columns", _delete("records/Model/uuid")),
    "no commits": ("group", _delete("commits")),
    "no relations": ("group", _delete("relations")),
    "numbers where text belongs": ("column-type", _replace("records/Model/label", np.arange(2))),
    "text where numbers belong": ("column-type", _replace("records/TrainingExecution/start_ns", np.array([b"a"]))),
    "samples that do not say whose they are": ("samples-attribute", _attribute("activity_uuid", None, "samples/loss")),
    "commits with a gap": ("commits", _replace("commits/number", np.array([1, 3]))),
    "a column that is cut off": ("column-length", _replace("records/Model/step", np.arange(1))),
    "samples of no activity": ("samples", _attribute("activity", 99, "samples/loss")),
    "samples of a person": ("samples", _attribute("activity", 7, "samples/loss")),
    "samples out of order": ("samples", _replace("samples/loss/rank", np.array([1, 0, 0], np.int32))),
    "samples of another section": ("samples", _replace("samples/loss/section", np.array([99, 99, 99]))),
    "a sample that was changed": ("series", lambda file: file["samples/loss/loss"].__setitem__(0, -1.0)),
    "a count that is not so": ("series", _replace("records/MetricSeries/count", np.array([4]))),
    "a series that points elsewhere": ("series", _replace("records/MetricSeries/path", np.array([""], object))),
    "a relation that points elsewhere": ("no-record", lambda file: file["relations/used/object"].__setitem__(0, 77)),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_fault_in_a_file_is_found(name: str, path: Path) -> None:
    rule, spoil = FILES[name]
    with h5py.File(path, "r+") as file:
        spoil(file)
    assert _rules(validate(path, LEVELS)) == {rule} | ALSO.get(name, set())


@pytest.mark.parametrize(
    ("relation", "subject", "target"),
    [
        ("hasPart", "EvaluationSpecification", "TrainingExecution"),
        ("specifiedBy", "ModelEvaluation", "LearningHyperparameter"),
        ("isPartOf", "TrainingExecution", "Training"),
        ("actedOnBehalfOf", "Rank", "Persona"),
    ],
)
def test_ends_that_do_not_go_together_are_found(relation: str, subject: str, target: str) -> None:
    make = GraphMaker()
    run = make.node("LearningExperimentExecution", make.info.uuid, run=make.info.uuid, start_ns=NOON, end_ns=NOON + 9)
    ends = [make.node(cls, label=cls) for cls in (subject, target)]
    make.relate(relation, *ends)
    (found,) = (one for one in Content(Nodes(make.graph())).check() if one.constraint in ("domain", "range"))
    assert found.constraint == "range"
    assert f"from a {subject}, and to a {target}" in found.message
    assert run == 0


def test_records_of_an_abstract_class_are_found() -> None:
    make = small_graph()
    make.node("BaseLearningStage", label="something")
    assert _rules(_found(make.graph())) == {"abstract-class"}


def test_a_plan_of_other_activities_is_found() -> None:
    make = small_graph()
    workflow = make.node("Workflow", label="preparation")
    training, person = (make.classes.index(cls) for cls in ("TrainingExecution", "Persona"))
    make.relate("wasAssociatedWith", training, person, plan=workflow)
    report = _found(make.graph())
    assert _rules(report) == {"plan"}
    assert report.findings[0].message == "a TrainingExecution follows a Training, and its plan is a Workflow"


def test_what_is_said_twice_is_a_warning() -> None:
    make = small_graph()
    for role in ("a", "a", "b"):
        _also("used", ("TrainingExecution", 0), ("Model", 1), role=role, time_ns=NOON + 80)(make)
    report = _found(make.graph())
    assert [(one.constraint, one.severity) for one in report.findings] == [("repeated", "warning")]
    assert report.findings[0].record.startswith("used(TrainingExecution 'training' <")


def test_damage_of_a_log_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import provml_hpc as provml
    from provml_hpc.storage.reader import Reader

    run = provml.init("live", phase="learning", output=str(tmp_path / "live.h5"))
    run.log_params({"lr": 0.1})
    run.flush()
    monkeypatch.setattr(Reader, "damage", ["the bytes from 10 to 20 have another checksum"])
    report = validate(tmp_path / "live.h5.partial", LEVELS)
    run.finish()
    assert [(one.constraint, one.message[:9]) for one in report.findings] == [("log", "the bytes")]


def test_every_rule_of_the_format_has_a_case() -> None:
    cases = {rule for rule, _ in (*SPOILED.values(), *FILES.values())}
    # Warnings, and what needs a file or graph of its own: the tests just above and below.
    assert set(RULES) - cases == {"abstract-class", "log", "repeated", "unknown-table", "content", "plan"}
    page = (Path(__file__).parents[2] / "docs" / "validate.md").read_text("utf-8")
    assert all(f"| `{rule}` | {what} |" in page for rule, what in RULES.items())


def test_what_a_newer_release_added_is_a_warning(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.copy("records/Model", "records/Robot")
        file["records/Model/wheels"] = np.arange(2)
        careful.put_texts(file["records/Model"], "columns", [*told_columns(file["records/Model"]), "wheels"])
        del file["records/Persona/identifier"]
        columns = [name for name in told_columns(file["records/Persona"]) if name != "identifier"]
        careful.put_texts(file["records/Persona"], "columns", columns)
    report = validate(path, LEVELS)
    assert report.violations == 0
    assert sorted(one.constraint for one in report.findings) == ["columns", "columns", "unknown-table"]


@pytest.mark.parametrize("size", [0, 8, 300, 5000])
def test_a_file_that_was_cut_off_gets_an_answer_too(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)
    assert [one.constraint for one in validate(path, LEVELS).findings] == ["readable"]


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError):
        validate(tmp_path / "none.h5", LEVELS)


def test_the_command_in_text(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(path, "r+") as file:
        file["records/TrainingExecution/end_ns"][0] = NOON
    assert main(["validate", str(path), "--level", "prov"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path}: violation: prov: start-precedes-end (constraint 30)"
    assert lines[1].startswith("    record: activity(TrainingExecution 'training' <")
    assert "2023-11-14T22:13:20.123456789Z" in lines[2]
    assert lines[3].startswith("    remedy: An activity cannot end before it starts.")
    assert ": not valid, " in lines[-1]


def test_the_command_in_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Path(shutil.copy(path, path.with_name("other.h5")))
    with h5py.File(other, "r+") as file:
        file["records/TrainingExecution/end_ns"][0] = NOON
    assert main(["validate", str(path), str(other), "--level", "prov", "--format", "json"]) == 1
    first, second, both = json.loads(capsys.readouterr().out)
    assert (first["file"], first["valid"], first["findings"]) == (str(path), True, [])
    assert not second["valid"]
    assert second["findings"][0]["number"] == 30
    assert second["findings"][0]["remedy"]
    assert both["file"] == "all together"


@pytest.mark.parametrize(
    "arguments", [["nothing.h5", "--tolerance", "x"], ["nothing.h5", "--level", "taste"], [], ["a.h5", "a.h5"]]
)
def test_a_wrong_call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: Any = main(["validate", *arguments])
    except SystemExit as left:
        code = left.code
    assert code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_many_findings_of_a_rule_are_counted_and_not_kept() -> None:
    make = small_graph()
    models = [make.node("Model", label=f"model {at}") for at in range(150)]
    for one in models:
        make.relate("wasDerivedFrom", one, one)
    report = _found(make.graph(), ("prov",))
    assert report.violations == 150
    assert len(report.findings) == 100
    assert report.left_out == {"prov: derivation-generation-generation-ordering": 50}


def test_a_file_that_cannot_be_read_is_one_line_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.h5").write_text("text")
    assert main(["validate", str(tmp_path / "text.h5")]) == 1
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert told.err.startswith("provml validate: error: ")
    assert "not an HDF5 file" in told.err
    assert "not valid, 1 violation" in told.out
