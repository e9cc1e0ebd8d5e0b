"""Graphs in the five formats of RDF.

N-Quads and N-Triples are written as text straight from the tables. The other formats are made from the same text by
the parser and the serialisers of pyoxigraph, all streaming: so the formats cannot differ in what they say, and every
statement that goes into them has passed a strict parser on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from provml_hpc.assembly.graph import Graph
from provml_hpc.errors import UsageError
from provml_hpc.vocabulary import NAMESPACES
from provml_tools.rdf import terms
from provml_tools.rdf.mapping import statements
from provml_tools.rdf.streams import TextStream

if TYPE_CHECKING:
    import pyoxigraph

FORMATS = {"nquads": "nq", "ntriples": "nt", "turtle": "ttl", "trig": "trig", "jsonld": "jsonld"}
"""The formats by name, each with the usual ending of its files. N-Triples and Turtle have no graph names."""

_NAMED = frozenset({"nquads", "trig", "jsonld"})
_PREFIXES = {name: NAMESPACES[name] for name in ("provml", "prov", "mls", "dcterms", "rdfs", "xsd")}


def convert(
    graphs: Iterable[Graph], stream: BinaryIO, format: str = "nquads", base: str | None = None, samples: bool = False
) -> None:
    """Write graphs to a binary stream, in bounded memory; the same graphs give the same bytes.

    Parameters
    ----------
    graphs
        The runs; each is read when its turn comes.
    stream
        Where the UTF-8 text goes.
    format
        One of `FORMATS`.
    base
        What the uuids of nodes are put behind; ``urn:uuid:`` if None.
    samples
        Whether each logged sample becomes a node too: much text, see ``docs/rdf.md``.

    Raises
    ------
    UsageError
        No such format, an unusable base, or pyoxigraph is not there for the formats that need it.
    FormatError
        A graph contradicts itself, or is of a newer release.
    """
    if format not in FORMATS:
        raise UsageError(f"There is no format {format!r}. Take one of: {', '.join(FORMATS)}.")
    # Before the first byte, so that a wrong call leaves nothing behind.
    terms.check_base(base)
    texts = (text for graph in graphs for text in statements(graph, base, samples, format in _NAMED))
    if format in ("nquads", "ntriples"):
        for text in texts:
            stream.write(text.encode())
        return
    found = _parse(TextStream(texts))
    from pyoxigraph import RdfFormat, serialize

    if format == "turtle":
        serialize((quad.triple for quad in found), stream, RdfFormat.TURTLE, prefixes=_PREFIXES)
    else:
        serialize(found, stream, RdfFormat.TRIG if format == "trig" else RdfFormat.JSON_LD, prefixes=_PREFIXES)


def nquads(graphs: Iterable[Graph], base: str | None = None, samples: bool = False) -> BinaryIO:
    """Return graphs as a stream to read N-Quads from, made as it is read: what a store loads in bulk.

    Examples
    --------
    >>> import pyoxigraph
    >>> store = pyoxigraph.Store()
    >>> store.bulk_load(nquads([]), pyoxigraph.RdfFormat.N_QUADS)
    """
    return TextStream(text for graph in graphs for text in statements(graph, base, samples))


def quads(graph: Graph, base: str | None = None, samples: bool = False) -> Iterator[pyoxigraph.Quad]:
    """Iterate over the quads of one graph, as pyoxigraph has them."""
    return _parse(nquads([graph], base, samples))


def _parse(stream: BinaryIO) -> Iterator[pyoxigraph.Quad]:
    try:
        from pyoxigraph import RdfFormat, parse
    except ImportError:
        raise UsageError(
            "This needs the package pyoxigraph. Install it with: pip install 'provml-hpc[offline]'  "
            "(N-Quads and N-Triples need nothing more.)"
        ) from None
    return parse(stream, format=RdfFormat.N_QUADS)
