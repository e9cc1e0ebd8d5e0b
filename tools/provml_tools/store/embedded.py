"""The store on disk: a folder that Oxigraph keeps, with one named graph a run and their merge beside it.

The default graph holds each statement of all runs once, so that a plain pattern counts right, and what a run is
described by. A run whose description is missing was not loaded to its end: it is described last.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from provml_hpc.assembly.graph import ABSENT, Graph
from provml_hpc.errors import FileBusyError, FileMissingError, FormatError, StateError, StorageError, UsageError
from provml_hpc.vocabulary import NAMESPACES
from provml_tools.rdf.streams import TextStream
from provml_tools.store.description import StoredRun, body, describe, graph_iri, path_of

if TYPE_CHECKING:
    import pyoxigraph

LOADED, REPLACED, UNCHANGED, OLDER = "loaded", "replaced", "unchanged", "older"
"""What came of a file: the last means that the store has a later version of its run already."""

_CHUNK = 1 << 16
_LOCK = "provml.lock"
_PATIENCE = 5.0

RUNS = """\
SELECT ?graph ?run ?name ?status ?committed ?place WHERE {
  ?graph a prov:Bundle ; provml:runId ?run .
  OPTIONAL { ?graph rdfs:label ?name }
  OPTIONAL { ?graph provml:status ?status }
  OPTIONAL { ?graph provml:committedNs ?committed }
  OPTIONAL { ?graph prov:atLocation ?place }
}
ORDER BY ?name ?graph"""
"""Lists the runs; where descriptions stand in the named graphs, the pattern does too."""

# The place and the converter of a description go where nothing else is described by them.
_FORGET = """\
DELETE { <%(graph)s> ?p ?o . ?o ?q ?v } WHERE {
  <%(graph)s> ?p ?o
  OPTIONAL {
    ?o ?q ?v
    FILTER(?p IN (prov:atLocation, prov:wasAttributedTo))
    FILTER NOT EXISTS { ?other ?p ?o FILTER(?other != <%(graph)s>) }
  }
} ;
DELETE WHERE { <%(graph)s> ?p ?o }"""


class RunStore:
    """A store on disk; a context manager. One process loads at a time, many may ask.

    Parameters
    ----------
    path
        Its folder.
    write
        Whether to load: then the folder is made if it is not there.

    Raises
    ------
    FileMissingError
        There is no store, and it is only to be read.
    UsageError
        The place is taken by something else.
    FileBusyError
        Another process loads into it.
    """

    def __init__(self, path: str | Path, write: bool = False) -> None:
        self.path = Path(path)
        self._oxigraph = oxigraph()
        _check_place(self.path, write)
        self._lock = _lock(self.path, write)
        try:
            opened = self._oxigraph.Store if write else self._oxigraph.Store.read_only
            self.store: pyoxigraph.Store = opened(str(self.path))
        except (OSError, ValueError, RuntimeError) as error:
            self.close()
            raise FormatError(
                f"{self.path} cannot be opened as a store ({_brief(error)}). "
                "Stop what else uses it, or load the files anew into another folder."
            ) from None

    def close(self) -> None:
        """Let go of the folder."""
        # Oxigraph closes its files when the last reference to the store goes.
        self.__dict__.pop("store", None)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, graph: Graph, file: Path, moved: Callable[[int], object] = lambda _: None) -> str:
        """Put a run into the store, in the place of an earlier version of it.

        A load that is broken off leaves the run without description; loading it again makes it whole.

        Parameters
        ----------
        graph
            The run.
        file
            Where it was read from.
        moved
            Called now and then with the number of bytes of text that went in.

        Returns
        -------
        str
            What came of it: ``loaded``, ``replaced``, ``unchanged``, or ``older`` where the store has a later version.
        """
        iri = graph_iri(graph)
        named = self._oxigraph.NamedNode(iri)
        said = self._parsed(describe(graph, file))
        known = [quad for quad in self._quads(named) if quad.subject == named]
        if known:
            if set(known) == {quad for quad in said if quad.subject == named}:
                return UNCHANGED
            if _committed(known) > graph.run.committed_ns:
                return OLDER
        try:
            self.store.update(_FORGET % {"graph": iri}, prefixes=NAMESPACES)
            if self.store.contains_named_graph(named):
                self._drop_stale(graph, named)
            # The merge last, and above first: what it has is always in some graph, wherever this is broken off.
            self._bulk(body(graph, named=True), self._oxigraph.RdfFormat.N_QUADS, moved)
            self._bulk(body(graph, named=False), self._oxigraph.RdfFormat.N_TRIPLES, moved)
            self.store.extend(said)
            self.store.flush()
        except OSError as error:
            raise StorageError(
                f"{self.path} cannot take {file.name} ({_brief(error)}). Make room, then load it again."
            ) from error
        return REPLACED if known else LOADED

    def runs(self) -> list[StoredRun]:
        """Return the runs that are there as a whole."""
        return [run_of(row) for row in rows_of(self.store.query(RUNS, prefixes=NAMESPACES))]

    def unfinished(self) -> int:
        """Return how many runs were not loaded to their end."""
        whole = {run.graph for run in self.runs()}
        return sum(1 for graph in self.store.named_graphs() if str(graph.value) not in whole)

    def _quads(self, subject: Any) -> Iterator[Any]:
        return self.store.quads_for_pattern(subject, None, None, self._oxigraph.DefaultGraph())

    def _parsed(self, text: str) -> list[Any]:
        # Through a store, as below.
        through = self._oxigraph.Store()
        through.load(text.encode(), self._oxigraph.RdfFormat.N_TRIPLES)
        return list(through)

    def _drop_stale(self, graph: Graph, named: Any) -> None:
        """Remove what the new version of a run says no more: to remove all would take far longer than to load it."""
        ox = self._oxigraph
        # 8 bytes a statement; of two with one hash, a stale one would stay.
        new = [np.empty(0, np.int64)]
        parsed = ox.parse(TextStream(body(graph, named=True)), ox.RdfFormat.N_QUADS)
        while held := list(islice(parsed, _CHUNK)):
            # Through a store, since that writes numbers and times its own way.
            through = ox.Store()
            through.bulk_extend(held)
            new.append(np.fromiter((hash(quad) for quad in through), np.int64))
        wanted = np.sort(np.concatenate(new))
        stale: list[Any] = []
        quads = self.store.quads_for_pattern(None, None, None, named)
        while held := list(islice(quads, _CHUNK)):
            found = np.fromiter((hash(quad) for quad in held), np.int64, len(held))
            # `wanted` may be empty, and then all is stale.
            places = np.minimum(np.searchsorted(wanted, found), max(len(wanted) - 1, 0))
            is_new = wanted[places] == found if len(wanted) else np.zeros(len(held), bool)
            stale += [held[at] for at in np.flatnonzero(~is_new)]
        default = ox.DefaultGraph()
        for quad in stale:
            said = (quad.subject, quad.predicate, quad.object)
            graphs = {one.graph_name for one in self.store.quads_for_pattern(*said, None)}
            if graphs <= {default, named}:
                self.store.remove(ox.Quad(*said, default))
            self.store.remove(quad)

    def _bulk(self, texts: Iterable[str], form: Any, moved: Callable[[int], object]) -> None:
        self.store.bulk_load(TextStream(texts, moved), form)


def rows_of(found: Any) -> Iterator[dict[str, str]]:
    """Yield solutions as dicts of texts, without what is not bound."""
    names = [variable.value for variable in found.variables]
    for solution in found:
        yield {name: term.value for name, term in zip(names, solution, strict=True) if term is not None}


def run_of(row: dict[str, str]) -> StoredRun:
    """Return the run that a row of `RUNS` tells of."""
    committed = row.get("committed", "")
    return StoredRun(
        row["graph"],
        row["run"],
        row.get("name", ""),
        row.get("status", ""),
        int(committed) if committed.lstrip("-").isdecimal() else None,
        path_of(row.get("place", "")),
    )


def _committed(known: Iterable[Any]) -> int:
    iri = NAMESPACES["provml"] + "committedNs"
    return max((int(quad.object.value) for quad in known if quad.predicate.value == iri), default=ABSENT)


def _check_place(path: Path, write: bool) -> None:
    if path.is_dir():
        if (path / "CURRENT").is_file() or (write and all(one.name == _LOCK for one in path.iterdir())):
            return
        if write:
            raise UsageError(f"{path} is a folder with other things in it. Name a new folder, or one that is a store.")
    elif path.exists():
        raise UsageError(f"{path} is a file, and a store is a folder. Name the store before the files.")
    if not write:
        raise FileMissingError(f"There is no store at {path}. Make one with: provml load {path} FILE...")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"Cannot make {path} ({error.strerror}). Name a folder that can be made.") from None


def _lock(path: Path, write: bool) -> Any:
    """Keep others from loading, or, to load, from asking too: Oxigraph has no rule for readers beside a writer."""
    try:
        file = (path / _LOCK).open("a" if write else "r")
    except OSError:
        if write:
            raise StorageError(f"Cannot write into {path}. Name a store that can be written.") from None
        # A copy that nobody may write, or that another tool made, needs no lock.
        return None
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if write else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() > until:
                file.close()
                who = "is in use" if write else "is being loaded into"
                raise FileBusyError(f"The store {path} {who} by another process. Try again when it is done.") from None
            time.sleep(0.05)
        except OSError:
            # A file system without locks.
            with contextlib.suppress(OSError):
                file.close()
            return None


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def oxigraph() -> ModuleType:
    """Return the package pyoxigraph.

    Raises
    ------
    StateError
        It is not installed.
    """
    try:
        import pyoxigraph
    except ImportError:
        raise StateError(
            "A store needs the package pyoxigraph. Install it with: pip install 'provml-hpc[offline]'"
        ) from None
    return pyoxigraph
