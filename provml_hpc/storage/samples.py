"""Sample tables in a closed file, of measures and of counters: names, columns, written and read a stretch at a time."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from provml_hpc import identity
from provml_hpc.assembly.graph import ABSENT, FIXED_COLUMNS, Graph, SampleTable, key_of
from provml_hpc.storage import careful
from provml_hpc.storage.careful import clean
from provml_hpc.storage.columns import CHUNK, COMPRESSED, SAMPLES, describe, row_count, told_columns

GROUP, TELEMETRY = "samples", "telemetry"
"""Where the tables of measures lie, and those of the counters that were sampled beside the training."""

_Columns = dict[str, np.ndarray[Any, np.dtype[Any]]]
_NARROW = {"rank": "<i4", "attempt": "<i4"}
_ODD = re.compile(r"[\x00-\x1f\x7f/]+")
_LONGEST = 100
_TRIED = 32  # Chunks between two tries of how a column packs best.


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """Return a name that HDF5 takes as one link, close to what was wanted and not taken yet.

    Examples
    --------
    >>> free_name("val/loss", [])
    'val_loss'
    >>> free_name("step", ["step"])
    'step-2'
    """
    base = _ODD.sub("_", clean(wanted))[:_LONGEST]
    if not base.strip(". "):
        base = f"_{base}"
    taken, name, number = set(taken), base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def place_samples(graph: Graph) -> None:
    """Give every sample table its group and columns in the file, and let each series point there.

    Where a measure lies in several tables, its series points at the one with most rows, and lists the others.
    """
    uuids = _uuids(graph)
    pointers: dict[str, list[tuple[str, str, int]]] = {}
    for group, tables in ((GROUP, graph.samples), (TELEMETRY, graph.telemetry)):
        paths: set[str] = set()
        for table in tables:
            name = free_name(table.name or "samples", paths)
            paths.add(name)
            table.path = f"/{group}/{name}"
            columns: dict[str, str] = {}
            for measure in table.measures:
                columns[measure] = free_name(measure, (*FIXED_COLUMNS, *columns.values()))
            table.column_of = columns
            for measure in table.measures:
                if table.place == ABSENT:
                    uuid = identity.series(graph.run.uuid, uuids[table.activity], measure)
                else:
                    uuid = identity.telemetry(graph.run.uuid, uuids[table.place], table.name, measure)
                pointers.setdefault(uuid, []).append((table.path, columns[measure], table.count))
    for places in pointers.values():
        places.sort(key=lambda place: -place[2])
    for cls in ("MetricSeries", "TelemetrySeries"):
        series = graph.nodes.get(cls)
        if series is not None:
            found = [pointers.get(str(uuid), [("", "", 0)]) for uuid in series.columns["uuid"]]
            series.columns["path"] = [places[0][0] for places in found]
            series.columns["column"] = [places[0][1] for places in found]
            series.columns["elsewhere"] = [_others(places[1:]) for places in found]


def _others(places: list[tuple[str, str, int]]) -> str:
    if not places:
        return ""
    return json.dumps([{"path": path, "column": column, "rows": rows} for path, column, rows in places])


def _uuids(graph: Graph) -> dict[int, str]:
    found: dict[int, str] = {}
    for table in graph.nodes.values():
        found.update(zip(np.asarray(table.columns["id"]).tolist(), map(str, table.columns["uuid"]), strict=True))
    return found


def write_samples(file: Any, graph: Graph, check: Callable[[], None]) -> None:
    """Write all sample tables, one chunk of rows at a time.

    Parameters
    ----------
    file
        The file that is being written.
    graph
        The run; see :func:`place_samples`.
    check
        Called between chunks; what it raises ends the writing.
    """
    uuids = _uuids(graph)
    for name, tables in ((GROUP, graph.samples), (TELEMETRY, graph.telemetry)):
        if not tables and name == TELEMETRY:
            continue
        parent = file.create_group(name, track_order=True)
        for table in tables:
            _write_table(parent, table, uuids, check)


def _fixed(table: SampleTable) -> tuple[str, ...]:
    """Return the fixed columns of a table: nothing is ever sampled within a section."""
    return tuple(name for name in FIXED_COLUMNS if table.place == ABSENT or name != "section")


def _write_table(parent: Any, table: SampleTable, uuids: dict[int, str], check: Callable[[], None]) -> None:
    group = parent.create_group(table.path.rpartition("/")[2])
    columns = [*_fixed(table), *(table.column_of[measure] for measure in table.measures)]
    describe(group, SAMPLES, table.count, columns)
    careful.put_text(group, "label", table.name)
    group.attrs["activity"] = table.activity
    careful.put_text(group, "activity_uuid", uuids[table.activity])
    if table.place != ABSENT:
        group.attrs["place"] = table.place
        careful.put_text(group, "place_uuid", uuids[table.place])
    _write_rows(group, table, check)


def _write_rows(group: Any, table: SampleTable, check: Callable[[], None]) -> None:
    fixed = {name: _Column(group, name, table.count, _NARROW.get(name, "<i8")) for name in _fixed(table)}
    values = {measure: _Column(group, table.column_of[measure], table.count, "<f8") for measure in table.measures}
    careful.put_text(fixed["time_ns"].dataset, "units", "nanoseconds since 1970-01-01T00:00:00Z")
    for name in ("section", "step"):
        if name in fixed:
            fixed[name].dataset.attrs["absent"] = np.int64(ABSENT)
    for measure, column in values.items():
        careful.put_text(column.dataset, "measure", measure)
        if table.units.get(measure):
            careful.put_text(column.dataset, "units", table.units[measure])
    for start in range(0, table.count, CHUNK):
        check()
        columns = table.read(start, min(start + CHUNK, table.count))
        for name, column in fixed.items():
            column.write(start, columns[name])
        for measure, column in values.items():
            column.write(start, columns[key_of(measure)])
    for column in (*fixed.values(), *values.values()):
        column.dataset.flush()  # As for the columns of any table: here it can fail, later it can not.


class _Column:
    """One column that is written chunk by chunk, packed here and not by HDF5.

    Both know shuffle and deflate. But HDF5 lets deflate look for repetitions, which costs most of the time and finds
    none in the shuffled bytes of measured numbers; looking for runs only is more than twice as fast there and packs no
    worse. Where numbers do repeat, as steps do, it is the other way round. So both are tried now and then.
    """

    def __init__(self, group: Any, name: str, rows: int, kind: str) -> None:
        self._chunk = min(rows, CHUNK)
        options = {"chunks": (self._chunk,), **COMPRESSED} if rows else {}
        self.dataset = group.create_dataset(name, shape=(rows,), dtype=kind, **options)
        self._strategy = zlib.Z_DEFAULT_STRATEGY

    def write(self, start: int, values: np.ndarray[Any, np.dtype[Any]]) -> None:
        """Write the chunk that begins at a row; the last one may be short."""
        dtype = self.dataset.dtype
        rows = np.zeros(self._chunk, dtype)
        rows[: len(values)] = values
        shuffled = np.ascontiguousarray(rows.view(np.uint8).reshape(-1, dtype.itemsize).T)
        packed = _deflate(shuffled, self._strategy)
        if start // CHUNK % _TRIED == 0:
            other = zlib.Z_RLE if self._strategy == zlib.Z_DEFAULT_STRATEGY else zlib.Z_DEFAULT_STRATEGY
            tried = _deflate(shuffled, other)
            # Of two that pack alike, the faster one.
            if len(tried) < len(packed) * (1.01 if other == zlib.Z_RLE else 0.99):
                packed, self._strategy = tried, other
        self.dataset.id.write_direct_chunk((start,), packed)


def _deflate(data: np.ndarray[Any, np.dtype[np.uint8]], strategy: int) -> bytes:
    packer = zlib.compressobj(COMPRESSED["compression_opts"], zlib.DEFLATED, zlib.MAX_WBITS, 9, strategy)
    return packer.compress(data.data) + packer.flush()


def read_samples(group: Any) -> SampleTable:
    """Return a sample table of a closed file; its columns are read when they are asked for.

    Raises
    ------
    ValueError, KeyError
        It is not whole.
    """
    count = row_count(group)
    fixed = {name: careful.member(group, name) for name in FIXED_COLUMNS if careful.has(group, name)}
    columns = {name: careful.member(group, name) for name in told_columns(group) if name not in FIXED_COLUMNS}
    measures = {name: careful.attribute(dataset, "measure") for name, dataset in columns.items()}
    names = {str(measure): name for name, measure in measures.items() if measure is not None}
    values = {measure: columns[name] for measure, name in names.items()}
    for dataset in (*fixed.values(), *values.values()):
        if dataset.shape != (count,) or dataset.dtype.kind not in "iuf":
            raise ValueError(f"{dataset.name} is not a column of {count} numbers")

    def read(start: int, stop: int) -> _Columns:
        return read_columns(group, (*FIXED_COLUMNS, *values), start, stop)

    return SampleTable(
        str(careful.attribute(group, "label", "")),
        int(careful.attribute(group, "activity")),
        tuple(values),
        count,
        read,
        str(group.name),
        names,
        int(careful.attribute(group, "place", ABSENT)),
        {measure: str(careful.attribute(dataset, "units", "")) for measure, dataset in values.items()},
    )


def read_columns(group: Any, names: Iterable[str], start: int, stop: int) -> _Columns:
    """Read a stretch of some columns of a sample table: fixed ones, and measures, under :func:`key_of` them."""
    count = row_count(group)
    start, stop = max(start, 0), min(stop, count)
    columns = {name: careful.member(group, name) for name in group}
    column_of = {str(careful.attribute(dataset, "measure")): name for name, dataset in columns.items()}
    found: _Columns = {}
    for name in names:
        if name in FIXED_COLUMNS and name not in found:
            if name in columns:
                found[name] = np.asarray(columns[name][start:stop]).astype(np.int64, copy=False)
            else:
                found[name] = np.full(max(stop - start, 0), ABSENT, np.int64)
        else:
            found[key_of(name)] = np.asarray(columns[column_of[name]][start:stop]).astype(np.float64, copy=False)
    return found
