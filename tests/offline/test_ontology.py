"""The published ontology: it is what the code says, it is OWL that holds together, and it finds the known mistakes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pyoxigraph as ox
import pytest

from provml_hpc import vocabulary
from provml_hpc.assembly.graph import Graph
from provml_hpc.vocabulary import CLASSES, NAMESPACES, RELATIONS, expand
from provml_tools import ontology
from provml_tools.ontology.owl import ANNOTATIONS, ATTESTED, OURS
from provml_tools.rdf import convert, provml_terms
from tests.offline import reasoner
from tests.offline.graphs import GraphMaker, learning_graph

FOLDER = reasoner.ROOT / "docs" / "ontology"
_TYPE = ox.NamedNode(expand("rdf:type"))
_COMMENT = ox.NamedNode(expand("rdfs:comment"))


def _said(name: str, predicate: str, triples: set[ox.Triple]) -> set[str]:
    subject, of = ox.NamedNode(expand(name)), ox.NamedNode(expand(predicate))
    return {str(t.object.value) for t in triples if t.subject == subject and t.predicate == of}  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def published() -> set[ox.Triple]:
    """Return what the published file says."""
    return reasoner.turtle(reasoner.OURS)


def test_the_published_files_are_what_the_code_writes(capsys: pytest.CaptureFixture[str]) -> None:
    assert ontology.main([str(FOLDER), "--check"]) == 0, capsys.readouterr().err


def test_a_stale_file_is_told_and_then_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ontology.main([str(tmp_path), "--check"]) == 1
    assert "out of date: python -m provml_tools.ontology" in capsys.readouterr().err
    assert ontology.main([str(tmp_path)]) == 0
    assert ontology.main([str(tmp_path), "--check"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == set(ontology.FILES)


def test_every_term_that_conversion_can_use_is_there(published: set[ox.Triple]) -> None:
    space = NAMESPACES["provml"]
    subjects = {t.subject.value for t in published if isinstance(t.subject, ox.NamedNode)}
    ours = {iri.removeprefix(space) for iri in subjects if iri.startswith(space)}
    assert ours == set(provml_terms())


def test_every_term_has_a_label_a_comment_and_an_origin(published: set[ox.Triple]) -> None:
    classes = {cls.name: cls for cls in CLASSES}
    for name in provml_terms():
        assert len(_said(f"provml:{name}", "rdfs:label", published)) == 1, name
        comments = _said(f"provml:{name}", "rdfs:comment", published)
        origin = classes[name].origin if name in classes else "ours"
        assert (OURS if origin == "ours" else ATTESTED) in comments, name
        assert comments - {OURS, ATTESTED}, name
        kinds = _said(f"provml:{name}", "rdf:type", published)
        if not name[0].isupper():
            assert _said(f"provml:{name}", "rdfs:domain", published), name
            assert kinds & {expand("owl:ObjectProperty"), expand("owl:DatatypeProperty")}
        else:
            assert kinds == {expand("owl:Class")}


def test_classes_are_below_those_of_the_vocabulary(published: set[ox.Triple]) -> None:
    for cls in CLASSES:
        name = f"provml:{cls.name}"
        above = _said(name, "rdfs:subClassOf", published)
        reached: set[str] = set()
        todo = list(above)
        while todo:
            one = todo.pop()
            reached.add(one)
            if one.startswith(NAMESPACES["provml"]):
                todo += _said("provml:" + one.removeprefix(NAMESPACES["provml"]), "rdfs:subClassOf", published)
        # prov:Plan, Collection and Person are below Entity and Agent by PROV-O itself.
        wanted = {expand(iri) for iri in (*cls.prov, *cls.mls)} - {expand("prov:Entity"), expand("prov:Agent")}
        assert wanted <= reached, cls.name
        assert {expand(iri) for iri in cls.close} == _said(name, "skos:closeMatch", published)
        # A plan is close to a process of ML-Schema, and never one.
        if "prov:Plan" in cls.prov or cls.name == "Study":
            assert not {expand(f"mls:{one}") for one in ("Study", "Experiment", "Run")} & reached


def test_nothing_is_said_of_the_terms_of_others_but_what_they_are(published: set[ox.Triple]) -> None:
    space = NAMESPACES["provml"]
    for triple in published:
        if isinstance(triple.subject, ox.NamedNode) and not triple.subject.value.startswith(space.rstrip("#")):
            assert triple.predicate == _TYPE, triple


def test_the_page_draws_every_class() -> None:
    page = (FOLDER / "index.md").read_text("utf-8")
    for cls in CLASSES:
        if not cls.abstract and cls.name not in ("Attempt", "RankExecution"):
            assert f"  class {cls.name}" in page, cls.name
    assert page.count("```mermaid") == 5


@reasoner.needs_reference
def test_every_term_of_others_exists(published: set[ox.Triple]) -> None:
    known = {
        t.subject.value
        for path in (reasoner.PROV_O, reasoner.ML_SCHEMA)
        for t in reasoner.turtle(path)
        if isinstance(t.subject, ox.NamedNode)
    }
    for triple in published:
        for term in (triple.subject, triple.object):
            if isinstance(term, ox.NamedNode) and term.value.startswith((NAMESPACES["prov"], NAMESPACES["mls"])):
                assert term.value in known | {NAMESPACES["prov"], NAMESPACES["mls"]}, term


def test_what_others_use_as_annotations_is_no_property_of_data_here() -> None:
    fields = [field for cls in CLASSES for field in vocabulary.fields(cls.name)]
    assert {field.iri for field in fields if field.iri in ANNOTATIONS} == ANNOTATIONS


def everything() -> Graph:
    """Return a graph with a node of every class, and every relation between every two classes that it allows."""
    make = GraphMaker()
    for cls in CLASSES:
        if not cls.abstract:
            make.node(cls.name, label=cls.name) if "label" in _names(cls.name) else make.node(cls.name)
    plan = make.classes.index("Training")
    for one in RELATIONS:
        for at, subject in enumerate(make.classes):
            for to, target in enumerate(make.classes):
                if vocabulary.may_relate(one, subject, target) and at != to:
                    fields = {"role": "role", "plan": plan} if one.name == "wasAssociatedWith" else {}
                    make.relate(one.name, at, to, **fields)
    return make.graph()


def _names(cls: str) -> set[str]:
    return {field.name for field in vocabulary.fields(cls)}


def _rdf(graph: Graph) -> set[ox.Triple]:
    stream = BytesIO()
    convert([graph], stream, "ntriples", samples=True)
    return reasoner.text(stream.getvalue().decode())


@reasoner.needs_reference
@reasoner.needs_reasoner
def test_a_job_is_consistent(tmp_path: Path) -> None:
    assert reasoner.is_consistent(reasoner.theory() | _rdf(learning_graph()), tmp_path)


@reasoner.needs_reference
@reasoner.needs_reasoner
def test_all_that_the_vocabulary_allows_is_consistent(tmp_path: Path) -> None:
    assert reasoner.is_consistent(reasoner.theory() | _rdf(everything()), tmp_path)


MISTAKES = {
    "a model as input": "<urn:x:a> a provml:EvaluationExecution ; mls:hasInput <urn:x:b> . <urn:x:b> a provml:Model .",
    "a dataset as output": "<urn:x:a> mls:hasOutput <urn:x:b> . <urn:x:b> a provml:Dataset .",
    "a plan that is a process": "<urn:x:a> a provml:LearningExperiment, mls:Experiment .",
    "an input of a run that is no mls:Run": "<urn:x:a> a provml:LearningExperimentExecution ; mls:hasInput <urn:x:b> .",
    "software that is an implementation": "<urn:x:a> a provml:Software, provml:Implementation .",
    "a model that is a dataset": "<urn:x:a> a provml:Model, provml:Dataset .",
    "a hyperparameter of an algorithm": "<urn:x:a> a provml:Algorithm ; mls:hasHyperParameter <urn:x:b> .",
    "an activity that is data": "<urn:x:a> a provml:TrainingExecution, provml:Dataset .",
    "a count that is text": '<urn:x:a> provml:count "many" .',
}


@reasoner.needs_reference
@reasoner.needs_reasoner
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(name: str, tmp_path: Path) -> None:
    prefixes = "".join(f"@prefix {name}: <{iri}> .\n" for name, iri in NAMESPACES.items())
    assert not reasoner.is_consistent(reasoner.theory() | reasoner.text(prefixes + MISTAKES[name]), tmp_path)
