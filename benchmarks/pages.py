"""Tables in Markdown from lines of results, and where they go in a page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Lines = list[dict[str, Any]]


def put(page: str, name: str, text: str) -> str:
    """Return the page with a text between the markers of that name.

    Raises
    ------
    ValueError
        It has no such markers.
    """
    first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, opened, rest = page.partition(first)
    _, closed, after = rest.partition(last)
    if not opened or not closed:
        raise ValueError(f"no marker <!-- {name} --> ... <!-- /{name} --> in the page: add both lines")
    return f"{before}{first}{text.rstrip()}\n{last}{after}"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table in Markdown."""
    names = list(head)
    lines = [names, ["---"] * len(names), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float) -> str:
    """Return a number with three digits that count."""
    if value != 0 and (abs(value) < 0.001 or abs(value) >= 1e7):
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(line: dict[str, Any]) -> str:
    """Return a median with its interval."""
    if line["low"] == line["high"]:
        return number(line["median"])
    return f"{number(line['median'])} [{number(line['low'])}, {number(line['high'])}]"


def pick(lines: Lines, kind: str, **wanted: Any) -> Lines:
    """Return the lines of one kind with these facts."""
    return [line for line in lines if line["kind"] == kind and all(line.get(k) == v for k, v in wanted.items())]


def measured(lines: Lines) -> str:
    """Return when, on which code and beside which load results were measured."""
    runs = []
    for line in pick(lines, "machine"):
        code = f"code {line['code']}" if line.get("code") else "code of that day"
        load = f"load {line['load_before']:.1f}"
        if "load_after" in line:
            load += f" to {line['load_after']:.1f}"
        runs.append(f"{line['time'][:16].replace('T', ' ')} UTC ({code}, {load})")
    return f"*Measured {'; '.join(runs)}.*" if runs else ""
