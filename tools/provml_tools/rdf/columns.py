"""Columns of a graph's tables, as *tails*: what stands behind the subject, for each row that says something.

A subject and its tails make text by one join, ``subject + subject.join(tails)``, which is what keeps conversion about
as fast as formatting strings at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from provml_hpc.assembly.graph import ABSENT, Column, Table
from provml_hpc.errors import FormatError
from provml_hpc.vocabulary import Field, expand
from provml_tools.rdf import terms

Tails = list[str]
Numbers = np.ndarray[Any, np.dtype[np.int64]]


class SortedTable:
    """A table read in the order of its ids, or of subject and object, whatever the order of its rows is."""

    def __init__(self, table: Table, *keys: str) -> None:
        self.name = table.name
        self._columns = table.columns
        missing = [key for key in keys if key not in table.columns]
        if missing:
            raise FormatError(f"The table {table.name} has no column {missing[0]!r}. Try `provml recover` on the file.")
        self.keys = [np.asarray(table.columns[key], np.int64) for key in keys]
        self._order: Numbers | None = None
        if not self._is_sorted():
            # Stable, so that equal rows keep their order and two conversions agree.
            self._order = np.lexsort(self.keys[::-1])
            self.keys = [key[self._order] for key in self.keys]

    def _is_sorted(self) -> bool:
        higher = np.zeros(max(len(self) - 1, 0), bool)
        for key in reversed(self.keys):
            higher = (key[:-1] < key[1:]) | ((key[:-1] == key[1:]) & higher)
            if key is self.keys[-1]:
                higher |= key[:-1] == key[1:]
        return bool(higher.all())

    def __len__(self) -> int:
        return len(self.keys[0])

    def has(self, name: str) -> bool:
        """Tell whether there is such a column; files of an older release lack newer ones."""
        return name in self._columns

    def array(self, name: str, start: int, stop: int) -> Numbers:
        """Return rows `start` to `stop` of a column of numbers."""
        column = np.asarray(self._columns[name])
        return column[start:stop] if self._order is None else column[self._order[start:stop]]

    def values(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return rows `start` to `stop` of a column, as Python values."""
        column: Column = self._columns[name]
        if not isinstance(column, list):
            found: list[Any] = self.array(name, start, stop).tolist()
            return found
        if self._order is None:
            return column[start:stop]
        return [column[at] for at in self._order[start:stop].tolist()]


def field_tails(table: SortedTable, field: Field, start: int, stop: int, end: str) -> Iterator[tuple[int, str]]:
    """Yield (row, tail) for all that a literal field says in rows `start` to `stop`; rows count from `start`.

    `end` is what closes a statement: the graph, if it has one, and the full stop.
    """
    if not table.has(field.name):
        return
    before = f" <{expand(field.iri)}> "
    if field.type == "text":
        yield from _texts(table.values(field.name, start, stop), before + '"', '"' + end)
    elif field.type == "value":
        yield from _values(table, field, start, stop, before, end)
    elif field.type == "boolean":
        for row, truth in enumerate(table.values(field.name, start, stop)):
            yield row, f'{before}"{"true" if truth else "false"}{terms.BOOLEAN}{end}'
    elif field.type == "real":
        for row, number in enumerate(table.values(field.name, start, stop)):
            if number == number:  # NaN stands for: nothing was said
                yield row, f'{before}"{terms.real(number)}{terms.DOUBLE}{end}'
    elif field.type in ("integer", "time"):
        column = table.array(field.name, start, stop)
        rows = np.flatnonzero(column != ABSENT)
        numbers = column[rows]
        if field.type == "time":
            yield from zip(
                rows.tolist(), _dressed(terms.times(numbers), f'{before}"', terms.DATETIME + end), strict=True
            )
            before = f" <{expand(terms.companion(field.name))}> "
        yield from zip(rows.tolist(), _dressed(numbers.tolist(), f'{before}"', terms.INTEGER + end), strict=True)


def _dressed(values: Sequence[Any], before: str, after: str) -> Iterator[str]:
    return (f"{before}{value}{after}" for value in values)


def _texts(values: Sequence[str], before: str, after: str) -> Iterator[tuple[int, str]]:
    escape = terms.escape
    for row, text in enumerate(values):
        if text:
            yield row, before + escape(text) + after


def _values(
    table: SortedTable, field: Field, start: int, stop: int, before: str, end: str
) -> Iterator[tuple[int, str]]:
    marks = table.values(field.name + "_type", start, stop)
    beside = f' <{expand(terms.companion(field.name + "_type"))}> "'
    for row, (text, mark) in enumerate(zip(table.values(field.name, start, stop), marks, strict=True)):
        kind = terms.value_type(mark)
        if kind == "absent":
            continue
        yield row, f"{before}{terms.value_literal(text, kind)}{end}"
        if kind in terms.UNTYPED:
            yield row, f'{beside}{kind}"{end}'
