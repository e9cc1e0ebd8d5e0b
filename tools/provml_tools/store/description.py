"""What a store says of a run beside its graph: which run, which version of it, and where its file lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from urllib.parse import unquote, urlsplit

from provml_hpc import identity
from provml_hpc.assembly.graph import Graph
from provml_hpc.vocabulary import expand
from provml_tools.rdf import statements, terms


@dataclass(frozen=True)
class StoredRun:
    """A run in a store."""

    graph: str
    """The IRI of its named graph."""
    run: str
    """The uuid of the run."""
    name: str = ""
    status: str = ""
    committed_ns: int | None = None
    file: Path | None = None
    """Where its HDF5 file was when it was loaded."""


def graph_iri(graph: Graph) -> str:
    """Return the IRI of a run's named graph."""
    return f"{terms.DEFAULT_BASE}{identity.graph(graph.run.uuid)}"


def describe(graph: Graph, file: Path) -> str:
    """Return the description of a run's graph as text of N-Triples, with the place of its file."""
    # The description is what a conversion says first; it stands outside of the named graph.
    return next(statements(graph)) + _location(graph, file)


def body(graph: Graph, named: bool) -> Iterator[str]:
    """Yield all that is said in a run's graph, as text of N-Quads (or of N-Triples, if not `named`)."""
    return islice(statements(graph, named=named), 1, None)


def whole(graph: Graph, file: Path) -> Iterator[str]:
    """Yield a run's graph together with its description, as text of N-Triples: what fits into one graph."""
    return chain([describe(graph, file)], body(graph, named=False))


def _location(graph: Graph, file: Path) -> str:
    place = f"<{file.resolve().as_uri()}>"
    is_a, location = f"<{expand('rdf:type')}>", f"<{expand('prov:Location')}>"
    return f"<{graph_iri(graph)}> <{expand('prov:atLocation')}> {place} .\n{place} {is_a} {location} .\n"


def path_of(uri: str) -> Path | None:
    """Return the path that a ``file:`` address means."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
