"""Exports, read back by the tools that they are for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import duckdb
import numpy as np
import polars
import pyarrow.parquet
import pytest
from prov.model import ProvDocument

from provml_hpc import vocabulary
from provml_hpc.assembly.graph import ABSENT, Graph, SampleTable
from provml_hpc.storage import reader
from provml_tools import cli
from provml_tools.export import FORMATS, crate, parquet
from provml_tools.export.document import WRITERS, document_of
from provml_tools.query import Engine, ask
from tests.offline import graphs
from tests.offline import query_fixtures as made
from tests.offline.crates import checker
from tests.offline.test_store import write

URN = "urn:uuid:"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [write(graph, folder) for graph in made.jobs()]


def export(file: Path, form: str, out: Path, *more: str) -> Path:
    assert cli.main(["export", str(file), "--to", form, "-o", str(out), *more]) == 0
    return out


@pytest.mark.parametrize("form", sorted(WRITERS))
@pytest.mark.parametrize("job", [0, 1, 2])
def test_documents_of_prov_come_back_equal(
    files: list[Path], tmp_path: Path, form: str, job: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out = export(files[job], form, tmp_path / "out")
    back = ProvDocument.deserialize(str(out), format=WRITERS[form])
    assert back == document_of(made.jobs()[job])
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "samples" in told.err


def test_every_record_and_relation_is_in_the_document() -> None:
    graph = made.learning()
    document = document_of(graph)
    records = {str(record.identifier.uri) for record in document.records if record.identifier is not None}
    assert records == {URN + uuid for table in graph.nodes.values() for uuid in table.columns["uuid"]}
    for name, kind in (("used", "Usage"), ("wasGeneratedBy", "Generation"), ("specializationOf", "Specialization")):
        found = [one for one in document.records if type(one).__name__ == f"Prov{kind}"]
        assert len(found) == len(graph.relations[name])
    [training] = [one for one in document.records if one.label == "trial-0"]
    said = {str(name): str(value) for name, value in training.attributes}
    assert said["provml:startNs"] == str(made.MONDAY + 2 * made.DAY + made.SECOND)
    assert said["prov:startTime"].startswith("2025-10-11 08:53:21")
    assert "dcterms:isPartOf" in said


def test_nanoseconds_and_plans_and_roles_are_kept() -> None:
    maker = graphs.GraphMaker()
    run = maker.node("WorkflowExecution", label="r", start_ns=graphs.NOON)
    plan = maker.node("Workflow", label="the plan")
    who = maker.node("Persona", label="Ada")
    maker.relate("wasAssociatedWith", run, who, plan=plan, role="curator")
    data = maker.node("Dataset", label="d", modified_ns=graphs.NOON)
    maker.relate("used", run, data, time_ns=graphs.NOON, role="raw")
    text = document_of(maker.graph()).get_provn()
    assert text.count(str(graphs.NOON)) == 3
    assert 'prov:role="curator"' in text
    assert 'prov:role="raw"' in text
    assert f"uuid:{maker.graph().nodes['Workflow'].columns['uuid'][0]}, [prov:role" in text


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_hostile_texts_come_back(form: str, tmp_path: Path) -> None:
    maker = graphs.GraphMaker()
    hostile = "a \"b\" <c> & 'd' \\e\n\t%% ]]> 日本 \u2028 {$}"
    maker.node("Dataset", label=hostile, path="x\x00\x07\x1fy")
    maker.node("LearningHyperparameterValue", label="v", value=hostile, value_type="text")
    maker.node("LearningHyperparameterValue", label="n", value="nan", value_type="real")
    maker.node("LearningHyperparameterValue", label="i", value="123456789012345678901234567890", value_type="integer")
    maker.node("LearningHyperparameterValue", label="t", value="true", value_type="boolean")
    file = write(maker.graph(), tmp_path)
    back = ProvDocument.deserialize(str(export(file, form, tmp_path / "out")), format=WRITERS[form])
    [data] = [one for one in back.records if one.label == hostile]
    assert "x\ufffd\ufffd\ufffdy" in {str(value) for _, value in data.attributes}
    values = [str(value) for one in back.records for name, value in one.attributes if str(name) == "mls:hasValue"]
    assert hostile in values
    assert any("123456789012345678901234567890" in value for value in values)


@pytest.fixture
def validate(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a check of crates that needs no network."""
    return checker(monkeypatch)


@pytest.mark.parametrize("job", [0, 2])
def test_a_crate_is_valid(files: list[Path], tmp_path: Path, validate: Any, job: int) -> None:
    folder = export(
        files[job], "crate", tmp_path / "crate", "--license", "https://creativecommons.org/licenses/by/4.0/"
    )
    assert validate(folder, "REQUIRED") == []


def test_any_name_of_a_file_is_an_iri_in_its_crate(files: list[Path], tmp_path: Path, validate: Any) -> None:
    # The names within a crate: of its own folder nothing is said there. The validator fails where that has a space.
    file = tmp_path / "F3 faciès 50%#1?.h5"
    file.write_bytes(files[0].read_bytes())
    folder = export(file, "crate", tmp_path / "crate", "--license", "https://creativecommons.org/licenses/by/4.0/")
    assert validate(folder, "REQUIRED") == []
    said = json.loads((folder / "ro-crate-metadata.json").read_text())["@graph"]
    [name] = [one["@id"] for one in said if one["@type"] == "File"]
    assert name == quote(file.name)
    assert (folder / unquote(name)).is_file()


def test_a_crate_without_what_it_must_have_is_not(files: list[Path], tmp_path: Path, validate: Any) -> None:
    folder = export(files[0], "crate", tmp_path / "crate")
    place = folder / "ro-crate-metadata.json"
    said = json.loads(place.read_text())
    for one in said["@graph"]:
        one.pop("instrument", None)
    place.write_text(json.dumps(said))
    assert any("instrument" in issue for issue in validate(folder, "REQUIRED"))


def test_what_a_crate_says(files: list[Path], tmp_path: Path) -> None:
    folder = export(files[2], "crate", tmp_path / "crate")
    assert (folder / files[2].name).read_bytes() == files[2].read_bytes()
    said = {one["@id"]: one for one in json.loads((folder / "ro-crate-metadata.json").read_text())["@graph"]}
    assert said["ro-crate-metadata.json"]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert said["./"]["conformsTo"] == {"@id": crate.PROFILE}
    assert said["./"]["license"] == {"@id": crate.NO_LICENSE}
    actions = {one["name"]: one for one in said.values() if one["@type"] == "CreateAction"}
    assert set(actions) == {"facies-unet", "trial-0", "trial-1", "evaluation"} | {"validation"}
    trial = actions["trial-0"]
    assert {said[one["@id"]]["name"] for one in _list(trial["object"])} == {"tiles.h5", "lr"}
    assert {said[one["@id"]]["name"] for one in _list(trial["result"])} == {"unet-0.npz", "loss"}
    assert said[_list(trial["agent"])[0]["@id"]]["name"] == "cleo"
    assert trial["startTime"] == "2025-10-11T08:53:21.000+00:00"
    [tiles] = [one for one in said.values() if one.get("name") == "tiles.h5"]
    assert tiles["sha256"] == made.learning().nodes["Content"].columns["digest"][0]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_parquet_holds_all_tables_and_samples(files: list[Path], tmp_path: Path) -> None:
    folder = export(files[2], "parquet", tmp_path / "tables")
    with reader.open(files[2]) as file:
        graph = file.graph
        for group, tables in (("records", graph.nodes), ("relations", graph.relations)):
            assert {one.stem for one in (folder / group).iterdir()} == set(tables)
            for name, table in tables.items():
                found = pyarrow.parquet.read_table(folder / group / f"{name}.parquet")
                assert found.num_rows == len(table)
                assert set(found.column_names) == {"run", *table.columns}
                assert set(found["run"].to_pylist()) == {graph.run.uuid}
                for column, values in table.columns.items():
                    back = found[column].to_pylist()
                    expected = [
                        None if one in ("", "absent", ABSENT) or one != one else one
                        for one in (values if isinstance(values, list) else values.tolist())
                    ]
                    assert back == expected, (name, column)
        places = sorted((folder / "samples").iterdir())
        assert len(places) == len(graph.samples) == 2
        whole = pyarrow.parquet.read_table(places[0])
        rows = graph.samples[0].read(0, graph.samples[0].count)
        for column, values in rows.items():
            assert whole[column].to_pylist() == values.tolist()
        assert set(whole["activity"].to_pylist()) == {graph.samples[0].activity}


def test_duckdb_reads_parquet_and_agrees_with_the_queries(files: list[Path], tmp_path: Path) -> None:
    folder = export(files[2], "parquet", tmp_path / "tables")
    rows = duckdb.sql(
        f"""SELECT t.label, p.label, p.value FROM '{folder}/relations/used.parquet' u
        JOIN '{folder}/records/TrainingExecution.parquet' t ON u.subject = t.id
        JOIN '{folder}/records/LearningHyperparameterValue.parquet' p ON u.object = p.id ORDER BY ALL"""
    ).fetchall()
    assert rows == [("trial-0", "lr", "0.1"), ("trial-1", "lr", "0.01")]
    [(count, mean)] = duckdb.sql(
        f"SELECT count(*), avg(grad_norm) FROM read_parquet('{folder}/samples/*.parquet', union_by_name=true)"
    ).fetchall()
    assert (count, mean) == (8, pytest.approx(0.5625))
    assert ask(Engine([made.learning()]), "training-progress").rows


def test_polars_reads_every_table_and_times_to_the_nanosecond(files: list[Path], tmp_path: Path) -> None:
    folder = export(files[2], "parquet", tmp_path / "tables")
    graph = made.learning()
    for place in folder.rglob("*.parquet"):
        assert polars.read_parquet(place)["run"].unique().to_list() == [graph.run.uuid], place
    trainings = polars.scan_parquet(folder / "records" / "TrainingExecution.parquet")
    samples = polars.scan_parquet(folder / "samples" / "*.parquet")
    joined = samples.join(trainings, left_on=["run", "activity"], right_on=["run", "id"])
    found = joined.group_by("label").agg(polars.len(), polars.col("grad_norm").mean()).sort("label").collect()
    expected = [
        (len(rows["grad_norm"]), float(rows["grad_norm"].mean()))
        for rows in (table.read(0, table.count) for table in graph.samples)
    ]
    assert found.drop("label").rows() == expected
    times = trainings.select(polars.from_epoch("start_ns", time_unit="ns")).collect()["start_ns"]
    assert (
        times.dt.timestamp("ns").to_list() == np.asarray(graph.nodes["TrainingExecution"].columns["start_ns"]).tolist()
    )


def test_samples_are_streamed_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS", 1000)
    asked: list[int] = []

    def read(start: int, stop: int) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
        asked.append(stop - start)
        numbers = np.arange(start, stop)
        fixed = dict.fromkeys(("rank", "attempt", "step", "time_ns"), numbers)
        values = np.where(numbers % 7 == 0, np.nan, numbers / 2)
        return {
            **fixed,
            "section": np.full(stop - start, ABSENT),
            "loss": values,
            "rank-2": numbers * 1.0,
            "run": values,
        }

    graph: Graph = made.learning()
    samples = SampleTable("a/b: c", 3, ("loss", "rank", "run"), 2500, read)
    graph.samples = [samples, SampleTable("a/b: c", 4, ("loss",), 0, lambda *_: {**read(0, 0)})]
    [first, second] = [one for one in parquet.write(graph, tmp_path) if one.parent.name == "samples"]
    assert (first.name, second.name) == ("a_b_c.parquet", "a_b_c-2.parquet")
    assert max(asked) == 1000
    found = pyarrow.parquet.ParquetFile(first)
    assert found.metadata.num_row_groups == 3
    table = found.read()
    assert table.column_names[-3:] == ["loss", "rank-2", "run-2"]
    assert table["section"].null_count == 2500
    losses = table["loss"].to_numpy()
    assert table["loss"].null_count == 0
    assert np.isnan(losses[::7]).all()
    assert losses[8] == 4.0


def test_no_folder_is_written_over(files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "thesis.tex").write_text("years of work")
    for form in ("crate", "parquet"):
        assert cli.main(["export", str(files[0]), "--to", form, "-o", str(tmp_path / "there")]) == 1
        assert "there already" in capsys.readouterr().err
    assert [one.name for one in tmp_path.rglob("*")] == ["there", "thesis.tex"]


def test_nothing_is_left_of_an_export_that_fails(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet._Writer, "_write_samples", fail)
    assert cli.main(["export", str(files[2]), "--to", "parquet", "-o", str(tmp_path / "out")]) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [["--to", "crate"], ["--to", "parquet", "-o", "-"], ["--to", "prov-n", "--license", "https://example.org/"]],
)
def test_wrong_calls(files: list[Path], arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(files[0]), *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_page_says_what_each_format_leaves_out() -> None:
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text("utf-8")
    for name in FORMATS:
        assert f"`{name}`" in page


def test_every_relation_of_the_vocabulary_has_a_place() -> None:
    maker = graphs.GraphMaker()
    for cls in vocabulary.CLASSES:
        maker.node(cls.name)
    nodes = {cls.name: at for at, cls in enumerate(vocabulary.CLASSES)}
    for relation in vocabulary.RELATIONS:
        maker.relate(relation.name, nodes[relation.domain[0]], nodes[relation.range[0]])
    text = document_of(maker.graph()).get_provn()
    for relation in vocabulary.RELATIONS:
        said = {"atLocation": "prov:location", "wasRevisionOf": "prov:Revision"}.get(relation.name)
        assert (said or relation.iri.removeprefix("prov:")) in text, relation.name
