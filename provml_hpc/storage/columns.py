"""One column of a table as one HDF5 dataset, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5p, h5s

from provml_hpc import vocabulary
from provml_hpc.assembly.graph import ABSENT, VALUE_TYPES, Column, Table, column_names
from provml_hpc.storage import careful

TABLE, SAMPLES, ENCODING_VERSION = "provml-table", "provml-samples", "1.0"
CHUNK = 65_536
"""Rows of a chunk: half a mebibyte of a float64 column. Tables are written and best read by whole chunks."""
COMPRESSED: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}

STRETCH = 8192
"""Rows of a stored column that are read together where they lie in no chunks."""

_SMALL = 1024  # Below that many rows a filter costs more room than it saves.
_FEW, _WASTE = 1 << 18, 8  # Text gets a fixed length up to so many bytes, or to so many times what it has.
_TEXT_CHUNK = 1 << 21
_CLOSED = {
    "outcome": ("", "completed", "failed", "open", "left"),
    "phase": ("", "curation", "preparation", "learning"),
    "digest_state": ("", "whole", "sampled", "given", "changed", "missing", "failed"),
}
"""Text columns with few possible values, stored as enums. A value that is none of these makes the column text."""
_TIME = "nanoseconds since 1970-01-01T00:00:00Z"


def write_table(parent: Any, table: Table) -> Any:
    """Write a table as a group with one dataset a column, and return the group."""
    group = parent.create_group(table.name)
    describe(group, TABLE, len(table), table.columns)
    times = _times(table.name)
    for name, column in table.columns.items():
        dataset = _write_column(group, name, column)
        if name in times or name == "time_ns":
            careful.put_text(dataset, "units", _TIME)
        dataset.flush()  # What cannot be written has to fail here: when h5py lets a dataset go, it can only be printed.
    return group


def describe(group: Any, kind: str, rows: int, columns: Any) -> None:
    """Say of a group that it is a table, in the way that ``docs/format.md`` tells."""
    careful.put_text(group, "encoding-type", kind)
    careful.put_text(group, "encoding-version", ENCODING_VERSION)
    group.attrs["row_count"] = rows
    careful.put_texts(group, "columns", columns)


def _times(table: str) -> set[str]:
    fields: tuple[vocabulary.Field, ...] = ()
    if table in vocabulary.CLASS:
        fields = vocabulary.fields(table)
    elif table in vocabulary.RELATION:
        fields = vocabulary.RELATION[table].fields
    return {field.name for field in fields if field.type == "time"}


def _write_column(group: Any, name: str, column: Column) -> Any:
    if isinstance(column, list):
        names = VALUE_TYPES if name.endswith("_type") else _CLOSED.get(name, ())
        if names and set(column) <= set(names):
            return _write_enum(group, name, column, names)
        return _write_text(group, name, column)
    options = {"chunks": (min(len(column), CHUNK),), **COMPRESSED} if len(column) >= _SMALL else {}
    dataset = group.create_dataset(name, data=column, **options)
    if column.dtype.kind == "i":
        dataset.attrs["absent"] = np.int64(ABSENT)
    return dataset


def _write_text(group: Any, name: str, column: list[str]) -> Any:
    """Write text of a fixed length, where that does not waste room.

    What is of variable length lies in a heap without checksums, takes more room, and is slower to read.
    """
    data = [careful.clean(text).encode("utf-8") for text in column]
    kind = careful.text_type(max(map(len, data), default=0))
    size = kind.get_size() * len(data)
    if size > max(_FEW, _WASTE * sum(map(len, data))):
        return group.create_dataset(name, data=np.array(data, object), dtype=h5py.string_dtype("utf-8"))
    rows = CHUNK
    while rows > 1 and rows * kind.get_size() > _TEXT_CHUNK:  # halves, so that stretches of whole chunks stay such
        rows //= 2
    how = h5p.create(h5p.DATASET_CREATE)
    how.set_obj_track_times(False)  # as h5py does: the same run gives the same bytes
    how.set_fill_time(h5d.FILL_TIME_NEVER)
    if size >= 8 * _SMALL:
        how.set_chunk((min(len(data), rows),))
        how.set_shuffle()
        how.set_deflate(1)
    space = h5s.create_simple((len(data),))
    dataset = h5d.create(group.id, name.encode(), kind, space, how)
    dataset.write(h5s.ALL, h5s.ALL, careful.padded(data, kind))
    return h5py.Dataset(dataset)


def _write_enum(group: Any, name: str, column: list[str], names: tuple[str, ...]) -> Any:
    codes = {text: code for code, text in enumerate(names)}
    # HDF5 lets no member of an enum be nameless.
    kind = h5py.enum_dtype({text or "absent": code for text, code in codes.items()}, basetype="u1")
    dataset = group.create_dataset(name, data=np.array([codes[text] for text in column], np.uint8), dtype=kind)
    # h5py and pandas show the numbers of an enum; here are their names in order, for whoever reads the dataset alone.
    careful.put_texts(dataset, "categories", [text or "absent" for text in names])
    return dataset


def read_column(dataset: Any, start: int, stop: int) -> Column | None:
    """Read a stretch of a column, or return None where it is of a kind that tables do not have."""
    if dataset.ndim != 1:
        return None
    kind, empty = dataset.dtype, stop <= start  # of which nothing is read: HDF5 would take as long as for a chunk
    if h5py.check_string_dtype(kind) is not None:
        texts: list[str] = [] if empty else dataset.asstr(errors="replace")[start:stop].tolist()
        return texts
    members = h5py.check_enum_dtype(kind)
    if members is not None:
        absent = "absent" if dataset.name.endswith("_type") else ""
        texts_of = {code: absent if text == "absent" else text for text, code in members.items()}
        return [] if empty else [texts_of.get(code, absent) for code in dataset[start:stop].tolist()]
    plain = {"i": np.int64, "u": np.int64, "f": np.float64, "b": np.bool_}.get(kind.kind)
    if plain is None:
        return None
    return np.zeros(0, plain) if empty else np.asarray(dataset[start:stop]).astype(plain, copy=False)


def read_table(group: Any, start: int = 0, stop: int | None = None) -> Table:
    """Read a stretch of a table.

    Columns that the vocabulary has and the file has not, since it is older, are filled up as absent; what is unknown is
    kept if it is a column at all.
    """
    return _read(group, _datasets(group), start, stop)


def _read(group: Any, datasets: dict[str, Any], start: int, stop: int | None) -> Table:
    name = group.name.rpartition("/")[2]
    rows = row_count(group)
    start, stop = min(start, rows), rows if stop is None else min(max(stop, start), rows)
    table = Table(name)
    for column, dataset in datasets.items():
        shape = dataset.shape
        if shape is not None and len(shape) == 1 and shape[0] != rows:
            raise ValueError(f"the column {column} of {group.name} has {shape[0]} rows, not {rows}")
        values = read_column(dataset, start, stop)
        if values is not None:
            table.columns[column] = values
    for column, kind in _keys(name):
        if column not in table.columns:
            raise ValueError(f"{group.name} has no column {column}")
        _check_kind(table, column, kind)
    for column, kind in _expected(name):
        if column not in table.columns:
            table.columns[column] = _absent(kind, stop - start)
        _check_kind(table, column, kind)
    return table


def _check_kind(table: Table, name: str, kind: str) -> None:
    """Refuse a column of another type than whoever reads the table relies on."""
    column = table.columns[name]
    found = "text" if isinstance(column, list) else {"i": "integer", "f": "real", "b": "boolean"}[column.dtype.kind]
    if found != {"type": "text"}.get(kind, kind):
        raise ValueError(f"the column {name} of {table.name} is {found}, not {kind}")


class StoredColumn(Sequence[Any]):
    """A column that stays in its file: a stretch of it, as :func:`read_column` gives it, is read when it is asked for.

    One stretch is kept, so that who goes through the rows in order reads each once; at the end it is forgotten.

    Parameters
    ----------
    rows
        How many there are.
    read
        Reads rows `start` to `stop`.
    stretch
        How many rows are read together: the rows of a chunk, which cannot be read in pieces.
    """

    def __init__(self, rows: int, read: Callable[[int, int], Any], stretch: int = STRETCH) -> None:
        self._rows, self._read, self._stretch = rows, read, stretch
        self._start = 0
        self._kept: Any = None

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, at: Any) -> Any:
        if not isinstance(at, slice):
            place = at + self._rows if at < 0 else at
            if not 0 <= place < self._rows:
                raise IndexError(at)
            return self[place : place + 1][0]
        start, stop, step = at.indices(self._rows)
        if step != 1 or stop - start > self._stretch:
            return self._read(min(start, stop), max(start, stop))[::step] if step > 0 else self._read(0, self._rows)[at]
        if self._kept is None or not self._start <= start <= stop <= self._start + len(self._kept):
            # From where a chunk begins, if what is asked for does not go beyond it.
            begin = start - start % self._stretch
            self._start = begin if stop <= begin + self._stretch else start
            self._kept = self._read(self._start, min(self._start + self._stretch, self._rows))
        found = self._kept[start - self._start : stop - self._start]
        if stop == self._rows:
            self._kept = None
        return found

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, self._rows, self._stretch):
            values = self._read(start, min(start + self._stretch, self._rows))
            yield from values if isinstance(values, list) else values.tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, np.dtype[Any]]:
        return np.asarray(self._read(0, self._rows), dtype)


def stored_table(group: Any, guard: Callable[[], AbstractContextManager[None]]) -> Table:
    """Return a table whose columns stay in the file, as :class:`StoredColumn`; `guard` is entered for each reading."""
    datasets = _datasets(group)
    table, rows = _read(group, datasets, 0, 0), row_count(group)

    # Of a column that the file has not, one absent value; of the others nothing.
    lacking = {name: _absent(kind, 1) for name, kind in _expected(table.name) if name not in datasets}

    def stored_column(name: str) -> Any:
        def read(start: int, stop: int) -> Any:
            with guard():
                return read_column(datasets[name], start, stop)

        def absent(start: int, stop: int) -> Any:
            empty = lacking[name]
            return empty * (stop - start) if isinstance(empty, list) else np.repeat(empty, stop - start)

        if name in lacking:
            return StoredColumn(rows, absent)
        chunks = datasets[name].chunks
        return StoredColumn(rows, read, min(chunks[0], CHUNK) if chunks else STRETCH)

    stored: dict[str, Any] = {name: stored_column(name) for name in table.columns}
    return Table(table.name, stored)


def row_count(group: Any) -> int:
    """Return how many rows a table says it has, if its file is large enough for them.

    Raises
    ------
    ValueError
        It says what cannot be.
    """
    rows = careful.attribute(group, "row_count")
    if not isinstance(rows, int):
        raise ValueError(f"{group.name} does not say how many rows it has")
    # No filter of HDF5 packs more than a thousand to one; a row count beyond that asks for memory and nothing else.
    if rows < 0 or (rows > careful.SMALL and rows > careful.file_size(group) * careful.MOST_PACKED):
        raise ValueError(f"{group.name} says it has {rows} rows")
    return rows


def _datasets(group: Any) -> dict[str, Any]:
    """Return the columns that there are, each opened once since HDF5 takes its time for that; those told of first."""
    opened = {name: careful.member(group, name) for name in careful.members(group)}
    there = {name: dataset for name, dataset in opened.items() if isinstance(dataset, h5py.Dataset)}
    return {name: there[name] for name in dict.fromkeys((*told_columns(group), *there)) if name in there}


def told_columns(group: Any) -> list[str]:
    """Return the columns that a table says it has."""
    told = careful.attribute(group, "columns", [])
    return [str(name) for name in told] if isinstance(told, list) else [str(told)]


def _keys(name: str) -> tuple[tuple[str, str], ...]:
    if name in vocabulary.CLASS:
        return ("id", "integer"), ("uuid", "text")
    return (("subject", "integer"), ("object", "integer")) if name in vocabulary.RELATION else ()


def _expected(name: str) -> Iterator[tuple[str, str]]:
    if name in vocabulary.CLASS:
        yield from column_names(vocabulary.fields(name))
    elif name in vocabulary.RELATION:
        yield from column_names(vocabulary.RELATION[name].fields)


def _absent(kind: str, rows: int) -> Column:
    if kind in ("text", "type"):
        return ["absent" if kind == "type" else ""] * rows
    if kind == "integer":
        return np.full(rows, ABSENT, np.int64)
    return np.full(rows, np.nan) if kind == "real" else np.zeros(rows, np.bool_)
