"""Telemetry in RDF: devices, series and who used what, accepted by the shapes, by PROV and by an OWL reasoner."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest

from provml_hpc.assembly.graph import Graph
from provml_tools.query import Engine
from provml_tools.rdf import convert
from provml_tools.validate import validate_graph
from provml_tools.validate.findings import LEVELS, Report
from tests.offline import reasoner
from tests.offline.graphs import sampled_training


@pytest.fixture(scope="module")
def graph() -> Graph:
    return sampled_training()


def test_series_say_what_they_are_of_where_and_in_which_unit(graph: Graph) -> None:
    found = Engine([graph]).select(
        """SELECT ?name ?unit ?count ?where ?rank WHERE {
             ?series a provml:TelemetrySeries ; rdfs:label ?name ; provml:unit ?unit ; provml:count ?count .
             ?series provml:valueOf ?attribute . ?attribute a provml:Attribute ; rdfs:label ?name .
             OPTIONAL { ?series prov:atLocation ?place . ?place rdfs:label ?where }
             OPTIONAL { ?series prov:wasAttributedTo ?process . ?process provml:rank ?rank }
           } ORDER BY ?name"""
    )
    assert [tuple(row.values()) for row in found] == [
        ("cpu_percent", "%", 3, "node0", None),
        ("cpu_s", "s", 3, None, 1),
        ("energy_J", "J", 3, "node0 gpu-0", None),
        ("memory_used_B", "B", 3, "node0 mig-4-7", None),
        ("power_W", "W", 3, "node0 gpu-0", None),
    ]


def test_a_rank_is_at_its_device_and_a_device_in_its_node(graph: Graph) -> None:
    found = Engine([graph]).select(
        """SELECT ?rank ?device ?node WHERE {
             ?process a provml:Rank ; provml:rank ?rank ; prov:atLocation ?place .
             ?place a provml:Device ; dcterms:identifier ?device ; dcterms:isPartOf+ ?around .
             ?around a provml:ComputeNode ; rdfs:label ?node } ORDER BY ?rank"""
    )
    assert [tuple(row.values()) for row in found] == [(0, "GPU-0", "node0"), (1, "MIG-4-7", "node0")]


def test_it_is_valid_on_every_level(graph: Graph) -> None:
    report = Report("telemetry", LEVELS)
    validate_graph(graph, report)
    assert report.findings == []


@reasoner.needs_reference
@reasoner.needs_reasoner
def test_it_is_consistent_with_prov_o_and_ml_schema(graph: Graph, tmp_path: Path) -> None:
    stream = BytesIO()
    convert([graph], stream, "trig")
    assert reasoner.is_consistent(reasoner.theory() | reasoner.text(stream.getvalue().decode()), tmp_path)
