"""Engines over stores: what asks files asks these too."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from provml_hpc.assembly.graph import Graph
from provml_hpc.errors import ProvMLError, UsageError
from provml_hpc.vocabulary import NAMESPACES
from provml_tools.query.engine import Engine, Value, explain
from provml_tools.store.description import StoredRun
from provml_tools.store.embedded import RunStore, oxigraph
from provml_tools.store.endpoint import Endpoint, with_prefixes

# Texts, IRIs and comments may hold the word too; what stands outside of them is the clause.
_FROM = re.compile(
    r'''"""(?:\\.|(?!""").)*"""|"(?:\\.|[^"\\])*"|<[^<>"{}|^`\\\s]*>|\#[^\n]*|(?<![?$:\w])(FROM)\b'''
    r"""|'''(?:\\.|(?!''').)*'''|'(?:\\.|[^'\\])*'""",
    re.IGNORECASE | re.DOTALL,
)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = "http://www.w3.org/2001/XMLSchema#decimal"


def names_graphs(text: str) -> bool:
    """Tell whether a query says itself, with FROM, which graphs it is about."""
    return any(found[1] for found in _FROM.finditer(text))


class KnownFiles(Sequence[Graph]):
    """The HDF5 files of stored runs, opened when they are asked for; `missing` tells those that are not there."""

    def __init__(self, runs: Sequence[StoredRun], stack: contextlib.ExitStack) -> None:
        self._runs, self._stack = runs, stack
        self._found: list[Graph] | None = None
        self.missing: list[str] = []

    def _graphs(self) -> list[Graph]:
        if self._found is None:
            self._found = [graph for run in self._runs if (graph := self._open(run)) is not None]
        return self._found

    def _open(self, run: StoredRun) -> Graph | None:
        from provml_hpc.storage import reader

        if run.file is None:
            self.missing.append(run.name or run.run)
            return None
        try:
            # A file that was loaded while it was written has its own name now.
            path = run.file if run.file.exists() else Path(str(run.file).removesuffix(".partial"))
            file = reader.open(path)
            if file.graph.run.uuid == run.run:
                return self._stack.enter_context(file).graph
            file.close()
        except (ProvMLError, OSError):
            pass
        self.missing.append(str(run.file))
        return None

    @overload
    def __getitem__(self, at: int) -> Graph: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Graph]: ...
    def __getitem__(self, at: int | slice) -> Graph | Sequence[Graph]:
        return self._graphs()[at]

    def __len__(self) -> int:
        return len(self._graphs())


class _Stored(Engine):
    """What the two engines have in common: a copy in memory, for questions that need numbers from HDF5 beside it."""

    def __init__(self, runs: Sequence[StoredRun], stack: contextlib.ExitStack) -> None:
        self._oxigraph = oxigraph()
        self.runs = runs
        self.files = KnownFiles(runs, stack)
        self.graphs = self.files
        self._copied = False

    def add(self, texts: Iterable[str]) -> None:
        """Add statements for the questions to come. The store itself stays as it is: this goes on in a copy."""
        if not self._copied:
            self._store = self._copy()
            self._copied = True
            self._has_graphs = False
        super().add(texts)

    def _copy(self) -> Any:
        raise NotImplementedError

    def notes(self) -> list[str]:
        """Return what a person should know of the store beside an answer."""
        missing = self.files.missing
        if not missing:
            return []
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        return [f"samples were left out, since these files are not where they were: {', '.join(missing[:3])}{more}"]


class StoreEngine(_Stored):
    """Answers from a store on disk."""

    def __init__(self, store: RunStore, stack: contextlib.ExitStack) -> None:
        super().__init__(store.runs(), stack)
        self._disk = store
        self._store = store.store
        self._has_graphs = True

    def _copy(self) -> Any:
        import tempfile

        copy = self._oxigraph.Store()
        form = self._oxigraph.RdfFormat.N_TRIPLES
        with tempfile.TemporaryFile() as held:
            self._disk.store.dump(held, form, from_graph=self._oxigraph.DefaultGraph())
            held.seek(0)
            copy.bulk_load(held, form)
        return copy

    def _add_named_graphs(self) -> None:
        if not self._has_graphs:
            self._has_graphs = True
            for run in self.runs:
                self._store.bulk_extend(
                    self._disk.store.quads_for_pattern(None, None, None, self._oxigraph.NamedNode(run.graph))
                )

    def notes(self) -> list[str]:
        """Return what a person should know of the store beside an answer."""
        broken = self._disk.unfinished()
        said = [f"{broken} runs were not loaded to their end; load their files again"] if broken > 1 else []
        said += ["one run was not loaded to its end; load its file again"] if broken == 1 else []
        return super().notes() + said


class EndpointEngine(_Stored):
    """Answers from an endpoint: a question goes there as it is, over the merge of the graphs of all runs."""

    def __init__(self, endpoint: Endpoint, stack: contextlib.ExitStack) -> None:
        super().__init__(endpoint.runs(), stack)
        self._endpoint = endpoint
        self._empty = self._oxigraph.Store()
        self._iris = [run.graph for run in self.runs]

    def ask(self, text: str) -> tuple[list[str], Iterator[list[Value]]] | bool:
        """Answer any SPARQL query; see `Engine.ask`.

        Raises
        ------
        UsageError
            The text is no SPARQL query.
        StateError
            The endpoint does not answer it.
        """
        if self._copied:
            return super().ask(text)
        try:
            # Here first: so a mistake is explained as everywhere, and one knows which kind of answer will come.
            form = self._empty.query(text, prefixes=NAMESPACES)
        except SyntaxError as error:
            raise UsageError(explain(str(error), text)) from None
        except UnicodeEncodeError:
            raise UsageError("The SPARQL is not valid text. Give it in UTF-8.") from None
        graphs = [] if names_graphs(text) else self._iris
        whole = with_prefixes(text)
        if isinstance(form, self._oxigraph.QueryTriples):
            return ["subject", "predicate", "object"], self._triples(self._endpoint.triples(whole, graphs))  # type: ignore[arg-type]
        found = self._endpoint.select(whole, graphs)
        if isinstance(found, self._oxigraph.QueryBoolean):
            return bool(found)
        if isinstance(form, self._oxigraph.QueryBoolean):
            # Virtuoso answers with a table of one number, or of none.
            return any(term.value in ("1", "true") for solution in found for term in solution if term is not None)
        return [variable.value for variable in found.variables], self._rows(found)

    def _value(self, term: Any) -> Value:
        # Virtuoso gives integers beyond 32 bits as decimals; as a float64 a time would lose its nanoseconds.
        if (
            isinstance(term, self._oxigraph.Literal)
            and term.datatype.value == _DECIMAL
            and _INTEGER.fullmatch(term.value)
        ):
            return int(term.value)
        return super()._value(term)

    def _copy(self) -> Any:
        copy = self._oxigraph.Store()
        for triples in self._fetched():
            copy.bulk_extend(self._oxigraph.Quad(one.subject, one.predicate, one.object) for one in triples)
        return copy

    def _fetched(self) -> Iterator[list[Any]]:
        for iri in self._iris:
            yield self._endpoint.triples(f"CONSTRUCT {{ ?s ?p ?o }} WHERE {{ GRAPH <{iri}> {{ ?s ?p ?o }} }}", ())

    def _add_named_graphs(self) -> None:
        if not self._has_graphs:
            self._has_graphs = True
            for iri, triples in zip(self._iris, self._fetched(), strict=True):
                graph = self._oxigraph.NamedNode(iri)
                self._store.bulk_extend(
                    self._oxigraph.Quad(one.subject, one.predicate, one.object, graph) for one in triples
                )


@contextlib.contextmanager
def asking(path: str | Path) -> Iterator[StoreEngine]:
    """Open a store on disk to ask it.

    Raises
    ------
    FileMissingError, FormatError, FileBusyError
        It is not there, damaged, or being loaded into.
    """
    with contextlib.ExitStack() as stack:
        yield StoreEngine(stack.enter_context(RunStore(path)), stack)


@contextlib.contextmanager
def asking_endpoint(address: str) -> Iterator[EndpointEngine]:
    """Open an endpoint to ask it.

    Raises
    ------
    StateError
        It does not answer.
    """
    with contextlib.ExitStack() as stack:
        yield EndpointEngine(Endpoint(address), stack)
