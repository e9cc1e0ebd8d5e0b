"""Columns of a graph's tables, as *cells*: for each row the lines that a field says of it, or the empty text.

A column becomes cells in one list comprehension, and cells become text by joining them: which is what keeps conversion
about as fast as formatting strings at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from provml_hpc.assembly.graph import ABSENT, Table
from provml_hpc.errors import FormatError
from provml_hpc.vocabulary import Field, expand
from provml_tools.rdf import terms

Cells = list[str]
Numbers = np.ndarray[Any, np.dtype[np.int64]]


class SortedTable:
    """A table read in the order of its ids, or of subject and object, whatever the order of its rows is."""

    def __init__(self, table: Table, *keys: str) -> None:
        self.name = table.name
        self._columns = {**table.columns}
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
        column = self._columns[name]
        if self._order is None:
            return np.asarray(column[start:stop])
        if not isinstance(column, np.ndarray):
            # The rows are not read in the order that they have in the file: once as a whole, then.
            column = self._columns[name] = np.asarray(column)
        return column[self._order[start:stop]]

    def values(self, name: str, start: int, stop: int) -> Sequence[Any]:
        """Return rows `start` to `stop` of a column, as Python values."""
        column: Any = self._columns[name]
        if self._order is None:
            values = column[start:stop]
        elif isinstance(column, np.ndarray):
            values = column[self._order[start:stop]]
        else:
            if not isinstance(column, list):
                known: dict[Any, Any] = {}
                column = self._columns[name] = [known.setdefault(value, value) for value in column]
            values = [column[at] for at in self._order[start:stop].tolist()]
        return values.tolist() if isinstance(values, np.ndarray) else values  # type: ignore[no-any-return]


def field_cells(
    table: SortedTable, field: Field, start: int, stop: int, subjects: Sequence[str], end: str
) -> Cells | None:
    """Return what a literal field says in rows `start` to `stop`, or None where it says nothing in any of them.

    Parameters
    ----------
    table, field, start, stop
        The column and its rows.
    subjects
        The subject of each row, as it stands in a statement.
    end
        What closes a statement: the graph, if it has one, and the full stop.
    """
    if not table.has(field.name):
        return None
    before = f" <{expand(field.iri)}> "
    if field.type == "text":
        return _texts(table.values(field.name, start, stop), subjects, before + '"', '"' + end)
    if field.type == "value":
        return _values(table, field, start, stop, subjects, before, end)
    if field.type == "boolean":
        said = (f'{before}"false{terms.BOOLEAN}{end}', f'{before}"true{terms.BOOLEAN}{end}')
        return [s + said[bool(truth)] for s, truth in zip(subjects, table.values(field.name, start, stop), strict=True)]
    if field.type == "real":
        after = terms.DOUBLE + end
        # NaN stands for: nothing was said.
        return [
            f'{s}{before}"{terms.real(number)}{after}' if number == number else ""
            for s, number in zip(subjects, table.values(field.name, start, stop), strict=True)
        ]
    if field.type not in ("integer", "time"):
        return None
    column = table.array(field.name, start, stop)
    there = column != ABSENT
    if not there.any():
        return None
    before, after = before + '"', terms.INTEGER + end
    if field.type == "time":
        dated, numbered = terms.DATETIME + end, f' <{expand(terms.companion(field.name))}> "'
        rows = zip(subjects, terms.times(column), column.tolist(), strict=True)
        cells = [f"{s}{before}{text}{dated}{s}{numbered}{number}{after}" for s, text, number in rows]
    else:
        cells = [f"{s}{before}{number}{after}" for s, number in zip(subjects, column.tolist(), strict=True)]
    for row in np.flatnonzero(~there).tolist():
        cells[row] = ""
    return cells


def _texts(values: Sequence[str], subjects: Sequence[str], before: str, after: str) -> Cells | None:
    if not any(values):
        return None
    if not terms.are_plain(values):
        values = [*map(terms.escape, values)]
    return [f"{s}{before}{text}{after}" if text else "" for s, text in zip(subjects, values, strict=True)]


def _values(
    table: SortedTable, field: Field, start: int, stop: int, subjects: Sequence[str], before: str, end: str
) -> Cells | None:
    marks = table.values(field.name + "_type", start, stop)
    beside = f' <{expand(terms.companion(field.name + "_type"))}> "'
    cells = []
    for s, text, mark in zip(subjects, table.values(field.name, start, stop), marks, strict=True):
        kind = terms.value_type(mark)
        if kind == "absent":
            cells.append("")
        elif kind in terms.UNTYPED:
            cells.append(f'{s}{before}{terms.value_literal(text, kind)}{end}{s}{beside}{kind}"{end}')
        else:
            cells.append(f"{s}{before}{terms.value_literal(text, kind)}{end}")
    return cells
