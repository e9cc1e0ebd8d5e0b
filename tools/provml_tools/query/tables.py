"""Answers as text: a table for people, JSON and CSV for programs.

Programs get every value in full. People get numbers cut to six digits, nodes by their names and shortened terms, and a
table that is folded, never cut off, where it is wider than the terminal.
"""

from __future__ import annotations

import csv
import io
import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from provml_hpc.vocabulary import NAMESPACES
from provml_tools.query.answer import Answer
from provml_tools.query.engine import Iri

FORMATS = ("table", "json", "csv")


def write(answer: Answer, stream: TextIO, form: str, names: Mapping[str, str] | None = None) -> None:
    """Write an answer.

    Parameters
    ----------
    answer
        What to write.
    stream
        Where to; a terminal gets lines and colours.
    form
        One of `FORMATS`.
    names
        Names of nodes by IRI, for people.
    """
    if form == "json":
        stream.write(as_json(answer))
    elif form == "csv":
        stream.write(as_csv(answer))
    else:
        write_table(answer, stream, names or {})


def as_json(answer: Answer) -> str:
    """Return a JSON array with one object a row."""
    lines = [
        json.dumps({name: plain(row.get(name)) for name in answer.columns}, ensure_ascii=False, allow_nan=False)
        for row in answer.rows
    ]
    return "[\n" + ",\n".join(f"  {line}" for line in lines) + "\n]\n" if lines else "[]\n"


def plain(value: Any) -> Any:
    """Return a value as JSON has it, which knows no NaN and no infinity: they are said as in RDF."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "INF" if value > 0 else "-INF"
    if isinstance(value, dict):
        return {plain(str(name)): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    # A str subclass would do as well, but lone surrogates would not.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def as_csv(answer: Answer) -> str:
    """Return CSV as RFC 4180 has it, with a line of headings."""
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow([plain(name) for name in answer.columns])
    for row in answer.rows:
        table.writerow([_csv_cell(row.get(name)) for name in answer.columns])
    return out.getvalue()


def _csv_cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return json.dumps(plain(value), ensure_ascii=False, allow_nan=False) if value else ""
    if isinstance(value, float):
        return plain(value) if not math.isfinite(value) else repr(value)
    return plain(value)


def cell(value: Any, names: Mapping[str, str]) -> str:
    """Return a value as a person reads it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Iri):
        return safe(names.get(value) or shortened(value))
    if isinstance(value, dict):
        return ", ".join(f"{safe(name)}={cell(one, names)}" for name, one in value.items())
    return safe(str(value))


def number(value: float) -> str:
    """Return a number with at most six digits that mean something.

    Examples
    --------
    >>> [number(x) for x in (0.1, 1 / 3, 123456789.0, 2.0, float("nan"))]
    ['0.1', '0.333333', '1.23457e+08', '2', 'NaN']
    """
    if not math.isfinite(value):
        return str(plain(value))
    return f"{value:.6g}"


def shortened(iri: str) -> str:
    """Return an IRI with a prefix in place of a known namespace."""
    for prefix, namespace in NAMESPACES.items():
        if iri.startswith(namespace):
            return f"{prefix}:{iri[len(namespace) :]}"
    return iri


def safe(text: str) -> str:
    """Return text without what could command a terminal or break a row: shown as escapes instead."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode() for c in text
    )


def _matrix(answer: Answer, names: Mapping[str, str]) -> tuple[list[str], list[list[str]], list[bool]]:
    """Return headings, rows of text, and which columns are numbers."""
    columns = answer.shown or answer.columns
    tree = answer.tree if answer.tree is not None else [(at, 0) for at in range(len(answer.rows))]
    rows = []
    for at, depth in tree:
        row = answer.rows[at]
        texts = [cell(row.get(f"{name} for people", row.get(name)), names) for name in columns]
        if answer.tree is not None:
            texts[0] = "  " * depth + texts[0]
        rows.append(texts)
    numeric = [_is_numeric([row.get(name) for row in answer.rows]) for name in columns]
    return [safe(name) for name in columns], rows, numeric


def _is_numeric(values: Sequence[Any]) -> bool:
    said = [value for value in values if value is not None]
    return bool(said) and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in said)


def write_table(answer: Answer, stream: TextIO, names: Mapping[str, str]) -> None:
    """Write a table for people: with lines and colours on a terminal, as plain columns anywhere else."""
    headings, rows, numeric = _matrix(answer, names)
    if not headings or not rows:
        # Headings over nothing look like an answer that was lost; that nothing was found is said beside it.
        return
    if stream.isatty():
        try:
            _write_rich(answer, stream, headings, rows, numeric)
        except ImportError:
            pass
        else:
            return
    widths = [max(width(row[at]) for row in [headings, *rows]) for at in range(len(headings))]
    for row in [headings, ["-" * one for one in widths], *rows]:
        gaps = [" " * (one - width(text)) for one, text in zip(widths, row, strict=True)]
        cells = zip(row, gaps, numeric, strict=True)
        stream.write("  ".join(gap + text if right else text + gap for text, gap, right in cells).rstrip() + "\n")


def width(text: str) -> int:
    """Return the cells of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


def _write_rich(
    answer: Answer, stream: TextIO, headings: list[str], rows: list[list[str]], numeric: list[bool]
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(answer.title) if answer.title else None, box=box.SIMPLE_HEAD, title_justify="left")
    for heading, right in zip(headings, numeric, strict=True):
        table.add_column(Text(heading), justify="right" if right else "left", overflow="fold")
    for row in rows:
        # Text, so that no name is taken for markup.
        table.add_row(*(Text(text) for text in row))
    Console(file=stream, highlight=False, emoji=False, markup=False).print(table)
