"""What becomes of classes, fields and relations in RDF."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from pyoxigraph import Literal, NamedNode

from provml_hpc import identity
from provml_hpc.assembly.graph import ABSENT, VALUE_TYPES, Graph, Table
from provml_hpc.errors import FormatError, UsageError
from provml_hpc.vocabulary import expand
from provml_tools.rdf import class_types, companion, statements
from provml_tools.rdf.terms import value_literal
from provml_tools.rdf.uuids import below, place, seed
from tests.offline.graphs import NOON, RUN, GraphMaker, learning_graph
from tests.offline.triples import Facts, typed


@pytest.fixture(scope="module")
def facts() -> Facts:
    return Facts(learning_graph())


def test_a_node_has_its_class_those_above_and_their_prov_and_ml_schema_types(facts: Facts) -> None:
    expected = ["provml:TrainingExecution", "provml:LearningStageExecution", "prov:Activity", "mls:Run"]
    training = facts.one("provml:TrainingExecution", "training")
    assert facts.values(training, "rdf:type") == sorted(map(expand, expected))
    assert class_types("Training")[:3] == ("provml:Training", "provml:LearningStage", "provml:BaseLearningStage")
    assert set(class_types("Training")[3:]) == {"prov:Plan", "prov:Entity"}
    assert "prov:Agent" in class_types("Rank")


def test_a_time_is_told_to_the_nanosecond_twice(facts: Facts) -> None:
    training = facts.one("provml:TrainingExecution", "training")
    expected = typed("2023-11-14T22:13:20.123456790Z", "xsd:dateTime")
    assert facts.literal(training, "prov:startedAtTime") == expected
    assert facts.literal(training, "provml:startNs") == typed(str(NOON + 1), "xsd:integer")
    tiles = facts.one("provml:LearningDataset", "tiles.h5")
    assert facts.literal(tiles, "provml:modifiedNs") == typed(str(NOON - 5), "xsd:integer")


@pytest.mark.parametrize("moment", [0, -1, 1, 2**63 - 1, -(2**63) + 1, 951_782_400_000_000_000])
def test_every_int64_has_its_date(moment: int) -> None:
    make = GraphMaker()
    make.node("Attempt", label="x", start_ns=moment)
    found = Facts(make.graph())
    node = found.one("provml:Attempt", "x")
    assert found.literal(node, "provml:startNs").value == str(moment)
    date = found.literal(node, "prov:startedAtTime").value
    assert date.endswith("Z")
    assert np.datetime64(date[:-1], "ns").astype(np.int64) == moment


def test_the_name_of_a_column_gives_the_property_beside_it() -> None:
    assert companion("start_ns") == "provml:startNs"
    assert companion("value_type") == "provml:valueType"


@pytest.mark.parametrize(
    ("name", "literal"),
    [
        ("lr", typed("0.001", "xsd:double")),
        ("batch_size", typed("64", "xsd:integer")),
        ("nesterov", typed("true", "xsd:boolean")),
        ("name", Literal("")),
        ("depth", Literal("None")),
        ("layers", Literal("[1, 2]")),
        ("since", typed("2023-11-14T22:13:20.123456789Z", "xsd:dateTime")),
        ("clip", typed("INF", "xsd:double")),
        ("floor", typed("-INF", "xsd:double")),
        ("odd", typed("NaN", "xsd:double")),
    ],
)
def test_a_value_keeps_the_type_it_was_given_in(facts: Facts, name: str, literal: Literal) -> None:
    node = facts.one("provml:LearningHyperparameterValue", name)
    assert facts.literal(node, "mls:hasValue") == literal
    # Where the datatype does not tell, the name of the type does.
    assert facts.values(node, "provml:valueType") == {"depth": ["none"], "layers": ["json"]}.get(name, [])


@pytest.mark.parametrize("kind", VALUE_TYPES)
@pytest.mark.parametrize(
    "text", ["", "x", "1 2", "0x10", "2023-02-30T00:00:00Z", "12:00", "٣", "tru", "1e", "9" * 30, "1.50", "+inf"]
)
def test_what_does_not_have_the_form_of_its_type_becomes_text(kind: str, text: str) -> None:
    found = value_literal(text, kind)
    valid = {("integer", "9" * 30), ("real", "9" * 30), ("real", "1.50"), ("real", "+inf")}
    assert ("^^" in found) == ((kind, text) in valid)


def test_the_type_of_a_value_may_be_a_number() -> None:
    make = GraphMaker()
    make.node("AttributeValue", label="x", value="7", value_type="integer")
    make.node("AttributeValue", label="y")
    graph = make.graph()
    marks = graph.nodes["AttributeValue"].columns["value_type"]
    numbers = np.array([VALUE_TYPES.index(mark) for mark in marks])
    graph.nodes["AttributeValue"].columns["value_type"] = numbers
    found = Facts(graph)
    assert found.literal(found.one("provml:AttributeValue", "x"), "prov:value") == typed("7", "xsd:integer")
    assert found.values(found.one("provml:AttributeValue", "y"), "prov:value") == []
    numbers[0] = 99
    with pytest.raises(FormatError, match="type 99"):
        list(statements(graph))


def test_what_was_not_said_is_not_there(facts: Facts) -> None:
    epoch = facts.one("provml:LearningStageSectionExecution", "epoch")
    assert facts.values(epoch, "provml:sectionIndex") == ["0"]
    for name in ("prov:endedAtTime", "provml:endNs", "provml:outcome", "provml:attempt", "provml:sectionItem"):
        assert facts.values(epoch, name) == []
    series = facts.one("provml:MetricSeries", "loss")
    assert facts.values(series, "provml:minimum") == ["-INF"]
    assert facts.values(series, "provml:last") == []


def test_two_uses_in_two_roles_are_one_use_and_two_usages(facts: Facts) -> None:
    training = facts.one("provml:TrainingExecution", "training")
    tiles = facts.one("provml:LearningDataset", "tiles.h5")
    assert Counter(q.object.value for q in facts.quads if q.predicate.value == expand("prov:used"))[tiles] == 1
    usages = set(facts.subjects("prov:entity", tiles))
    assert len(usages) == 2
    assert usages <= set(facts.values(training, "prov:qualifiedUsage"))
    roles = {}
    for usage in usages:
        assert facts.values(usage, "rdf:type") == [expand("prov:Usage")]
        (role,) = facts.values(usage, "prov:hadRole")
        assert facts.values(role, "rdf:type") == [expand("prov:Role")]
        roles[facts.literal(role, "rdfs:label").value] = facts.literal(usage, "provml:timeNs").value
    assert roles == {"training": str(NOON + 2), "validation": str(NOON + 3)}


def test_a_role_is_the_same_in_every_run_of_an_authority() -> None:
    one, other = Facts(learning_graph()), Facts(learning_graph("9a0d2a44-1111-4222-8333-0123456789ab"))
    assert one.one("prov:Role", "training") == other.one("prov:Role", "training")
    assert one.one("prov:Role", "training") == "urn:uuid:" + identity.named("example.org", "Role", "training")


def test_an_association_names_its_plan_and_role(facts: Facts) -> None:
    ada = facts.one("provml:Persona", "Ada")
    (association,) = facts.subjects("prov:agent", ada)
    plan = facts.one("provml:LearningExperiment", "facies-unet")
    assert facts.values(association, "prov:hadPlan") == [plan]
    assert facts.subjects("prov:qualifiedAssociation", association) == [f"urn:uuid:{RUN}"]
    assert facts.values(f"urn:uuid:{RUN}", "prov:wasAssociatedWith") == [ada]


def test_without_fields_there_is_only_the_direct_relation(facts: Facts) -> None:
    series = facts.one("provml:MetricSeries", "loss")
    assert len(facts.values(series, "prov:wasGeneratedBy")) == 1
    assert facts.values(series, "prov:qualifiedGeneration") == []


def test_statements_of_one_pair_in_one_role_are_told_apart_by_their_order() -> None:
    make = GraphMaker()
    training, data = make.node("TrainingExecution", label="t"), make.node("Dataset", label="d")
    for time in (2, 1):
        make.relate("used", training, data, role="r", time_ns=time)
    found = Facts(make.graph())
    usages = found.values(found.one("provml:TrainingExecution", "t"), "prov:qualifiedUsage")
    role = identity.named("example.org", "Role", "r")
    uuids = [
        identity.local(identity.local(RUN, "node", 0), "used", identity.local(RUN, "node", 1), role, k) for k in (1, 2)
    ]
    assert [found.values(f"urn:uuid:{uuid}", "provml:timeNs") for uuid in uuids] == [["2"], ["1"]]
    assert usages == sorted(f"urn:uuid:{uuid}" for uuid in uuids)


def test_the_quick_uuid_is_that_of_identity() -> None:
    uuid = identity.local(RUN, "x")
    for k in range(64):
        assert below(seed(RUN), place("used", uuid, "", k)) == identity.local(RUN, "used", uuid, "", k)


def test_a_collection_is_typed_so_once_and_only_where_it_has_members(facts: Facts) -> None:
    tiles, study = facts.one("provml:LearningDataset", "tiles.h5"), facts.one("provml:Study", "netherlands-f3")
    shard = facts.one("provml:Dataset", "tiles-0.h5")
    collection = expand("prov:Collection")
    assert collection in facts.values(tiles, "rdf:type")
    assert collection not in facts.values(shard, "rdf:type")
    lines = "".join(statements(learning_graph())).splitlines()
    assert sum(line.startswith(f"<{study}>") and collection in line for line in lines) == 1
    assert len(set(lines)) == len(lines)


def test_the_graph_is_a_bundle_described_in_the_default_graph(facts: Facts) -> None:
    bundle = f"urn:uuid:{identity.graph(RUN)}"
    assert bundle != f"urn:uuid:{RUN}"
    assert facts.values(bundle, "rdf:type") == sorted(map(expand, ("prov:Bundle", "prov:Entity")))
    assert facts.values(bundle, "prov:generatedAtTime") == ["2023-11-14T22:13:21.123456789Z"]
    assert facts.values(bundle, "provml:committedNs") == [str(NOON + 10**9)]
    assert facts.values(bundle, "provml:hdf5File") == ["facies.h5"]
    assert facts.values(bundle, "provml:status") == ["finished"]
    assert facts.values(bundle, "provml:runId") == [RUN]
    (converter,) = facts.values(bundle, "prov:wasAttributedTo")
    assert expand("prov:SoftwareAgent") in facts.values(converter, "rdf:type")
    outside = {quad.subject.value for quad in facts.quads if not isinstance(quad.graph_name, NamedNode)}
    assert outside == {bundle, converter}
    assert {q.graph_name.value for q in facts.quads if isinstance(q.graph_name, NamedNode)} == {bundle}


def test_samples_come_on_demand(facts: Facts) -> None:
    assert facts.subjects("rdf:type", expand("provml:Sample")) == []
    found = Facts(learning_graph(), samples=True)
    assert facts.quads < found.quads
    samples = found.subjects("rdf:type", expand("provml:Sample"))
    assert len(samples) == 3
    series = found.one("provml:MetricSeries", "loss")
    epoch = found.one("provml:LearningStageSectionExecution", "epoch")
    training = found.one("provml:TrainingExecution", "training")
    rows = {
        (
            found.values(sample, "provml:rank")[0],
            *found.values(sample, "provml:step"),
            found.values(sample, "prov:wasGeneratedBy")[0],
            found.literal(sample, "prov:value").value,
            found.values(sample, "provml:timeNs")[0],
        )
        for sample in samples
    }
    assert rows == {
        ("0", "0", epoch, "0.5", str(NOON + 3)),
        ("0", "1", epoch, "NaN", str(NOON + 4)),
        ("1", training, "-INF", str(NOON + 4)),
    }
    assert all(found.values(sample, "dcterms:isPartOf") == [series] for sample in samples)


def test_samples_of_one_measure_in_two_tables_belong_to_one_series() -> None:
    make = GraphMaker()
    training = make.node("TrainingExecution")
    make.relate("wasGeneratedBy", make.node("MetricSeries", label="loss", count=3), training)
    for count, measures in ((1, ("loss",)), (2, ("lr", "loss"))):
        make.sample(training, measures, [(0, 1, ABSENT, 0, NOON, *(float(count) for _ in measures))] * count)
    found = Facts(make.graph(), samples=True)
    parts = [
        (found.literal(sample, "prov:value").value, found.literal(series, "provml:count").value)
        for sample in found.subjects("rdfs:label", "loss")
        for series in found.values(sample, "dcterms:isPartOf")
    ]
    assert sorted(parts) == [("1.0", "3"), ("2.0", "3"), ("2.0", "3")]


def test_a_sample_keeps_its_name_while_the_file_grows() -> None:
    def names(rows: list[tuple[float, ...]]) -> set[str]:
        make = GraphMaker()
        make.sample(make.node("TrainingExecution"), ("loss", "lr"), rows)
        return set(Facts(make.graph(), samples=True).subjects("rdf:type", expand("provml:Sample")))

    early = [(0, 1, ABSENT, 5, NOON, 0.5, 1.0), (1, 1, ABSENT, 5, NOON, 0.5, 1.0)]
    late = [early[0], early[0], early[1], early[1]]
    assert len(names(early)) == 4
    assert len(names(late)) == 8
    assert names(early) < names(late)


def test_a_base_stands_before_every_uuid() -> None:
    base = "https://example.org/prov%20ml/#"
    plain, based = Facts(learning_graph(), samples=True), Facts(learning_graph(), base, samples=True)
    moved = {str(quad).replace("urn:uuid:", base) for quad in plain.quads}
    assert moved == {str(quad) for quad in based.quads}
    assert not any("urn:uuid:" in quad for quad in moved)


@pytest.mark.parametrize(
    "base",
    [
        "",
        "no-scheme/",
        "https://example.org/a b/",
        "https://x/>",
        'urn:"',
        "urn:\n",
        "urn:{",
        "urn:\\u0020",
        "urn:\ud800",
    ],
)
def test_a_base_that_is_no_iri_is_refused(base: str) -> None:
    with pytest.raises(UsageError, match="cannot start an IRI"):
        list(statements(learning_graph(), base))


def test_the_order_of_rows_does_not_matter() -> None:
    graph = learning_graph()
    turned = Graph(
        graph.run, *({n: _turned(t) for n, t in ts.items()} for ts in (graph.nodes, graph.relations)), graph.samples
    )
    assert sorted("".join(statements(graph)).splitlines()) == sorted("".join(statements(turned)).splitlines())


def _turned(table: Table) -> Table:
    return Table(table.name, {name: column[::-1] for name, column in table.columns.items()})


def test_columns_that_an_older_file_lacks_are_passed_over() -> None:
    graph = learning_graph()
    del graph.nodes["TrainingExecution"].columns["outcome"]
    del graph.relations["used"].columns["role"]
    found = Facts(graph)
    assert found.values(found.one("provml:TrainingExecution", "training"), "provml:outcome") == []
    assert found.values(found.one("provml:TrainingExecution", "training"), "prov:used")


def test_an_organization_is_a_persona_and_no_person() -> None:
    organization = {"provml:Organization", "provml:Persona", "prov:Agent", "prov:Organization"}
    assert set(class_types("Organization")) == organization
    assert set(class_types("Persona")) == {"provml:Persona", "prov:Agent", "prov:Person"}
