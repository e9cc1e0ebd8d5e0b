"""Sample tables in a closed file: their names, their columns, written and read a stretch at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from provml_hpc import identity
from provml_hpc.assembly.graph import ABSENT, FIXED_COLUMNS, Graph, SampleTable, key_of
from provml_hpc.storage.columns import CHUNK, COMPRESSED, SAMPLES, clean, describe, row_count

GROUP = "samples"

_Columns = dict[str, np.ndarray[Any, np.dtype[Any]]]
_NARROW = {"rank": np.int32, "attempt": np.int32}
_ODD = re.compile(r"[\x00-\x1f\x7f/]+")
_LONGEST = 100


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
    """Give every sample table its group and columns in the file, and let each MetricSeries point there."""
    uuids = _uuids(graph)
    paths: set[str] = set()
    pointers: dict[str, tuple[str, str]] = {}
    for table in graph.samples:
        name = free_name(table.name or "samples", paths)
        paths.add(name)
        table.path = f"/{GROUP}/{name}"
        columns: dict[str, str] = {}
        for measure in table.measures:
            columns[measure] = free_name(measure, (*FIXED_COLUMNS, *columns.values()))
        table.column_of = columns
        place = "series", uuids[table.activity], list(table.measures)
        for measure in table.measures:
            # As the assembly names the series of a table.
            pointers[identity.local(graph.run.uuid, *place, measure)] = table.path, columns[measure]
    series = graph.nodes.get("MetricSeries")
    if series is None:
        return
    found = [pointers.get(str(uuid), ("", "")) for uuid in series.columns["uuid"]]
    series.columns["path"] = [path for path, _ in found]
    series.columns["column"] = [column for _, column in found]


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
    parent = file.create_group(GROUP, track_order=True)
    uuids = _uuids(graph)
    for table in graph.samples:
        group = parent.create_group(table.path.rpartition("/")[2])
        describe(
            group, SAMPLES, table.count, [*FIXED_COLUMNS, *(table.column_of[measure] for measure in table.measures)]
        )
        group.attrs["label"] = clean(table.name)
        group.attrs["activity"] = table.activity
        group.attrs["activity_uuid"] = uuids[table.activity]
        _write_rows(group, table, check)


def _write_rows(group: Any, table: SampleTable, check: Callable[[], None]) -> None:
    options = {"chunks": (min(table.count, CHUNK),), **COMPRESSED} if table.count else {}
    fixed = {
        name: group.create_dataset(name, shape=(table.count,), dtype=_NARROW.get(name, np.int64), **options)
        for name in FIXED_COLUMNS
    }
    fixed["time_ns"].attrs["units"] = "nanoseconds since 1970-01-01T00:00:00Z"
    fixed["section"].attrs["absent"] = fixed["step"].attrs["absent"] = np.int64(ABSENT)
    values = {}
    for measure in table.measures:
        values[measure] = group.create_dataset(
            table.column_of[measure], shape=(table.count,), dtype=np.float64, **options
        )
        values[measure].attrs["measure"] = clean(measure)
    for start in range(0, table.count, CHUNK):
        check()
        stop = min(start + CHUNK, table.count)
        columns = table.read(start, stop)
        for name, dataset in fixed.items():
            dataset[start:stop] = columns[name]
        for measure, dataset in values.items():
            dataset[start:stop] = columns[key_of(measure)]
    for dataset in (*fixed.values(), *values.values()):
        dataset.flush()  # As for the columns of any table: here it can fail, later it can not.


def read_samples(group: Any) -> SampleTable:
    """Return a sample table of a closed file; its rows are read when they are asked for.

    Raises
    ------
    ValueError, KeyError
        It is not whole.
    """
    count = row_count(group)
    order = [str(name) for name in np.atleast_1d(group.attrs["columns"])]
    fixed = {name: group[name] for name in FIXED_COLUMNS if name in group}
    names = [name for name in order if name not in FIXED_COLUMNS and "measure" in group[name].attrs]
    values = {_text(group[name].attrs["measure"]): group[name] for name in names}
    for dataset in (*fixed.values(), *values.values()):
        if dataset.shape != (count,) or dataset.dtype.kind not in "iuf":
            raise ValueError(f"{dataset.name} is not a column of {count} numbers")

    def read(start: int, stop: int) -> _Columns:
        start, stop = max(start, 0), min(stop, count)
        columns: _Columns = {}
        for name in FIXED_COLUMNS:
            if name in fixed:
                columns[name] = fixed[name][start:stop].astype(np.int64, copy=False)
            else:
                columns[name] = np.full(max(stop - start, 0), ABSENT, np.int64)
        for measure, dataset in values.items():
            columns[key_of(measure)] = dataset[start:stop].astype(np.float64, copy=False)
        return columns

    return SampleTable(
        _text(group.attrs["label"]),
        int(group.attrs["activity"]),
        tuple(values),
        count,
        read,
        str(group.name),
        dict(zip(values, names, strict=True)),
    )


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
