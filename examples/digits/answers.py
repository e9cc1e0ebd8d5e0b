"""The answers of `provml query --format json`, as tables that fit a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from os.path import commonprefix
from pathlib import PurePath
from typing import Any

from rich import box
from rich.table import Table

Row = dict[str, Any]


def compare_trainings(rows: list[Row]) -> Table:
    """Show the trainings, best first, with what differs between them."""
    columns = ("training", "ranks", "lr", "hidden", "epochs", "accuracy", "evaluation accuracy")
    table = _table(*columns)
    for row in rows:
        table.add_row(*(_text(row.get(column)) for column in columns), style="bold" if row is rows[0] else None)
    return table


def model_lineage(rows: list[Row]) -> Table:
    """Show each step back from the model; what was made alike, such as all scans, is one line."""
    alike: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = (row["job"], row["distance"], row["link"], row["kind"], PurePath(row["name"]).suffix)
        alike.setdefault(key, []).append(row)
    table = _table("", "n", "what", "details")
    above = ""
    for (job, _, link, _, suffix), same in alike.items():
        if job != above:
            table.add_section()
            table.add_row(job, style="bold")
            above = job
        names = list(dict.fromkeys(row["name"] for row in same))
        begin = commonprefix(names)  # noqa: RUF071 - letters are what is wanted
        what = names[0] if len(names) == 1 else f"{begin}*{suffix}"
        table.add_row(link, str(len(same)), what, ", ".join(_common(row["details"] for row in same)))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column == "what")
    return table


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _common(details: Iterable[Row]) -> list[str]:
    """Return as `name=value` the details that are the same in all of them."""
    first, *others = details
    return [f"{name}={_text(value)}" for name, value in first.items() if all(o.get(name) == value for o in others)]
