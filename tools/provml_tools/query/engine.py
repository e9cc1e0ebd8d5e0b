"""An embedded SPARQL store in memory, over the graphs of one or many files.

A plain pattern sees the merge of all runs: each statement once, even where several files say it, so that counting
counts. The named graphs, one a run, are loaded beside it only for a query that mentions them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from provml_hpc.assembly.graph import Graph
from provml_hpc.errors import StateError, UsageError
from provml_hpc.vocabulary import NAMESPACES
from provml_tools.rdf import statements

if TYPE_CHECKING:
    import pyoxigraph

_XSD = NAMESPACES["xsd"]
_PIECE = 1 << 22
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_ASKS_FOR_GRAPHS = re.compile(r"(?<![?$:\w])(?:GRAPH|FROM)\b", re.IGNORECASE)
_POSITION = re.compile(r"error at (\d+):(\d+): (.*)", re.DOTALL)
_UPDATE = re.compile(r"^\s*(?:INSERT|DELETE|LOAD|CLEAR|CREATE|DROP|COPY|MOVE|ADD|WITH)\b", re.IGNORECASE | re.MULTILINE)


class Iri(str):
    """A value that names a node, as against a text."""

    __slots__ = ()


class Blank(str):
    """A node without a name."""

    __slots__ = ()


Value: TypeAlias = Iri | Blank | str | int | float | bool | None
Row: TypeAlias = dict[str, Value]


class Engine:
    """Answers SPARQL over graphs.

    Parameters
    ----------
    graphs
        The runs to ask about.
    loaded
        Called with each graph after it was loaded, to show progress.
    """

    def __init__(self, graphs: Sequence[Graph], loaded: Callable[[Graph], object] | None = None) -> None:
        self.graphs = graphs
        self._oxigraph = _oxigraph()
        self._store = self._oxigraph.Store()
        self._has_graphs = False
        for graph in graphs:
            self._load(statements(graph, named=False), self._oxigraph.RdfFormat.N_TRIPLES)
            if loaded:
                loaded(graph)

    def _load(self, texts: Iterable[str], form: pyoxigraph.RdfFormat) -> None:
        # Few large pieces: each bulk load has a fixed cost. A piece from `statements` always ends with a whole line.
        held: list[str] = []
        size = 0
        for text in texts:
            held.append(text)
            size += len(text)
            if size > _PIECE:
                self._store.bulk_load("".join(held).encode(), form)
                held, size = [], 0
        if held:
            self._store.bulk_load("".join(held).encode(), form)

    def add(self, texts: Iterable[str]) -> None:
        """Add statements, given as text of N-Triples."""
        self._load(texts, self._oxigraph.RdfFormat.N_TRIPLES)

    def _add_named_graphs(self) -> None:
        if not self._has_graphs:
            self._has_graphs = True
            self._load(
                chain.from_iterable(statements(graph) for graph in self.graphs), self._oxigraph.RdfFormat.N_QUADS
            )

    def ask(self, text: str) -> tuple[list[str], Iterator[list[Value]]] | bool:
        """Answer any SPARQL query: columns and rows, or the truth for ASK. CONSTRUCT and DESCRIBE give three columns.

        Raises
        ------
        UsageError
            The text is no SPARQL query; the message tells where.
        """
        if _ASKS_FOR_GRAPHS.search(_COMMENT.sub("", text)):
            self._add_named_graphs()
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"The SPARQL is not valid text at character {error.start + 1}. Give it in UTF-8."
            ) from None
        try:
            found = self._store.query(text, prefixes=NAMESPACES)
        except SyntaxError as error:
            raise UsageError(explain(str(error), text)) from None
        if isinstance(found, self._oxigraph.QueryBoolean):
            return bool(found)
        if isinstance(found, self._oxigraph.QueryTriples):
            return ["subject", "predicate", "object"], self._triples(found)
        return [variable.value for variable in found.variables], self._rows(found)

    def _rows(self, found: pyoxigraph.QuerySolutions) -> Iterator[list[Value]]:
        value = self._value
        for solution in _careful(found):
            yield [None if term is None else value(term) for term in solution]

    def _triples(self, found: pyoxigraph.QueryTriples) -> Iterator[list[Value]]:
        # A CONSTRUCT makes one triple for each solution; a graph has each once.
        seen: set[Any] = set()
        for triple in _careful(found):
            if triple not in seen:
                seen.add(triple)
                yield [self._value(term) for term in (triple.subject, triple.predicate, triple.object)]

    def select(self, text: str) -> list[Row]:
        """Answer a SELECT query of our own, as one dict a row."""
        answer = self.ask(text)
        assert not isinstance(answer, bool)
        columns, rows = answer
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def _value(self, term: Any) -> Value:
        if isinstance(term, self._oxigraph.NamedNode):
            return Iri(term.value)
        if isinstance(term, self._oxigraph.Literal):
            return python_value(term.value, term.datatype.value)
        if isinstance(term, self._oxigraph.BlankNode):
            return Blank(f"_:{term.value}")
        return str(term)


def python_value(text: str, datatype: str) -> Value:
    """Return the Python value of a literal; what has no Python form stays a text."""
    if datatype == _XSD + "string":
        return text
    if datatype == _XSD + "boolean":
        return text in ("true", "1")
    name = datatype.removeprefix(_XSD)
    try:
        if name in ("double", "decimal", "float"):
            return float(text)
        if name in ("integer", "long", "int", "short", "byte", "nonNegativeInteger", "positiveInteger", "unsignedLong"):
            return int(text)
    except ValueError:
        pass
    return text


def _careful(found: Iterable[Any]) -> Iterator[Any]:
    """Iterate over results, which are computed on the way, with errors of ours."""
    try:
        yield from found
    except (OSError, RuntimeError, ValueError) as error:
        raise StateError(
            f"The query could not be evaluated to its end: {_one_line(str(error))}. Change the query."
        ) from None


def _one_line(text: str) -> str:
    return " ".join(text.split())


def explain(message: str, text: str) -> str:
    """Turn the parser's message into one line that tells where and what."""
    found = _POSITION.match(message)
    if not found:
        return f"Not a SPARQL query: {_one_line(message)}. See https://www.w3.org/TR/sparql11-query/"
    line, column = int(found[1]), int(found[2])
    lines = text.splitlines() or [""]
    rest = lines[line - 1][column - 1 :].strip() if line <= len(lines) else ""
    near = f"near {rest[:30]!r}" if rest else "at its end"
    # The parser lists every character class that it would have taken: only words help a person.
    words = [
        word
        for word in re.split(r",\s+(?:or\s+)?", found[3].removeprefix("expected ").removeprefix("one of "))
        if re.fullmatch(r"[A-Za-z(){}.?'* ]+", word)
    ]
    if "Prefix not found" in words:
        what = f"unknown prefix (known without declaring: {', '.join(sorted(NAMESPACES))})"
    elif _UPDATE.search(text):
        what = "only SELECT, ASK, CONSTRUCT and DESCRIBE are answered; files are never changed by a query"
    elif any(len(word) > 25 for word in words):
        what = next(word for word in words if len(word) > 25)
    else:
        what = f"expected {' or '.join(words[:8])}" if words else "not expected there"
    return f"Wrong SPARQL at line {line}, column {column}, {near}: {what}. Correct the query."


def _oxigraph() -> ModuleType:
    try:
        import pyoxigraph
    except ImportError:
        raise StateError(
            "A query needs the package pyoxigraph. Install it with: pip install 'provml-hpc[offline]'"
        ) from None
    return pyoxigraph
