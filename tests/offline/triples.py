"""Quads of a graph, looked up by what they say."""

from __future__ import annotations

from collections.abc import Iterable

from pyoxigraph import Literal, NamedNode, Quad

from provml_hpc.assembly.graph import Graph
from provml_hpc.vocabulary import expand
from provml_tools.rdf import quads


class Facts:
    """The quads of a graph, asked with prefixed names."""

    def __init__(self, source: Graph | Iterable[Quad], base: str | None = None, samples: bool = False) -> None:
        self.quads = set(quads(source, base, samples) if isinstance(source, Graph) else source)

    def values(self, subject: str, name: str) -> list[str]:
        """Return the values of a property, sorted: IRIs as they are, literals by their text."""
        return sorted(
            quad.object.value
            for quad in self.quads
            if quad.subject.value == subject and quad.predicate.value == expand(name)
        )

    def literal(self, subject: str, name: str) -> Literal:
        """Return the one literal of a property."""
        (found,) = {
            quad.object for quad in self.quads if quad.subject.value == subject and quad.predicate.value == expand(name)
        }
        assert isinstance(found, Literal)
        return found

    def subjects(self, name: str, value: str) -> list[str]:
        """Return the subjects that have a value."""
        return sorted(
            {q.subject.value for q in self.quads if q.predicate.value == expand(name) and q.object.value == value}
        )

    def one(self, cls: str, label: str) -> str:
        """Return the node of a class and a label."""
        found = set(self.subjects("rdf:type", expand(cls))) & set(self.subjects("rdfs:label", label))
        (node,) = found
        return node


def typed(text: str, datatype: str) -> Literal:
    return Literal(text, datatype=NamedNode(expand(datatype)))
