"""What holds for the RDF of any graph: known terms, functional properties, no blank nodes."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from pyoxigraph import Literal, NamedNode

from provml_hpc import vocabulary
from provml_hpc.assembly.graph import ABSENT, Graph
from provml_hpc.vocabulary import NAMESPACES, expand
from provml_tools.rdf import provml_terms, quads
from tests.offline.graphs import graphs
from tests.offline.triples import Facts, typed

# Written out by hand from https://www.w3.org/TR/prov-o/: what this project says of PROV, none of it an inverse name.
PROV_PROPERTIES = {
    *("used", "wasGeneratedBy", "wasDerivedFrom", "wasRevisionOf", "specializationOf", "wasAssociatedWith"),
    *("actedOnBehalfOf", "wasInformedBy", "wasAttributedTo", "hadMember", "atLocation"),
    *("qualifiedUsage", "qualifiedGeneration", "qualifiedAssociation", "entity", "activity", "agent"),
    *("hadRole", "hadPlan", "atTime", "startedAtTime", "endedAtTime", "generatedAtTime", "value"),
}
PROV_CLASSES = {
    *("Entity", "Activity", "Agent", "Plan", "Collection", "Bundle", "Person", "Organization", "SoftwareAgent"),
    *("Location", "Role", "Usage", "Generation", "Association"),
}
# From the strict file of ML-Schema, http://www.w3.org/ns/mls.
MLS_PROPERTIES = {
    *("realizes", "executes", "achieves", "hasHyperParameter", "hasInput", "hasOutput", "hasPart", "hasQuality"),
    *("specifiedBy", "hasValue", "definedOn", "implements"),
}
MLS_CLASSES = {
    *(
        "Experiment",
        "Run",
        "Dataset",
        "Model",
        "DatasetCharacteristic",
        "Task",
        "Algorithm",
        "Implementation",
        "Software",
    ),
    *("HyperParameter", "HyperParameterSetting", "EvaluationMeasure", "EvaluationSpecification", "EvaluationProcedure"),
    "ModelEvaluation",
}


@given(graphs())
def test_every_term_is_known_and_direct(graph: Graph) -> None:
    type_of = expand("rdf:type")
    for quad in quads(graph, samples=True):
        if quad.predicate.value == type_of:
            _check_term(quad.object.value, PROV_CLASSES, MLS_CLASSES)
        else:
            _check_term(quad.predicate.value, PROV_PROPERTIES, MLS_PROPERTIES)


def _check_term(iri: str, prov: set[str], mls: set[str]) -> None:
    allowed = {"provml": set(provml_terms()), "prov": prov, "mls": mls}
    allowed |= {"rdfs": {"label"}, "dcterms": {"identifier", "modified", "isPartOf", "requires"}, "rdf": {"type"}}
    prefix = next(name for name, space in NAMESPACES.items() if iri.startswith(space))
    assert iri.removeprefix(NAMESPACES[prefix]) in allowed[prefix]


@given(graphs())
def test_the_functional_properties_of_prov_are_said_once(graph: Graph) -> None:
    found = Counter(
        (quad.subject.value, quad.predicate.value.removeprefix(NAMESPACES["prov"]))
        for quad in quads(graph, samples=True)
        if isinstance(quad.graph_name, NamedNode)
    )
    for name in ("startedAtTime", "endedAtTime", "atTime", "generatedAtTime", "entity", "activity", "agent", "hadRole"):
        assert all(count == 1 for (_, one), count in found.items() if one == name)


@given(graphs())
def test_each_qualified_node_hangs_on_one_subject_and_repeats_its_direct_relation(graph: Graph) -> None:
    facts = Facts(graph)
    direct = {r.qualified[0]: (r.iri, r.qualified[2]) for r in vocabulary.RELATIONS if r.qualified}
    for quad in facts.quads:
        for leads, (iri, to) in direct.items():
            if quad.predicate.value == expand(leads):
                assert facts.subjects(leads, quad.object.value) == [quad.subject.value]
                (target,) = facts.values(quad.object.value, to)
                assert target in facts.values(quad.subject.value, iri)


@given(graphs())
def test_no_node_is_blank_and_every_subject_has_a_type(graph: Graph) -> None:
    found = list(quads(graph, samples=True))
    assert all(isinstance(node, (NamedNode, Literal)) for quad in found for node in (quad.subject, quad.object))
    typed_ones = {quad.subject for quad in found if quad.predicate.value == expand("rdf:type")}
    assert {quad.subject for quad in found} == typed_ones


@given(graphs())
def test_numbers_read_back_as_they_were(graph: Graph) -> None:
    facts = Facts(graph)
    for cls, table in graph.nodes.items():
        for row in table.rows():
            for field in vocabulary.fields(cls):
                node = f"urn:uuid:{row['uuid']}"
                if field.type == "integer" and row[field.name] != ABSENT:
                    assert facts.literal(node, field.iri) == typed(str(row[field.name]), "xsd:integer")
                elif field.type == "real" and not math.isnan(row[field.name]):
                    assert float(facts.literal(node, field.iri).value.replace("INF", "inf")) == row[field.name]
                elif field.type == "value" and row[field.name + "_type"] == "real":
                    number = float(facts.literal(node, field.iri).value.replace("INF", "inf"))
                    assert repr(number) == row[field.name]
