"""Telemetry in RDF: devices, series and who used what, accepted by the shapes, by PROV and by an OWL reasoner."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest

from provml_hpc import records
from provml_hpc.assembly.graph import Graph
from provml_tools.query import Engine
from provml_tools.rdf import convert
from provml_tools.validate import validate_graph
from provml_tools.validate.findings import LEVELS, Report
from tests.offline import reasoner
from tests.unit.assembly.builder import TRAINING, FakeFrames
from tests.unit.assembly.test_telemetry import FULL, counters, gpu


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Return a training of two ranks, one on a GPU and one on a slice of another, sampled."""
    frames = FakeFrames(2)
    ranks, sampler = frames.ranks(), frames.rank(0, lane=records.TELEMETRY_LANE)
    handles = [rank.open(TRAINING, "t") for rank in ranks]
    whole = gpu(sampler, 0, by={0: records.BY_PROCESS})
    other = gpu(sampler, 1)
    part = gpu(sampler, 7, parent=other, by={1: "CUDA_VISIBLE_DEVICES"})
    sampler(records.Fact("telemetry", "lost", "text", "GPU is lost", whole))
    sampler(records.Fact("telemetry", "telemetry.hz", "real", "1.0"))
    of = [
        (counters(sampler, 1, FULL, device=whole), 2),
        (counters(sampler, 2, {"memory_used_B": "B"}, device=part), 1),
        (counters(sampler, 3, {"cpu_percent": "%"}), 1),
        (counters(sampler, 4, {"cpu_s": "s"}, rank=1), 1),
    ]
    for turn in range(3):
        for number, width in of:
            sampler.sample(number, turn, *[float(turn)] * width)
    for rank, handle in zip(ranks, handles, strict=True):
        rank.close(handle)
        rank.end()
    return frames.view().graph


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
