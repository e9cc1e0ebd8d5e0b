"""The store on disk: one graph a run, replaced as a whole, and questions to it answered as by the files."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyoxigraph
import pytest

from provml_hpc.assembly.graph import Graph
from provml_hpc.errors import FileBusyError, FileMissingError, UsageError
from provml_hpc.storage.log_format import COMMIT_ROW
from provml_hpc.storage.tables import write_file
from provml_tools import cli
from provml_tools.query import Engine, ask, catalog, free
from provml_tools.rdf import quads, statements
from provml_tools.store import RunStore, asking
from provml_tools.store.description import describe, graph_iri
from tests.offline import query_fixtures as made
from tests.offline.graphs import sampled_training


def write(graph: Graph, folder: Path) -> Path:
    """Write the closed file of a graph."""
    path = folder / f"{graph.run.name}.h5"
    path.unlink(missing_ok=True)
    write_file(path, graph, np.zeros(0, COMMIT_ROW))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs of three")
    return [write(graph, folder) for graph in made.jobs()]


@pytest.fixture(scope="module")
def store(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "runs.store"
    assert cli.main(["load", str(path), *map(str, files)]) == 0
    return path


def content(path: Path) -> set[Any]:
    with RunStore(path) as opened:
        return set(opened.store)


def canonical(quads_: Any) -> set[Any]:
    through = pyoxigraph.Store()
    through.extend(quads_)
    return set(through)


def said_by(engine: Engine, name: str) -> tuple[list[str], list[dict[str, Any]], list[str]]:
    found = ask(engine, name)
    return found.columns, found.rows, found.notes


@pytest.mark.parametrize("name", sorted(catalog()))
def test_every_question_is_answered_as_by_the_files(store: Path, name: str) -> None:
    with asking(store) as engine:
        found = said_by(engine, name)
        assert engine.notes() == []
    assert found == said_by(Engine(made.jobs()), name)


def test_samples_come_from_the_files_and_the_store_stays_as_it_is(store: Path) -> None:
    before = content(store)
    with asking(store) as engine:
        rows = ask(engine, "training-progress").rows
    assert any(value is not None for row in rows for name, value in row.items() if name.endswith(" mean"))
    assert content(store) == before


def test_what_a_training_cost_comes_from_the_telemetry_in_the_files(tmp_path: Path) -> None:
    file = write(sampled_training(), tmp_path)
    assert cli.main(["load", str(tmp_path / "runs.store"), str(file)]) == 0
    with asking(tmp_path / "runs.store") as engine:
        found = said_by(engine, "cost")
    assert found[1][0]["GPU hours"] > 0
    assert found[1][0]["energy Wh"] > 0
    assert found == said_by(Engine([sampled_training()]), "cost")


def test_a_plain_pattern_sees_each_statement_once_and_graph_sees_each_run(store: Path) -> None:
    graphs = made.jobs()
    merged = {quad.triple for graph in graphs for quad in quads(graph)}
    with asking(store) as engine:
        text = "SELECT (COUNT(*) AS ?n) { ?s ?p ?o FILTER(?p != prov:atLocation && ?o != prov:Location) }"
        count = free(engine, text)
        each = free(engine, "SELECT ?g (COUNT(*) AS ?n) { GRAPH ?g { ?s ?p ?o } } GROUP BY ?g")
    assert not isinstance(count, bool)
    assert not isinstance(each, bool)
    assert count.rows[0]["n"] == len(merged)
    sizes = {
        graph_iri(graph): sum(quad.graph_name != pyoxigraph.DefaultGraph() for quad in quads(graph)) for graph in graphs
    }
    assert {row["g"]: row["n"] for row in each.rows} == sizes


def test_loading_again_changes_nothing(store: Path, files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = content(store)
    assert cli.main(["load", str(store), *map(str, files)]) == 0
    assert capsys.readouterr().out == "3 unchanged\n"
    assert content(store) == before


def later(graph: Graph) -> Graph:
    """The same run a second later, with another end and one activity less to tell of."""
    graph.run.committed_ns += made.SECOND
    table = graph.nodes["TrainingExecution"]
    table.columns["end_ns"] = np.asarray(table.columns["end_ns"]) + made.SECOND
    del graph.relations["hasSetting"]
    return graph


def test_a_person_sees_files_and_bytes_go_by(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert cli.main(["load", str(tmp_path / "runs.store"), *map(str, files)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{len(files)} loaded\n"
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.err)
    assert f"{len(files)}/{len(files)}" in shown
    assert f"loading {files[-1].name}" in shown
    assert re.search(r"\d+ MB", shown)
    # The bar is gone when the work is done.
    assert said.err.rstrip().endswith("\x1b[2K")


def test_a_later_version_replaces_the_graph_and_the_description(tmp_path: Path) -> None:
    graphs = made.jobs()
    anew, again = tmp_path / "anew", tmp_path / "again"
    file = tmp_path / "a.h5"
    with RunStore(again, write=True) as opened:
        assert [opened.load(graph, file) for graph in graphs] == ["loaded"] * 3
        assert opened.load(later(made.learning()), file) == "replaced"
    with RunStore(anew, write=True) as opened:
        for graph in (*graphs[:2], later(made.learning())):
            opened.load(graph, file)
    assert content(again) == content(anew)


def test_an_older_version_does_not_replace_a_later_one(
    tmp_path: Path, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with RunStore(tmp_path / "store", write=True) as opened:
        opened.load(later(made.learning()), tmp_path / "later.h5")
    before = content(tmp_path / "store")
    assert cli.main(["load", str(tmp_path / "store"), str(files[2])]) == 0
    told = capsys.readouterr()
    assert told.out == "1 older\n"
    assert "later version" in told.err
    assert content(tmp_path / "store") == before


def test_another_converter_or_place_leaves_nothing_of_the_old_description(tmp_path: Path) -> None:
    graph = made.curation()
    with RunStore(tmp_path / "store", write=True) as opened:
        opened.load(graph, tmp_path / "here.h5")
        assert opened.load(graph, tmp_path / "there.h5") == "replaced"
        [run] = opened.runs()
        assert run.file == tmp_path / "there.h5"
        assert not any("/here.h5" in str(quad) for quad in opened.store)
        said = canonical(pyoxigraph.parse(describe(graph, tmp_path / "there.h5"), pyoxigraph.RdfFormat.N_TRIPLES))
        assert said <= set(opened.store)


@pytest.mark.parametrize("broken_at", ["_drop_stale", "first", "second"])
def test_a_load_that_breaks_off_is_told_and_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_at: str
) -> None:
    path, file = tmp_path / "store", tmp_path / "a.h5"
    with RunStore(path, write=True) as opened:
        for graph in made.jobs():
            opened.load(graph, file)
        expected = later(made.learning())
        calls = 0

        def stop(*_: Any) -> None:
            nonlocal calls
            calls += 1
            if broken_at != "second" or calls == 2:
                raise KeyboardInterrupt
            original(*_)

        original = opened._bulk
        with monkeypatch.context() as patch:
            patch.setattr(opened, "_drop_stale" if broken_at == "_drop_stale" else "_bulk", stop)
            with pytest.raises(KeyboardInterrupt):
                opened.load(expected, file)
        assert opened.unfinished() == 1
        merge = {(q.subject, q.predicate, q.object) for q in opened.store if q.graph_name == pyoxigraph.DefaultGraph()}
        others = {(q.subject, q.predicate, q.object) for graph in made.jobs()[:2] for q in canonical(quads(graph))}
        assert others <= merge, "what other runs say is not touched"
    with asking(path) as engine:
        assert any("load" in one for one in engine.notes())
    with RunStore(path, write=True) as opened:
        opened.load(later(made.learning()), file)
        assert opened.unfinished() == 0
    with RunStore(tmp_path / "anew", write=True) as opened:
        for graph in (*made.jobs()[:2], later(made.learning())):
            opened.load(graph, file)
    assert content(path) == content(tmp_path / "anew")


def test_the_description_is_what_a_conversion_says_first() -> None:
    graph = made.curation()
    first, *rest = statements(graph)
    assert f"<{graph_iri(graph)}> " in first
    lines = [line for text in rest for line in text.splitlines()]
    assert all(line.endswith(f"<{graph_iri(graph)}> .") for line in lines)


def test_files_that_moved_are_told(store: Path, tmp_path: Path) -> None:
    with RunStore(tmp_path / "store", write=True) as opened:
        for graph in made.jobs():
            opened.load(graph, tmp_path / f"gone {graph.run.name}.h5")
    with asking(tmp_path / "store") as engine:
        ask(engine, "training-progress")
        [note] = engine.notes()
    assert "samples were left out" in note
    assert "gone facies-unet.h5" in note


def test_a_file_of_another_run_in_the_same_place_is_not_taken_for_it(tmp_path: Path) -> None:
    path = write(made.preparation(), tmp_path)
    with RunStore(tmp_path / "store", write=True) as opened:
        opened.load(made.learning(), path)
    with asking(tmp_path / "store") as engine:
        assert len(engine.graphs) == 0
        assert engine.files.missing == [str(path)]


def test_the_command_answers_from_the_store(store: Path, files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["query", *map(str, files), "compare-trainings", "--format", "csv"]) == 0
    expected = capsys.readouterr()
    assert cli.main(["query", "--store", str(store), "compare-trainings", "--format", "csv"]) == 0
    assert capsys.readouterr() == expected
    assert cli.main(["query", "--store", str(store), "model-lineage"]) == 0
    assert re.search(r"a\.dat", capsys.readouterr().out)
    assert cli.main(["query", "--store", str(store), "--sparql", "ASK { ?s a provml:Model }"]) == 0
    assert capsys.readouterr().out == "yes\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["query", "--store", "nowhere", "who"], 1, "provml load nowhere"),
        (["query", "--store", "nowhere", "a.h5", "compare-trainings"], 2, "Either files or a store"),
        (["query", "--store", "a", "--endpoint", "http://localhost/", "compare-trainings"], 2, "not allowed with"),
        (["load", "runs.store"], 2, "No file is given"),
        (["load", "a.h5", "b.h5"], 2, "Name the store before the files"),
        (["load", "runs.store", "missing.h5"], 1, "missing.h5"),
    ],
)
def test_wrong_calls_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if "who" in arguments and "who" not in catalog():
        arguments = [one if one != "who" else "model-lineage" for one in arguments]
    try:
        got = cli.main(arguments)
    except SystemExit as ended:
        got = ended.code if isinstance(ended.code, int) else 1
    told = capsys.readouterr().err
    assert (got, words in told, told.count("\n")) == (code, True, 1), told
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_a_folder_with_other_things_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="other things"):
        RunStore(tmp_path, write=True)
    with pytest.raises(FileMissingError):
        RunStore(tmp_path)


def test_one_loads_and_many_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provml_tools.store.embedded._PATIENCE", 0.1)
    path = tmp_path / "store"
    with RunStore(path, write=True) as opened:
        opened.load(made.curation(), tmp_path / "a.h5")
        with pytest.raises(FileBusyError, match="another process"):
            RunStore(path)
    with RunStore(path), RunStore(path), pytest.raises(FileBusyError, match="in use"):
        RunStore(path, write=True)


def test_the_place_of_a_file_may_have_any_name(tmp_path: Path) -> None:
    odd = tmp_path / 'a <b> "c" %20 é.h5'
    with RunStore(tmp_path / "store", write=True) as opened:
        opened.load(made.curation(), odd)
        assert [run.file for run in opened.runs()] == [odd]
        assert dataclasses.replace(opened.runs()[0], file=None).name == "curate-scans"
