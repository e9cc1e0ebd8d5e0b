"""The five formats: the same graph in each, for strict parsers, in the same bytes each time."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from collections import Counter

import pyoxigraph
import pytest
import rdflib
from hypothesis import given
from hypothesis import strategies as st
from pyoxigraph import DefaultGraph, Literal, NamedNode, Quad, RdfFormat

from provml_hpc.assembly.graph import Graph
from provml_hpc.errors import UsageError
from provml_hpc.vocabulary import expand
from provml_tools.rdf import FORMATS, convert, nquads, quads
from provml_tools.rdf.terms import escape
from tests.offline.graphs import HOSTILE, OTHER_RUN, GraphMaker, graphs, learning_graph

STRICT = {
    "nquads": RdfFormat.N_QUADS,
    "ntriples": RdfFormat.N_TRIPLES,
    "turtle": RdfFormat.TURTLE,
    "trig": RdfFormat.TRIG,
    "jsonld": RdfFormat.JSON_LD,
}
RDFLIB = {"nquads": "nquads", "ntriples": "nt", "turtle": "turtle", "trig": "trig", "jsonld": "json-ld"}


def written(format: str, *runs: Graph, base: str | None = None, samples: bool = False) -> bytes:
    stream = io.BytesIO()
    convert(runs, stream, format, base, samples)
    return stream.getvalue()


def read(data: bytes, format: str) -> Counter[Quad]:
    return Counter(pyoxigraph.parse(data, STRICT[format]))


def unnamed(found: Counter[Quad]) -> set[Quad]:
    return {Quad(*quad.triple, DefaultGraph()) for quad in found}


@pytest.mark.parametrize("samples", [False, True])
@pytest.mark.parametrize("base", [None, "https://example.org/runs/"])
def test_all_formats_hold_the_same_graph(base: str | None, samples: bool) -> None:
    runs = (learning_graph(), learning_graph(OTHER_RUN))
    expected = read(written("nquads", *runs, base=base, samples=samples), "nquads")
    assert len({quad.graph_name for quad in expected}) == 3
    for format in FORMATS:
        found = read(written(format, *runs, base=base, samples=samples), format)
        if format in ("ntriples", "turtle"):
            assert set(found) == unnamed(expected)
        else:
            assert set(found) == set(expected)


@given(st.lists(graphs(), max_size=2), st.booleans())
def test_all_formats_hold_the_same_graph_whatever_it_says(runs: list[Graph], samples: bool) -> None:
    expected = read(written("nquads", *runs, samples=samples), "nquads")
    for format in FORMATS:
        data = written(format, *runs, samples=samples)
        assert set(read(data, format)) == (unnamed(expected) if format in ("ntriples", "turtle") else set(expected))
        assert written(format, *runs, samples=samples) == data


def test_a_statement_of_one_run_is_written_once() -> None:
    assert set(read(written("nquads", learning_graph(), samples=True), "nquads").values()) == {1}


@pytest.mark.parametrize("format", FORMATS)
def test_rdflib_accepts_every_format(format: str) -> None:
    expected = read(written("nquads", learning_graph(), samples=True), "nquads")
    data = written(format, learning_graph(), samples=True)
    with warnings.catch_warnings():
        # rdflib warns of its own use of its own older parts.
        warnings.simplefilter("ignore", DeprecationWarning)
        found = rdflib.Dataset(default_union=True)
        found.parse(data=data, format=RDFLIB[format])
        triples = {(str(s), str(p)) for s, p, _ in found.triples((None, None, None))}
        ill_typed = [
            o for _, _, o in found.triples((None, None, None)) if isinstance(o, rdflib.Literal) and o.ill_typed
        ]
    assert triples == {(quad.subject.value, quad.predicate.value) for quad in expected}
    assert ill_typed == []


@pytest.mark.parametrize("format", FORMATS)
def test_two_processes_write_the_same_bytes(format: str) -> None:
    script = (
        "import sys; from tests.offline.graphs import learning_graph; from provml_tools.rdf import convert\n"
        f"convert([learning_graph()], sys.stdout.buffer, {format!r}, samples=True)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": salt},
            capture_output=True, check=True, timeout=60,
        ).stdout
        for salt in ("1", "2")
    }  # fmt: skip
    assert outputs == {written(format, learning_graph(), samples=True)}


def test_turtle_groups_what_is_said_of_one_subject() -> None:
    lines = written("turtle", learning_graph()).decode().splitlines()
    starts = [line.split()[0] for line in lines if line.startswith("<")]
    assert len(set(starts)) == len(starts)
    assert lines.count("@prefix provml: <https://w3id.org/provml-hpc/ns#> .") == 1


def test_json_ld_needs_no_context_from_elsewhere() -> None:
    assert b"@context" not in written("jsonld", learning_graph())


def test_a_store_loads_the_stream_in_bulk() -> None:
    store = pyoxigraph.Store()
    store.bulk_load(nquads([learning_graph(), learning_graph(OTHER_RUN)]), RdfFormat.N_QUADS)
    assert len(list(store.named_graphs())) == 2
    # Without the objects: a store keeps the value of a number, not its spelling.
    expected = {*quads(learning_graph()), *quads(learning_graph(OTHER_RUN))}
    assert len(store) == len(expected)
    assert {(quad.subject, quad.predicate) for quad in store} == {(quad.subject, quad.predicate) for quad in expected}


@pytest.mark.parametrize("size", [1, 7, 8192, -1])
def test_the_stream_gives_the_same_bytes_however_it_is_read(size: int) -> None:
    stream, parts = nquads([learning_graph()]), []
    while part := stream.read(size):
        parts.append(part)
    assert b"".join(parts) == written("nquads", learning_graph())


def test_no_graphs_make_an_empty_file() -> None:
    for format in FORMATS:
        assert read(written(format), format) == Counter()


def test_a_run_of_which_nothing_is_known_yet_is_described() -> None:
    found = read(written("nquads", GraphMaker().graph()), "nquads")
    assert any(quad.object.value == expand("prov:Bundle") for quad in found)
    assert all(isinstance(quad.graph_name, DefaultGraph) for quad in found)


def test_an_unknown_format_is_refused_before_anything_is_written() -> None:
    stream = io.BytesIO()
    with pytest.raises(UsageError, match="Take one of: nquads, ntriples, turtle, trig, jsonld"):
        convert([learning_graph()], stream, "rdfxml")
    with pytest.raises(UsageError):
        convert([learning_graph()], stream, "nquads", base="here")
    assert stream.getvalue() == b""


def test_without_pyoxigraph_the_line_formats_work_and_the_others_say_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyoxigraph", None)
    assert written("nquads", learning_graph())
    assert written("ntriples", learning_graph())
    for format in ("turtle", "trig", "jsonld"):
        with pytest.raises(UsageError, match="pip install"):
            written(format, learning_graph())


def labels(format: str, *texts: str) -> list[str]:
    make = GraphMaker()
    for text in texts:
        make.node("AttributeValue", label="label", value=text, value_type="text")
    nodes = {f"urn:uuid:{uuid}": at for at, uuid in enumerate(make.graph().nodes["AttributeValue"].columns["uuid"])}
    found = [""] * len(texts)
    for quad in read(written(format, make.graph()), format):
        if quad.subject.value in nodes and quad.predicate.value == expand("prov:value"):
            assert isinstance(quad.object, Literal)
            assert quad.object.datatype == NamedNode(expand("xsd:string"))
            assert quad.object.language is None
            found[nodes[quad.subject.value]] = quad.object.value
    return found


@pytest.mark.parametrize("format", FORMATS)
def test_hostile_text_reads_back_as_it_was(format: str) -> None:
    assert labels(format, *HOSTILE) == list(HOSTILE)


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")), min_size=1))
def test_any_text_reads_back_as_it_was(texts: list[str]) -> None:
    for format in FORMATS:
        assert labels(format, *texts) == texts


@pytest.mark.parametrize("format", FORMATS)
def test_what_no_syntax_can_carry_is_replaced(format: str) -> None:
    assert labels(format, "a\0b", "\ud800", "\udfff\ud800x") == ["a\ufffdb", "\ufffd", "\ufffd\ufffdx"]


@given(st.text())
def test_an_escaped_text_is_one_line_for_everybody(text: str) -> None:
    assert len(f"x{escape(text)}x".splitlines()) == 1
    assert escape(text).isprintable() or all(c.isprintable() or ord(c) > 0x9F for c in escape(text))
    escape(text).encode()


@given(graphs())
def test_text_makes_no_statements(graph: Graph) -> None:
    lines = written("nquads", graph, samples=True).decode().split("\n")
    assert lines.pop() == ""
    assert sum(read("\n".join(lines).encode(), "nquads").values()) == len(lines)
    assert all(len(list(pyoxigraph.parse(line, RdfFormat.N_QUADS))) == 1 for line in lines)
