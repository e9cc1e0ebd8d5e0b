"""Tables for people: rows that are looked at by attribute or by name, and that print well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from provml_hpc.assembly.graph import ABSENT, Table
from provml_hpc.errors import UsageError

_SHOWN = 12
_WIDEST = 28
_WIDTH = dict.fromkeys(("uuid", "content", "digest"), 9)


class Row(Mapping[str, Any]):
    """One row of a :class:`RecordTable`: its fields are attributes and items. What was not said is None."""

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __getattr__(self, name: str) -> Any:
        try:
            return self._fields[name]
        except KeyError:
            raise AttributeError(f"there is no field {name!r}; there are {', '.join(self._fields)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._fields]

    def __repr__(self) -> str:
        said = (f"{name}={value!r}" for name, value in self._fields.items() if value is not None and value != "")
        return f"Row({', '.join(said)})"


class RecordTable(Sequence[Row]):
    """Rows of one kind.

    Parameters
    ----------
    name
        What the rows are.
    columns
        The names of the fields and their values, all of one length.
    """

    def __init__(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        self.name = name
        self._columns = {key: list(values) for key, values in columns.items()}

    @classmethod
    def of(cls, table: Table) -> RecordTable:
        """Make one of a table of a graph; an integer that is absent becomes None."""
        return cls(table.name, {name: plain(column) for name, column in table.columns.items()})

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the fields."""
        return tuple(self._columns)

    def column(self, name: str) -> list[Any]:
        """Return the values of one field.

        Raises
        ------
        UsageError
            There is no such field.
        """
        if name not in self._columns:
            raise UsageError(f"{self.name} have no field {name!r}; choose one of {', '.join(self._columns)}")
        return list(self._columns[name])

    def where(self, **fields: Any) -> RecordTable:
        """Return the rows whose fields have these values.

        Examples
        --------
        >>> RecordTable("runs", {"id": [0, 1], "outcome": ["completed", "failed"]}).where(outcome="failed")[0].id
        1
        """
        wanted = [(self.column(name), value) for name, value in fields.items()]
        return self._take(n for n in range(len(self)) if all(column[n] == value for column, value in wanted))

    def _take(self, rows: Iterable[int]) -> RecordTable:
        chosen = list(rows)
        return RecordTable(self.name, {name: [column[n] for n in chosen] for name, column in self._columns.items()})

    def to_pandas(self) -> Any:
        """Return the rows as a pandas DataFrame; integers that may be absent are of type ``Int64``.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        pandas = _pandas()
        frame = pandas.DataFrame(self._columns, columns=list(self._columns))
        for name, column in self._columns.items():
            if {type(value) for value in column} == {int, type(None)}:
                frame[name] = pandas.array(column, dtype="Int64")
        return frame

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), []))

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> RecordTable: ...
    def __getitem__(self, place: int | slice) -> Row | RecordTable:
        if isinstance(place, slice):
            return self._take(range(*place.indices(len(self))))
        if not -len(self) <= place < len(self):  # a table without columns would have no end
            raise IndexError(f"there are {len(self)} {self.name}, so none has the number {place}")
        return Row({name: column[place] for name, column in self._columns.items()})

    def __repr__(self) -> str:
        names = [name for name in self._columns if any(value not in (None, "") for value in self._columns[name])]
        head = f"{len(self)} {self.name}"
        if not names:
            return head
        shown = {name: self._columns[name][:_SHOWN] for name in names}
        cells = [
            [name, *(_cell(value, _WIDTH.get(name, _WIDEST)) for value in column)] for name, column in shown.items()
        ]
        widths = [max(map(len, column)) for column in cells]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in zip(*cells, strict=True)
        ]
        rest = [f"... and {len(self) - _SHOWN} more"] if len(self) > _SHOWN else []
        return "\n".join([head, *lines, *rest])


class SampleArray(np.ndarray[Any, np.dtype[Any]]):
    """A numpy structured array of samples that can become a DataFrame."""

    def to_pandas(self) -> Any:
        """Return the samples as a pandas DataFrame.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        return _pandas().DataFrame({name: np.asarray(self[name]) for name in self.dtype.names or ()})


def plain(column: Any) -> list[Any]:
    """Return a column as Python values, with None for an absent integer."""
    if isinstance(column, list):
        return column
    values: list[Any] = column.tolist()
    return [None if value == ABSENT else value for value in values] if column.dtype.kind == "i" else values


def _cells(name: str, column: list[Any]) -> list[str]:
    widest = _WIDTH.get(name, _WIDEST)
    return [_cell(value, widest) for value in column]


def _cell(value: Any, widest: int) -> str:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= widest else text[: widest - 1] + "…"


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise ImportError(
            "pandas is not installed: pip install 'provml-hpc[pandas]', or use the rows as they are"
        ) from None
    return pandas
