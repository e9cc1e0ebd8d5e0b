"""A store behind an address: SPARQL 1.1 Graph Store HTTP Protocol to load, SPARQL 1.1 Protocol to ask.

https://www.w3.org/TR/sparql11-http-rdf-update/ and https://www.w3.org/TR/sparql11-protocol/. One PUT replaces the graph
of one run as a whole; its description stands in it, since not every store has a default graph that can be written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from provml_hpc.assembly.graph import Graph
from provml_hpc.errors import StateError
from provml_hpc.vocabulary import NAMESPACES
from provml_tools.store.description import StoredRun, graph_iri, whole
from provml_tools.store.embedded import oxigraph, rows_of, run_of
from provml_tools.store.http import Client

_RESULTS = "application/sparql-results+json, application/sparql-results+xml;q=0.8"
_TRIPLES = "application/n-triples, text/turtle;q=0.8, application/rdf+xml;q=0.5"
_RUNS = """\
SELECT ?graph ?run ?name ?status ?committed ?place WHERE {
  GRAPH ?graph {
    ?graph a prov:Bundle ; provml:runId ?run .
    OPTIONAL { ?graph rdfs:label ?name }
    OPTIONAL { ?graph provml:status ?status }
    OPTIONAL { ?graph provml:committedNs ?committed }
    OPTIONAL { ?graph prov:atLocation ?place }
  }
}
ORDER BY ?name ?graph"""


class Endpoint:
    """A SPARQL 1.1 endpoint.

    Parameters
    ----------
    address
        To load: that of its Graph Store service. To ask: that of its query service. Stores differ in what these are.
    """

    def __init__(self, address: str) -> None:
        self._client = Client(address)
        self.address = address

    def load(self, graph: Graph, file: Path, moved: Callable[[int], object] = lambda _: None) -> None:
        """Put a run into the store, in the place of an earlier version of it.

        Raises
        ------
        StateError
            The server does not take it.
        """
        # On disk, so that its length is known and it can be sent again: not every server takes it in chunks.
        with tempfile.TemporaryFile() as held:
            for text in whole(graph, file):
                moved(held.write(text.encode()))
            size = held.tell()
            join = "&" if "?" in self.address else "?"
            address = f"{self.address}{join}graph={quote(graph_iri(graph), safe='')}"
            headers = {"Content-Type": "application/n-triples", "Accept": "*/*"}
            with self._client.send("PUT", address, headers, held, size) as response:
                response.read()

    def runs(self) -> list[StoredRun]:
        """Return the runs that are there."""
        return [run_of(row) for row in rows_of(self.select(with_prefixes(_RUNS), ()))]

    def select(self, text: str, graphs: Sequence[str]) -> Any:
        """Answer a SELECT or ASK query over the merge of some graphs, or over what the store has by default.

        Returns
        -------
        Any
            ``pyoxigraph.QuerySolutions`` or ``pyoxigraph.QueryBoolean``.
        """
        found = oxigraph()
        data, kind = self._post(text, graphs, _RESULTS)
        form = found.QueryResultsFormat
        try:
            return found.parse_query_results(data, form.XML if "xml" in kind else form.JSON)
        except (SyntaxError, ValueError) as error:
            raise self._unreadable(error) from None

    def triples(self, text: str, graphs: Sequence[str]) -> list[Any]:
        """Answer a CONSTRUCT or DESCRIBE query with ``pyoxigraph.Triple`` objects."""
        found = oxigraph()
        data, kind = self._post(text, graphs, _TRIPLES)
        form = found.RdfFormat.from_media_type(kind.partition(";")[0].strip()) or found.RdfFormat.TURTLE
        try:
            return [quad.triple for quad in found.parse(data, form)]
        except (SyntaxError, ValueError) as error:
            raise self._unreadable(error) from None

    def _post(self, text: str, graphs: Sequence[str], accept: str) -> tuple[bytes, str]:
        fields = [("query", text)]
        fields += [("default-graph-uri", iri) for iri in graphs]
        fields += [("named-graph-uri", iri) for iri in graphs]
        headers = {"Accept": accept, "Content-Type": "application/x-www-form-urlencoded"}
        with self._client.send("POST", self.address, headers, urlencode(fields).encode()) as response:
            if response.headers.get("X-SPARQL-MaxRows"):
                most = response.headers["X-SPARQL-MaxRows"]
                raise StateError(
                    f"{self.address} cuts answers off at {most} rows, and this one is longer. "
                    "Raise its limit (Virtuoso: ResultSetMaxRows), or ask for less with LIMIT."
                )
            return response.read(), str(response.headers.get("Content-Type", ""))

    def _unreadable(self, error: Exception) -> StateError:
        return StateError(
            f"The answer of {self.address} cannot be read ({' '.join(str(error).split())[:200]}). "
            "Is that the address of its SPARQL query service?"
        )


def with_prefixes(text: str) -> str:
    """Put the prefixes that need not be declared before a query; what it declares itself comes later, and counts."""
    return "".join(f"PREFIX {name}: <{iri}>\n" for name, iri in NAMESPACES.items()) + text
