"""The closed file: the graph of a run as tables, written once and never changed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from provml_hpc import vocabulary
from provml_hpc.assembly.clocks import Measured
from provml_hpc.assembly.graph import ABSENT, Graph, RunInfo, SampleTable, Table
from provml_hpc.errors import FileMissingError, FormatError, ProvMLError, StateError, StorageError
from provml_hpc.storage import careful, metadata
from provml_hpc.storage.abandon import abandon
from provml_hpc.storage.columns import TABLE, read_table, stored_table, write_table
from provml_hpc.storage.lazy import LazyDict
from provml_hpc.storage.log_format import COMMIT_ROW, brief
from provml_hpc.storage.place import FORMAT_NAME, part_in, parts_in
from provml_hpc.storage.samples import GROUP, TELEMETRY, place_samples, read_columns, read_samples, write_samples

FORMAT_VERSION = "1.2"
"""The version of the closed file's format: a reader accepts any minor version of a major one that it knows."""

RECORDS, RELATIONS, COMMITS, CLOCKS = "records", "relations", "commits", "clocks"
_KNOWN: dict[str, Mapping[str, Any]] = {RECORDS: vocabulary.CLASS, RELATIONS: vocabulary.RELATION}

_BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError, MemoryError)
_TEXTS = ("run", "name", "phase", "study", "authority", "status", "writer")


def write_file(
    path: Path,
    graph: Graph,
    commits: np.ndarray[Any, np.dtype[Any]],
    *,
    check: Callable[[], None] = lambda: None,
    more: Callable[[Any], None] = lambda file: None,
) -> None:
    """Write the closed file of a run under a name that must be free, and wait until the disk has it.

    Parameters
    ----------
    path
        Its name; :func:`provml_hpc.storage.place.publish` gives it the one that it shall keep.
    graph
        The run. Its sample tables learn their places in the file by this.
    commits
        The rows of the log's commits, or its :meth:`~provml_hpc.storage.log_reader.LogReader.summary`.
    check
        Called now and then; what it raises ends the writing, for example when the time for it is up.
    more
        Called with the file at last, to add to it.

    Raises
    ------
    StorageError
        It could not be written; nothing of it is left.
    """
    try:
        # v110, since the file has to be readable with what clusters have installed.
        with h5py.File(path, "x", libver=("v110", "v110"), locking="best-effort") as file:
            try:
                _write(file, graph, commits, check)
                more(file)
                # Last, since it tells what it took to get here.
                careful.put_text(file, "details", json.dumps(graph.run.details, ensure_ascii=False, default=str))
                file.flush()
                os.fsync(file.id.get_vfd_handle())
            except BaseException:
                # Nothing of it is wanted, so HDF5 must not try once more to write what it could not.
                abandon(file)
                raise
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        if not isinstance(error, FileExistsError):
            path.unlink(missing_ok=True)
        if isinstance(error, ProvMLError):
            raise
        raise StorageError(f"{path} could not be written ({brief(error)}): make room, then recover the run") from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write(file: Any, graph: Graph, commits: np.ndarray[Any, np.dtype[Any]], check: Callable[[], None]) -> None:
    run = graph.run
    careful.put_text(file, "format", FORMAT_NAME)
    careful.put_text(file, "format_kind", "tables")
    careful.put_text(file, "format_version", FORMAT_VERSION)
    for name in _TEXTS:
        careful.put_text(file, name, run.uuid if name == "run" else str(getattr(run, name)))
    if run.apart:
        file.attrs["apart"] = True
    if run.part or run.parts > 1:
        file.attrs["part"], file.attrs["parts"] = np.int64(run.part), np.int64(run.parts)
    file.attrs["started_ns"] = np.int64(run.started_ns)
    file.attrs["committed_ns"] = np.int64(run.committed_ns)
    place_samples(graph)
    for name, tables in ((RECORDS, graph.nodes), (RELATIONS, graph.relations)):
        group = file.create_group(name)
        for table in tables.values():
            check()
            write_table(group, table)
    rows = commit_rows(commits)
    columns: dict[str, Any] = {name: rows[name].astype(np.int64) for name in COMMIT_ROW.names or ()}
    write_table(file, Table(COMMITS, columns))
    if graph.clocks:
        write_table(file, Table(CLOCKS, {name: np.array(column, np.int64) for name, column in _by_name(graph.clocks)}))
    write_samples(file, graph, check)


def _by_name(clocks: Iterable[Measured]) -> Iterator[tuple[str, Any]]:
    return zip(Measured._fields, zip(*clocks, strict=True), strict=True)


def commit_rows(commits: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    """Return commits as :data:`COMMIT_ROW`; frames are counted only where the log's reader did so."""
    rows = np.zeros(len(commits), COMMIT_ROW)
    have = commits.dtype.names or ()
    rows["number"], rows["time_ns"] = commits["number"], commits["time_ns"]
    rows["rows"] = commits["rows"] if "rows" in have else ABSENT
    rows["bytes"] = commits["bytes"] if "bytes" in have else np.diff(commits["frames_end"], prepend=np.uint64(0))
    return rows


def read_attributes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a closed file says of its run: the root attributes, `details` as the value that its JSON means.

    Raises
    ------
    FileMissingError, FormatError
        There is no such file, or it is damaged, foreign, or of a newer format.
    """
    with TablesFile(path) as file:
        return dict(file.attributes)


class TablesFile:
    """A closed file, open for reading.

    Raises
    ------
    FileMissingError
        There is no such file.
    FormatError
        It is damaged, foreign, or of a newer format; so also on any later read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
        self.attributes: Mapping[str, Any] = {}
        """The root attributes as Python values; `details` is what its JSON means."""
        self._file: Any = None
        self._size = 0
        try:
            self._size = careful.check_regular(self.path).st_size
            metadata.check(self.path)
            with careful.in_time(self._size):
                self._file = h5py.File(self.path, "r", locking="best-effort")
        except FileNotFoundError:
            raise FileMissingError(f"there is no file {self.path}: check the name") from None
        except (OSError, RuntimeError, ValueError) as error:  # h5py has no one error for a damaged file
            raise FormatError(_unreadable(self.path, error)) from error
        try:
            with self.guarded():
                self.attributes = self._read_attributes()
        except BaseException:
            self.close()
            raise

    def _read_attributes(self) -> dict[str, Any]:
        found = careful.attributes(self._file)
        if found.get("format") != FORMAT_NAME:
            raise FormatError(f"{self.path} is an HDF5 file, but not one of provml-hpc: give the file of a run")
        if found.get("format_kind") != "tables":
            raise FormatError(f"{self.path} is the log of a run, not its closed file: recover it")
        version = str(found.get("format_version"))
        if version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
            raise FormatError(
                f"{self.path} has format {version}, this release reads {FORMAT_VERSION}: use a release of its time"
            )
        try:
            details = json.loads(str(found.get("details", "{}")))
        except RecursionError as error:
            raise ValueError("its details are nested too deeply") from error
        found["details"] = _details(details)
        return found

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Read from the file: what goes wrong inside is said as :class:`FormatError`.

        Raises
        ------
        StateError
            The file was closed.
        FormatError
            It is damaged.
        """
        if not self._file:
            raise StateError(f"{self.path} was closed: open it again, and read while it is open")
        try:
            with careful.in_time(self._size):
                yield
        except ProvMLError:
            raise
        except _BROKEN as error:
            raise FormatError(f"{self.path} is damaged ({brief(error)}): take another copy of it") from error

    @property
    def file(self) -> Any:
        """The h5py file."""
        return self._file

    @property
    def run(self) -> RunInfo:
        """What is known of the run as a whole."""
        told = self.attributes
        texts = {name: str(told.get(name, "")) for name in _TEXTS if name != "run"}
        return RunInfo(
            str(told.get("run", "")),
            **texts,
            started_ns=_time(told.get("started_ns")),
            committed_ns=_time(told.get("committed_ns")),
            file=self.path.name,
            apart=bool(told.get("apart", False)),
            part=part_in(told),
            parts=parts_in(told),
            details=dict(told["details"]),
        )

    def names(self, kind: str) -> list[str]:
        """Return the tables of ``"records"`` or ``"relations"``, those of the vocabulary in its order first."""
        with self.guarded():
            group = careful.find(self._file, kind)
            there = [name for name in careful.members(group) if _kind(careful.member(group, name)) == TABLE]
            known = [name for name in _KNOWN.get(kind, ()) if name in there]
            return known + [name for name in there if name not in known]

    def table(self, kind: str, name: str) -> Table:
        """Read one table of ``"records"`` or ``"relations"``."""
        with self.guarded():
            table = read_table(self._table(kind, name))
            self._point(table)
            return table

    def _table(self, kind: str, name: str) -> Any:
        return careful.member(careful.member(self._file, kind), name)

    def _point(self, table: Table) -> None:
        """Fill in the file that a series lies in: it may have been moved since it was written."""
        if "path" in table.columns and "column" in table.columns and "file" in table.columns:
            table.columns["file"] = [self.path.name if path else "" for path in table.columns["path"]]

    def samples(self, kind: str = GROUP) -> list[SampleTable]:
        """Return the tables of ``"samples"`` or ``"telemetry"``, whose rows are read when they are asked for."""
        with self.guarded():
            group = careful.find(self._file, kind)
            return [self._careful(read_samples(careful.member(group, name))) for name in careful.members(group)]

    def _careful(self, table: SampleTable) -> SampleTable:
        read = table.read

        def guarded(start: int, stop: int) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
            with self.guarded():
                return read(start, stop)

        table.read = guarded
        return table

    def read_columns(self, path: str, names: Iterable[str], start: int, stop: int) -> dict[str, Any]:
        """Read a stretch of some columns of the sample table at a path of the file."""
        with self.guarded():
            return read_columns(careful.table(self._file, path), names, start, stop)

    def commits(self) -> np.ndarray[Any, np.dtype[Any]]:
        """Return the commits of the run, as :data:`COMMIT_ROW`."""
        with self.guarded():
            table = read_table(careful.member(self._file, COMMITS))
            rows = np.zeros(len(table), COMMIT_ROW)
            for name in COMMIT_ROW.names or ():
                rows[name] = table.columns[name]
            return rows

    def clocks(self) -> list[Measured]:
        """Return how far the ranks' clocks were found to be from the writer rank's; empty where nobody measured."""
        with self.guarded():
            if not careful.has(self._file, CLOCKS):
                return []
            columns = read_table(careful.table(self._file, f"/{CLOCKS}")).columns
            return [Measured(*map(int, row)) for row in zip(*(columns[name] for name in Measured._fields), strict=True)]

    def graph(self, stored: bool = False) -> Graph:
        """Return the run; its tables are read when they are asked for, while the file is open.

        Classes and relations of a newer release, which the vocabulary does not have, are left out. If `stored`, the
        columns of its tables stay in the file and are read a stretch at a time.
        """
        read = self._stored_table if stored else self.table
        nodes = LazyDict(self._known(RECORDS), lambda name: read(RECORDS, name))
        relations = LazyDict(self._known(RELATIONS), lambda name: read(RELATIONS, name))
        return Graph(self.run, nodes, relations, self.samples(), self.samples(TELEMETRY), self.clocks())

    def _stored_table(self, kind: str, name: str) -> Table:
        with self.guarded():
            table = stored_table(self._table(kind, name), self.guarded)
        # Series lie where their file is now, which is not what its column says: there are few of them.
        return self.table(kind, name) if {"path", "column", "file"} <= table.columns.keys() else table

    def _known(self, kind: str) -> list[str]:
        return [name for name in self.names(kind) if name in _KNOWN[kind]]

    def close(self) -> None:
        """Close the file. May be called twice."""
        with contextlib.suppress(Exception):  # Nothing was written, so nothing can be lost by it.
            self._file.close()

    def __enter__(self) -> TablesFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TablesFile {str(self.path)!r}, run {self.attributes.get('name')!r}>"


_DETAILS: dict[str, tuple[type, type]] = {
    "failures": (list, dict), "dropped": (list, dict), "disagreements": (list, dict), "cost": (dict, dict),
    "lost": (list, dict), "silent": (list, int), "ranks": (list, int), "sizes": (list, int), "attempts": (list, int),
    "damaged": (dict, int), "last_ns": (int, int), "parts": (int, int),
}  # fmt: skip
_NUMBERS = frozenset({"time_ns", "count", "attempt", "rank"})


def _details(told: Any) -> dict[str, Any]:
    """Return those details that are what they should be: nobody needs them, but whoever reads them trusts them."""
    found: dict[str, Any] = {}
    for name, value in told.items() if isinstance(told, dict) else ():
        outer, inner = _DETAILS.get(name, (object, object))
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if isinstance(value, outer) and all(isinstance(part, inner) and _is_sound(part, name) for part in parts):
            found[name] = value
    return found


def _is_sound(part: Any, name: str) -> bool:
    if not isinstance(part, dict):
        return True
    if name == "cost":
        return all(map(_is_number, part.values()))
    return all(part[key] is None or _is_number(part[key]) for key in _NUMBERS & part.keys())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < 2**63


def _time(value: Any) -> int:
    return value if isinstance(value, int) and -(2**63) <= value < 2**63 else ABSENT


def _kind(group: Any) -> str:
    return str(careful.attribute(group, "encoding-type", "")) if isinstance(group, h5py.Group) else ""


def _unreadable(path: Path, error: Exception) -> str:
    if path.is_dir():
        return f"{path} is a folder: give a file in it"
    if not path.is_file():
        return f"{path} is no file: give the file of a run"
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as reason:
        return f"{path} cannot be read ({reason.strerror}): check its permissions"
    if not start:
        return f"{path} is empty: its job may still be writing it, or died doing so; recover it"
    if start != b"\x89HDF\r\n\x1a\n":
        return f"{path} is not an HDF5 file: give the file of a run"
    return f"{path} is cut off or damaged ({brief(error)}): take another copy of it"
