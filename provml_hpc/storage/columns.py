"""One column of a table as one HDF5 dataset, and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from provml_hpc import vocabulary
from provml_hpc.assembly.graph import ABSENT, VALUE_TYPES, Column, Table, column_names

TABLE, SAMPLES, ENCODING_VERSION = "provml-table", "provml-samples", "1.0"
CHUNK = 65_536
"""Rows of a chunk: half a mebibyte of a float64 column. Tables are written and best read by whole chunks."""
COMPRESSED: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}

_SMALL = 1024  # Below that many rows a filter costs more room than it saves.
_CLOSED = {
    "outcome": ("", "completed", "failed", "open", "left"),
    "phase": ("", "curation", "preparation", "learning"),
    "digest_state": ("", "whole", "sampled", "given", "changed", "missing", "failed"),
}
"""Text columns with few possible values, stored as enums. A value that is none of these makes the column text."""
_TEXT = h5py.string_dtype("utf-8")
_TIME = "nanoseconds since 1970-01-01T00:00:00Z"


def clean(text: str) -> str:
    """Return text as HDF5 can hold it: no NUL, which would cut it off, and nothing that is not Unicode."""
    if "\0" in text:
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text


def write_table(parent: Any, table: Table) -> Any:
    """Write a table as a group with one dataset a column, and return the group."""
    group = parent.create_group(table.name)
    describe(group, TABLE, len(table), table.columns)
    times = _times(table.name)
    for name, column in table.columns.items():
        dataset = _write_column(group, name, column)
        if name in times or name == "time_ns":
            dataset.attrs["units"] = _TIME
        dataset.flush()  # What cannot be written has to fail here: when h5py lets a dataset go, it can only be printed.
    return group


def describe(group: Any, kind: str, rows: int, columns: Any) -> None:
    """Say of a group that it is a table, in the way that ``docs/format.md`` tells."""
    group.attrs["encoding-type"] = kind
    group.attrs["encoding-version"] = ENCODING_VERSION
    group.attrs["row_count"] = rows
    group.attrs["columns"] = np.array(list(columns), dtype=_TEXT)


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
        return group.create_dataset(name, data=np.array([clean(text) for text in column], object), dtype=_TEXT)
    options = {"chunks": (min(len(column), CHUNK),), **COMPRESSED} if len(column) >= _SMALL else {}
    dataset = group.create_dataset(name, data=column, **options)
    if column.dtype.kind == "i":
        dataset.attrs["absent"] = np.int64(ABSENT)
    return dataset


def _write_enum(group: Any, name: str, column: list[str], names: tuple[str, ...]) -> Any:
    codes = {text: code for code, text in enumerate(names)}
    # HDF5 lets no member of an enum be nameless.
    kind = h5py.enum_dtype({text or "absent": code for text, code in codes.items()}, basetype="u1")
    dataset = group.create_dataset(name, data=np.array([codes[text] for text in column], np.uint8), dtype=kind)
    # h5py and pandas show the numbers of an enum; here are their names in order, for whoever reads the dataset alone.
    dataset.attrs["categories"] = np.array([text or "absent" for text in names], dtype=_TEXT)
    return dataset


def read_column(dataset: Any, start: int, stop: int) -> Column | None:
    """Read a stretch of a column, or return None where it is of a kind that tables do not have."""
    if dataset.ndim != 1:
        return None
    if h5py.check_string_dtype(dataset.dtype) is not None:
        texts: list[str] = dataset.asstr(errors="replace")[start:stop].tolist()
        return texts
    members = h5py.check_enum_dtype(dataset.dtype)
    if members is not None:
        name = dataset.name.rpartition("/")[2]
        empty = "absent" if name.endswith("_type") else ""
        texts_of = {code: empty if text == "absent" else text for text, code in members.items()}
        return [texts_of.get(code, empty) for code in dataset[start:stop].tolist()]
    kind = {"i": np.int64, "u": np.int64, "f": np.float64, "b": np.bool_}.get(dataset.dtype.kind)
    if kind is None:
        return None
    return np.asarray(dataset[start:stop]).astype(kind, copy=False)


def read_table(group: Any, start: int = 0, stop: int | None = None) -> Table:
    """Read a stretch of a table.

    Columns that the vocabulary has and the file has not, since it is older, are filled up as absent; what is unknown is
    kept if it is a column at all.
    """
    name = group.name.rpartition("/")[2]
    rows = row_count(group)
    start, stop = min(start, rows), rows if stop is None else min(max(stop, start), rows)
    table = Table(name)
    for column in _order(group):
        dataset = group[column]
        if dataset.ndim == 1 and dataset.shape[0] != rows:
            raise ValueError(f"the column {column} of {group.name} has {dataset.shape[0]} rows, not {rows}")
        values = read_column(dataset, start, stop)
        if values is not None:
            table.columns[column] = values
    for column in _keys(name):
        if column not in table.columns:
            raise ValueError(f"{group.name} has no column {column}")
    for column, kind in _expected(name):
        if column not in table.columns:
            table.columns[column] = _absent(kind, stop - start)
    return table


def iterate(group: Any, chunk: int = CHUNK) -> Iterator[Table]:
    """Yield a table in stretches of `chunk` rows, so that a long one needs little memory."""
    rows = row_count(group)
    for start in range(0, rows, chunk):
        yield read_table(group, start, start + chunk)


def row_count(group: Any) -> int:
    """Return how many rows a table says it has, if its file is large enough for them.

    Raises
    ------
    ValueError
        It says what cannot be.
    """
    rows = int(group.attrs["row_count"])
    # No filter of HDF5 packs more than a thousand to one; a row count beyond that asks for memory and nothing else.
    if not 0 <= rows <= group.file.id.get_filesize() * 1100:
        raise ValueError(f"{group.name} says it has {rows} rows")
    return rows


def _order(group: Any) -> list[str]:
    told = [str(name) for name in np.atleast_1d(group.attrs.get("columns", []))]
    there = [name for name in group if isinstance(group.get(name), h5py.Dataset)]
    return [name for name in told if name in there] + [name for name in there if name not in told]


def _keys(name: str) -> tuple[str, ...]:
    if name in vocabulary.CLASS:
        return "id", "uuid"
    return ("subject", "object") if name in vocabulary.RELATION else ()


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
