"""The embedded store: what a pattern sees, how parameters are bound, what is said of wrong SPARQL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provml_hpc.errors import UsageError
from provml_tools.query import Engine, catalog, find, free
from provml_tools.query.answer import Answer
from provml_tools.query.engine import Iri
from provml_tools.query.named import literal
from tests.offline import query_fixtures as fixtures


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(fixtures.jobs())


def rows(engine: Engine, text: str) -> list[tuple[object, ...]]:
    answer = free(engine, text)
    assert isinstance(answer, Answer)
    return [tuple(row.values()) for row in answer.rows]


def test_what_several_files_say_counts_once(engine: Engine) -> None:
    assert rows(engine, 'SELECT (COUNT(*) AS ?n) { ?study a provml:Study ; rdfs:label "facies" }') == [(1,)]


def test_a_plain_pattern_joins_over_files(engine: Engine) -> None:
    found = rows(
        engine,
        """SELECT (COUNT(DISTINCT ?run) AS ?n) {
             ?data prov:specializationOf ?bytes . ?bytes a provml:Content .
             ?other prov:specializationOf ?bytes . FILTER(?data != ?other)
             { ?run prov:used ?data } UNION { ?data prov:wasGeneratedBy ?run } }""",
    )
    # Two cleaned scans and the tiles were made by two activities and by split, and used by split, two trainings and an
    # evaluation; an empty file, which SPARQL does not leave out by itself, was made by a further one.
    assert found == [(7,)]


def test_each_run_is_a_named_graph(engine: Engine) -> None:
    assert rows(engine, "SELECT (COUNT(DISTINCT ?g) AS ?n) { GRAPH ?g { ?run a provml:WorkflowExecution } }") == [(3,)]
    assert rows(engine, "SELECT (COUNT(DISTINCT ?g) AS ?n) { GRAPH ?g { ?s a provml:Study } ?g a prov:Bundle }") == [
        (3,)
    ]


def test_all_forms_of_query_are_answered(engine: Engine) -> None:
    assert free(engine, "ASK { ?m a provml:Model }") is True
    assert free(engine, "ASK { ?m a provml:Nothing }") is False
    built = free(engine, "CONSTRUCT { ?m rdfs:seeAlso ?m } WHERE { ?m a provml:Model ; prov:wasGeneratedBy ?any }")
    assert isinstance(built, Answer)
    assert built.columns == ["subject", "predicate", "object"]
    assert len(built.rows) == 2
    model = rows(engine, 'SELECT ?m { ?m rdfs:label "unet-0.npz" }')[0][0]
    assert isinstance(model, Iri)
    described = free(engine, f"DESCRIBE <{model}>")
    assert isinstance(described, Answer)
    assert {row["subject"] for row in described.rows} >= {model}


def test_values_come_with_their_types(engine: Engine) -> None:
    found = rows(engine, 'SELECT ?v { ?p rdfs:label "tile_size" . ?p mls:hasValue|prov:value ?v }')
    assert found == [(64,)]
    assert rows(engine, "SELECT ?a ?b ?c { BIND(1.5 AS ?a) BIND(true AS ?b) OPTIONAL { ?c a provml:No } }") == [
        (1.5, True, None)
    ]


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("SELECT * {\n ?s foo:bar ?o }", "line 2, column", "unknown prefix"),
        ("SELEC ?s { ?s ?p ?o }", "line 1, column", ""),
        ("INSERT DATA { <urn:a> <urn:b> 1 }", "line 1, column", "only SELECT, ASK, CONSTRUCT and DESCRIBE"),
        ("", "line 1, column", "at its end"),
    ],
)
def test_wrong_sparql_is_told_with_its_place_in_one_line(engine: Engine, text: str, place: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        free(engine, text)
    message = str(caught.value)
    assert place in message
    assert what in message
    assert "\n" not in message


def test_an_error_while_a_query_runs_is_ours(engine: Engine) -> None:
    with pytest.raises(Exception, match="could not be evaluated") as caught:
        rows(engine, "SELECT * { SERVICE <http://127.0.0.1:9/nothing> { ?s ?p ?o } }")
    assert type(caught.value).__module__ == "provml_hpc.errors"


@given(st.text())
def test_no_text_can_close_the_literal_that_it_is_bound_in(text: str) -> None:
    store = Engine([])
    found = store.select(f"SELECT ?x {{ VALUES ?x {{ {literal(text)} }} }}")
    # What is no Unicode text, lone surrogates, cannot come out again; everything else does.
    assert [row["x"] for row in found] == [text.encode("utf-8", "replace").decode()]


def test_a_hostile_parameter_finds_nothing_and_breaks_nothing(engine: Engine) -> None:
    hostile = 'facies" } } INSERT DATA { <urn:a> <urn:b> <urn:c> } #\n\\'
    query = find("compare-trainings").bind({"study": hostile})
    assert [row for row in engine.select(query) if row["kind"] == "training"] == []


@pytest.mark.parametrize("name", sorted(catalog()))
def test_every_named_query_is_documented_and_runs_as_it_is(engine: Engine, name: str) -> None:
    query = find(name)
    assert query.title
    assert query.question
    assert query.then
    assert query.text.startswith("# title: ")
    rows = engine.select(query.text)
    # The jobs tell nothing of single ranks.
    assert bool(rows) == (name != "stragglers")
    for parameter in query.parameters.values():
        assert parameter.comment
        if parameter.variable:
            assert f"VALUES ?{parameter.variable} {{ UNDEF }}" in query.text


def test_an_unknown_query_is_answered_with_the_names() -> None:
    with pytest.raises(UsageError, match=r"Did you mean model-lineage\?.*compare-trainings"):
        find("model-linage")


def test_an_unknown_parameter_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"has no --model.*--study"):
        find("compare-trainings").bind({"model": "x"})


def test_every_literal_of_a_named_query_is_a_term_of_the_conversion(engine: Engine) -> None:
    """A property that no conversion writes would make a query silently empty."""
    import re

    from provml_hpc.vocabulary import NAMESPACES, RELATIONS
    from provml_tools.query.named import part
    from provml_tools.rdf import provml_terms

    known = {f"provml:{name}" for name in provml_terms()} | {one.iri for one in RELATIONS}
    texts = [query.text for query in catalog().values()]
    texts += [part(name) for name in ("steps", "things", "facts", "people", "measures", "code")]
    assert NAMESPACES["provml"] in texts[0]
    # Summaries of samples by section are made for the query only.
    helpers = {"provml:mean"}
    for text in texts:
        code = re.sub(r"(?m)#[^\n>]*$", "", text)
        for term in re.findall(r"provml:\w+", code):
            assert term in known | helpers, term
