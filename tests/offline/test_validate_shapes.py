"""The shapes: as SPARQL they find what pySHACL finds with the published file, on whole runs and on spoiled ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import pyoxigraph as ox
import pytest
import rdflib
from hypothesis import given, settings
from hypothesis import strategies as st

from provml_hpc.assembly.graph import Graph
from provml_hpc.vocabulary import NAMESPACES, RELATIONS, expand
from provml_tools.cli import main
from provml_tools.ontology.rules import shapes
from provml_tools.ontology.shacl import SPACE
from provml_tools.rdf import convert, mapping, nquads
from provml_tools.validate import Report, validate_graph
from provml_tools.validate import shapes as shapes_level
from provml_tools.validate.nodes import Names, Nodes
from provml_tools.validate.shapes import broken
from tests.offline import reasoner
from tests.offline.graphs import GraphMaker, learning_graph
from tests.offline.test_ontology import everything
from tests.offline.test_validate_tables import crooked

PUBLISHED = reasoner.ROOT / "docs" / "ontology" / "shapes.ttl"
_SH = "http://www.w3.org/ns/shacl#"


def _store(graphs: Iterable[Graph]) -> ox.Store:
    store = ox.Store()
    store.bulk_load(nquads(graphs, samples=True), ox.RdfFormat.N_QUADS)
    return store


def _ours(store: ox.Store) -> set[tuple[str, str]]:
    """Return which nodes break a rule of which component."""
    return {(one.focus, one.query.component) for one in broken(store)}


@pytest.fixture(scope="module")
def shapes_graph() -> rdflib.Graph:
    """Return the published shapes."""
    return rdflib.Graph().parse(PUBLISHED)


def theirs(store: ox.Store, shapes_graph: rdflib.Graph) -> set[tuple[str, str]]:
    """Return the same as pySHACL finds it with the published shapes."""
    pyshacl = pytest.importorskip("pyshacl", reason="pySHACL is not installed: pip install pyshacl")
    text = BytesIO()
    ox.serialize((quad.triple for quad in store), text, format=ox.RdfFormat.N_TRIPLES)
    data = rdflib.Graph().parse(data=text.getvalue(), format="nt")
    _, report, _ = pyshacl.validate(data, shacl_graph=shapes_graph, advanced=False, inference="none")
    found = set()
    for result in report.subjects(rdflib.RDF.type, rdflib.URIRef(_SH + "ValidationResult")):
        component = str(report.value(result, rdflib.URIRef(_SH + "sourceConstraintComponent")))
        name = component.removeprefix(_SH).removesuffix("ConstraintComponent")
        name = name[:1].lower() + name[1:]
        focus = str(report.value(result, rdflib.URIRef(_SH + "focusNode")))
        # One of several classes is sh:or in SHACL.
        found.add((focus, {"or": "class"}.get(name, name)))
    return found


def test_the_published_shapes_are_shacl(shapes_graph: rdflib.Graph) -> None:
    declared = set(shapes_graph.subjects(rdflib.RDF.type, rdflib.URIRef(_SH + "NodeShape")))
    assert {str(one) for one in declared} == {SPACE + one.name for one in shapes()}
    pyshacl = pytest.importorskip("pyshacl", reason="pySHACL is not installed: pip install pyshacl")
    # Asks SHACL's own shapes of shapes too.
    pyshacl.validate(rdflib.Graph(), shacl_graph=shapes_graph, meta_shacl=True)


def test_every_relation_and_property_has_a_shape() -> None:
    of = {one.of for one in shapes()}
    assert {one.iri for one in RELATIONS} <= of
    text = PUBLISHED.read_text("utf-8")
    assert not re.findall(r"\bmls:(?:Experiment|Study)\b", text), "a plan is no process"


def test_whole_runs_have_no_findings(shapes_graph: rdflib.Graph) -> None:
    store = _store([small()])
    assert _ours(store) == set()
    assert theirs(store, shapes_graph) == set()


@pytest.mark.parametrize("graph", [learning_graph, everything])
def test_both_find_the_same_in_incomplete_graphs(graph: Any, shapes_graph: rdflib.Graph) -> None:
    store = _store([graph()])
    found = _ours(store)
    assert found
    assert found == theirs(store, shapes_graph)


def small() -> Graph:
    """Return a small job that has all it needs."""
    make = GraphMaker()
    uuid = make.info.uuid
    job = make.node("LearningExperimentExecution", uuid, label="job", start_ns=5, end_ns=50, phase="learning", run=uuid)
    training = make.node("TrainingExecution", label="training", start_ns=6, end_ns=40, outcome="completed", ranks="0")
    data = make.node("LearningDataset", label="tiles.h5", path="/tiles.h5", size=3, digest_state="whole")
    model = make.node("Model", label="unet.npz", step=3)
    measure = make.node("EvaluationMeasure", label="accuracy")
    score = make.node("ModelEvaluation", label="accuracy", value="0.5", value_type="real", time_ns=30)
    plan = make.node("Training", label="training")
    person = make.node("Persona", label="Ada", identifier="ada@example.org")
    content = make.node("Content", algorithm="sha256", digest="ab", size=3)
    series = make.node("MetricSeries", label="loss", count=2, minimum=0.5, maximum=1.0)
    make.relate("isPartOf", training, job)
    make.relate("used", training, data, role="training", time_ns=7, ranks="0")
    make.relate("hasInput", training, data)
    make.relate("wasGeneratedBy", model, training, time_ns=39)
    make.relate("wasGeneratedBy", score, training, time_ns=39)
    make.relate("wasGeneratedBy", series, training)
    make.relate("valueOf", series, measure)
    make.relate("specifiedBy", score, measure)
    make.relate("specializationOf", data, content)
    make.relate("wasAssociatedWith", training, person, plan=plan, role="scientist")
    make.sample(training, ("accuracy",), [])
    return make.graph()


def _node(store: ox.Store, cls: str) -> ox.NamedNode:
    kind = ox.NamedNode(expand(cls))
    found = [q.subject for q in store.quads_for_pattern(None, ox.NamedNode(expand("rdf:type")), kind, None)]
    assert found, cls
    node = found[0]
    assert isinstance(node, ox.NamedNode)
    return node


SPOILED: dict[str, tuple[str, str, str, str]] = {
    # The component that finds it; what is taken out and put into the graph of the small job, and where.
    "a step that is text": ("datatype", "?m provml:step ?s", '?m provml:step "3"', "?m provml:step ?s"),
    "two steps": ("maxCount", "", "?m provml:step 4", "?m provml:step ?s"),
    "a size below nothing": (
        "minInclusive", "?m provml:size ?s", "?m provml:size -1",
        "?m a provml:Content ; provml:size ?s",
    ),
    "an outcome that is none": ("in", "?m provml:outcome ?s", '?m provml:outcome "fine"', "?m provml:outcome ?s"),
    "an end before the start": (
        "lessThanOrEquals", "?m provml:endNs ?s", "?m provml:endNs 1",
        "?m a provml:TrainingExecution ; provml:endNs ?s",
    ),
    "a value that is a node": ("nodeKind", "?m mls:hasValue ?s", "?m mls:hasValue ?m", "?m mls:hasValue ?s"),
    "no value": ("minCount", "?m mls:hasValue ?s", "", "?m mls:hasValue ?s"),
    "a model as input": ("class", "", "?r mls:hasInput ?m", "?m a provml:Model . ?r a provml:TrainingExecution"),
    "a dataset as output": ("class", "", "?r mls:hasOutput ?m", "?m a provml:Dataset . ?r a provml:TrainingExecution"),
    "an input of the run itself": (
        "class", "", "?r mls:hasInput ?m",
        "?m a provml:Dataset . ?r a provml:LearningExperimentExecution",
    ),
    "a second generation": (
        "maxCount", "", "?m prov:wasGeneratedBy ?r",
        "?m a provml:Model . ?r a provml:LearningExperimentExecution",
    ),
    "bytes that were made": (
        "maxCount", "", "?m prov:wasGeneratedBy ?r",
        "?m a provml:Content . ?r a provml:TrainingExecution",
    ),
    "a usage of nothing": ("minCount", "?u prov:entity ?m", "", "?u a prov:Usage ; prov:entity ?m"),
    "a usage of two": ("maxCount", "", "?u prov:entity ?m", "?u a prov:Usage . ?m a provml:Model"),
    "a usage that nobody has": ("minCount", "?a prov:qualifiedUsage ?u", "", "?a prov:qualifiedUsage ?u"),
    "a plan that is a person": ("class", "", "?u prov:hadPlan ?p", "?u a prov:Association . ?p a provml:Persona"),
    "a role without a name": ("minCount", "?u rdfs:label ?p", "", "?u a prov:Role ; rdfs:label ?p"),
    "a nameless measure": ("minCount", "?u rdfs:label ?p", "", "?u a provml:EvaluationMeasure ; rdfs:label ?p"),
    "a part of a person": (
        "class", "", "?u dcterms:isPartOf ?p",
        "?u a provml:TrainingExecution . ?p a provml:Persona",
    ),
    "a part of a plan, of what ran": (
        "class", "", "?u dcterms:isPartOf ?p",
        "?u a provml:TrainingExecution . ?p a provml:Training",
    ),
    "a value of a model's knob by the name of a measure": (
        "class", "", "?u a provml:ModelHyperparameterValue ; mls:specifiedBy ?p",
        "?u a provml:ModelEvaluation . ?p a provml:EvaluationMeasure",
    ),
    "a step of a person": ("class", "", "?p provml:step 1", "?p a provml:Persona"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_both_find_a_fault(name: str, shapes_graph: rdflib.Graph) -> None:
    component, out, into, where = SPOILED[name]
    parts = {"DELETE": out, "INSERT": into, "WHERE": where}
    update = " ".join(f"{word} {{ GRAPH ?g {{ {text} }} }}" for word, text in parts.items())
    store = _store([small()])
    before = set(store)
    store.update("".join(f"PREFIX {key}: <{iri}>\n" for key, iri in NAMESPACES.items()) + update)
    assert set(store) != before
    found = _ours(store)
    assert component in {one for _, one in found}
    assert found == theirs(store, shapes_graph)


def test_samples_have_a_shape_too() -> None:
    make = GraphMaker()
    uuid = make.info.uuid
    make.node("LearningExperimentExecution", uuid, label="job", start_ns=5, end_ns=50)
    graph = learning_graph()
    store = _store([graph])
    sample = _node(store, "provml:Sample")
    assert not any(one.focus == sample.value for one in broken(store))
    value = ox.NamedNode(expand("prov:value"))
    for quad in list(store.quads_for_pattern(sample, value, None, None)):
        store.remove(quad)
    assert (sample.value, "minCount") in _ours(store)


def test_a_finding_of_a_file_names_the_record_and_the_rule() -> None:
    graph = small()
    graph.nodes["TrainingExecution"].columns["outcome"][0] = "fine"
    report = Report("test", ("shapes",))
    validate_graph(graph, report)
    [one] = report.findings
    assert one.constraint == "in provml:outcome"
    assert one.record.startswith("TrainingExecution 'training' <")
    assert one.message == "provml:outcome: at most one, xsd:string, one of completed, failed, open, left; it is fine"
    assert one.level == "shapes"


def _whole(graph: Graph) -> Counter[tuple[str, str, str]]:
    """Return what a graph breaks when all of it is asked at once, as findings tell it."""
    store = ox.Store()
    store.bulk_load(nquads([graph]), ox.RdfFormat.N_QUADS)
    names = Names([Nodes(graph)])
    uuid = "urn:uuid:"
    return Counter(
        (
            f"{one.query.component} {one.query.path}",
            names(one.focus.removeprefix(uuid)),
            names(one.value.removeprefix(uuid)) if one.value.startswith(uuid) else one.value,
        )
        for one in broken(store)
    )


def _in_parts(graph: Graph) -> Counter[tuple[str, str, str]]:
    return Counter(
        (one.constraint, one.record, one.message.partition("; it is ")[2]) for one in shapes_level.check(Nodes(graph))
    )


# A rule of at most one needs two rows together, so one row is no piece.
@pytest.mark.parametrize(("graph", "rows"), [(learning_graph, 2), (learning_graph, 1024), (everything, 3)])
def test_parts_find_what_the_whole_finds(graph: Any, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes_level, "PART", 20_000)
    monkeypatch.setattr(mapping, "PIECE", rows)
    found = _in_parts(graph())
    assert found
    assert found == _whole(graph())


@settings(max_examples=25)
@given(crooked(), st.sampled_from([2, 3]))
def test_parts_of_any_graph_find_what_the_whole_finds(graph: Graph, rows: int) -> None:
    before = shapes_level.PART, mapping.PIECE
    shapes_level.PART, mapping.PIECE = 1, rows
    try:
        found = _in_parts(graph)
    finally:
        shapes_level.PART, mapping.PIECE = before
    assert found == _whole(graph)


def test_what_is_wrong_with_a_node_of_many_relations_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes_level, "PART", 1)
    monkeypatch.setattr(mapping, "PIECE", 2)
    make = GraphMaker()
    person = make.node("Persona", label="Ada", identifier="ada")
    for number in range(9):
        make.relate("used", person, make.node("Dataset", label=f"d{number}"), time_ns=5)
    graph = make.graph()
    found = _in_parts(graph)
    assert found == _whole(graph)
    assert [record for rule, record, _ in found if rule == "class prov:used"] == [f"Persona 'Ada' <{_uuid(graph)}>"]


def test_each_wrong_value_of_a_node_of_many_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes_level, "PART", 1)
    monkeypatch.setattr(mapping, "PIECE", 2)
    [(relation, pair), *_] = [(one, pair) for one in RELATIONS for pair in one.pairs]
    make = GraphMaker()
    focus = make.node(pair[0][0], label="focus")
    others = {name for _, names in relation.pairs for name in names} - set(pair[1])
    for _ in range(9):
        make.relate(relation.name, focus, make.node(sorted(others)[0], label="wrong"))
    graph = make.graph()
    found = _in_parts(graph)
    assert found == _whole(graph)
    assert sum(count for (rule, *_), count in found.items() if rule == f"class {relation.iri}") >= 9


def _uuid(graph: Graph) -> str:
    return str(graph.nodes["Persona"].columns["uuid"][0])


def test_the_command_runs_all_three_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    from provml_hpc.storage.tables import COMMIT_ROW, write_file

    path = tmp_path / "job.h5"
    write_file(path, small(), np.zeros(0, COMMIT_ROW))
    main(["validate", str(path)])
    assert "(format, prov, shapes; " in capsys.readouterr().out


def test_rdf_in_every_format_passes(shapes_graph: rdflib.Graph) -> None:
    for form in ("turtle", "trig", "jsonld"):
        stream = BytesIO()
        convert([small()], stream, form)
        store = ox.Store()
        known = {"turtle": ox.RdfFormat.TURTLE, "trig": ox.RdfFormat.TRIG, "jsonld": ox.RdfFormat.JSON_LD}
        store.bulk_load(stream.getvalue(), known[form])
        assert _ours(store) == set()
