"""Graphs that contradict themselves are refused, and nothing is written of them."""

from __future__ import annotations

import numpy as np
import pytest

from provml_hpc.assembly.graph import Graph
from provml_hpc.errors import FormatError
from provml_tools.rdf import statements
from tests.offline.graphs import learning_graph


def _break_class(graph: Graph) -> None:
    graph.nodes["Novelty"] = graph.nodes.pop("Study")


def _break_relation(graph: Graph) -> None:
    graph.relations["novelty"] = graph.relations.pop("used")


def _break_uuid(graph: Graph) -> None:
    column = graph.nodes["Study"].columns["uuid"]
    assert isinstance(column, list)
    column[0] = "x> <urn:x:y> <urn:x:z"


def _break_id(graph: Graph) -> None:
    column = graph.nodes["Study"].columns["id"]
    assert isinstance(column, np.ndarray)
    column[0] = 2**40


def _repeat_id(graph: Graph) -> None:
    column = graph.nodes["Study"].columns["id"]
    assert isinstance(column, np.ndarray)
    column[0] = 0


def _break_end(graph: Graph) -> None:
    column = graph.relations["used"].columns["object"]
    assert isinstance(column, np.ndarray)
    column[0] = -7


def _break_plan(graph: Graph) -> None:
    column = graph.relations["wasAssociatedWith"].columns["plan"]
    assert isinstance(column, np.ndarray)
    column[0] = 2**40


def _drop_ends(graph: Graph) -> None:
    del graph.relations["used"].columns["object"]


def _break_section(graph: Graph) -> None:
    graph.samples[0].read(0, 1)["section"][0] = 2**40


@pytest.mark.parametrize(
    "harm",
    [
        _break_class,
        _break_relation,
        _break_uuid,
        _break_id,
        _repeat_id,
        _break_end,
        _break_plan,
        _drop_ends,
        _break_section,
    ],
)
def test_a_damaged_graph_is_refused(harm: object) -> None:
    graph = learning_graph()
    assert callable(harm)
    harm(graph)
    with pytest.raises(FormatError):
        list(statements(graph, samples=True))
