"""Conversion to N-Quads against bare formatting: the same quads, from columns, one f-string a quad.

``python -m benchmarks.conversion``. The bare arm is given what a conversion has to find: for each property the uuids of
the subjects, and the objects as Python values, times as int64 nanoseconds. It formats one column after another in list
comprehensions, escapes the user's text, formats times with numpy, encodes pieces of 4,096 quads and throws the bytes
away. It does not bring the quads of a subject together, and makes no uuids of qualified relations: the library does.
"""

from __future__ import annotations

import gc
import io
import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks import large
from benchmarks.harness import CONTROL, Report, compare, estimate, options, ratio
from provml_tools.rdf import convert

LIBRARY, BARE, UNESCAPED, ROWS = "provml convert", "bare, escaped", "bare, nothing escaped", "bare, a loop over rows"
PIECE = 4096
_QUAD = re.compile(
    r'<urn:uuid:([^>]*)> <([^>]*)> (?:<urn:uuid:([^>]*)>|<([^>]*)>|"(.*)"(?:\^\^<([^>]*)>)?)( <[^>]*>)? \.\n'
)
_ESCAPED = re.compile(r"\\(.)")
_BACK = {"n": "\n", "r": "\r", "t": "\t"}
_MUST = re.compile('["\\\\\n\r]')
_XSD = "http://www.w3.org/2001/XMLSchema#"


class Sink(io.RawIOBase):
    """Counts the bytes that it is given."""

    size = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Count."""
        self.size += len(data)
        return len(data)


class Column:
    """The quads of one property, datatype and graph."""

    def __init__(self, key: tuple[str, str, str]) -> None:
        self.property, self.kind, self.graph = key
        self.subjects: list[str] = []
        self.objects: Any = []


def columns_of(text: str) -> list[Column]:
    """Return the columns that the lines of N-Quads came from, the values as a program would have them."""
    found: dict[tuple[str, str, str], Column] = {}
    for line in text.splitlines(keepends=True):
        quad = _QUAD.fullmatch(line)
        assert quad, line
        subject, name, node, iri, literal, datatype, graph = quad.groups()
        kind = "node" if node else "iri" if iri else datatype or "text"
        # What has one value in the whole column is part of the format, as types are.
        key = name, kind + (iri or ""), graph or ""
        column = found.setdefault(key, Column(key))
        column.subjects.append(subject)
        column.objects.append(node or iri or _ESCAPED.sub(lambda m: _BACK.get(m[1], m[1]), literal))
    for column in found.values():
        if column.kind == _XSD + "dateTime":
            times = np.array([one.removesuffix("Z") for one in column.objects], "datetime64[ns]")
            column.objects = times.view(np.int64)
        elif column.kind == _XSD + "integer":
            column.objects = [*map(int, column.objects)]
    return [*found.values()]


def escape(text: str) -> str:
    """Escape what N-Quads wants escaped."""
    if not _MUST.search(text):
        return text
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")


def lines(column: Column, escaped: bool) -> list[str]:
    """Return the lines of a column, one f-string a quad."""
    p, g, pairs = column.property, column.graph, zip(column.subjects, column.objects, strict=True)
    if column.kind == "node":
        return [f"<urn:uuid:{s}> <{p}> <urn:uuid:{o}>{g} .\n" for s, o in pairs]
    if column.kind.startswith("iri"):
        return [f"<urn:uuid:{s}> <{p}> <{o}>{g} .\n" for s, o in pairs]
    if column.kind == "text":
        if escaped:
            return [f'<urn:uuid:{s}> <{p}> "{escape(o)}"{g} .\n' for s, o in pairs]
        return [f'<urn:uuid:{s}> <{p}> "{o}"{g} .\n' for s, o in pairs]
    if column.kind == _XSD + "dateTime":
        texts = np.datetime_as_string(column.objects.view("datetime64[ns]"), unit="ns").tolist()
        pairs = zip(column.subjects, texts, strict=True)
        return [f'<urn:uuid:{s}> <{p}> "{o}Z"^^<{column.kind}>{g} .\n' for s, o in pairs]
    if column.kind == _XSD + "integer":
        return [f'<urn:uuid:{s}> <{p}> "{o}"^^<{column.kind}>{g} .\n' for s, o in pairs]
    # Values keep the digits that they were given with: text of a known form.
    return [f'<urn:uuid:{s}> <{p}> "{o}"^^<{column.kind}>{g} .\n' for s, o in pairs]


def bare(columns: list[Column], stream: Any, escaped: bool = True) -> None:
    """Format all columns."""
    for column in columns:
        made = lines(column, escaped)
        for start in range(0, len(made), PIECE):
            stream.write("".join(made[start : start + PIECE]).encode())


def by_rows(rows: list[tuple[str, str, str, str]], stream: Any) -> None:
    """Format quads one after another, whose objects are formatted already."""
    stream.write(b"".join(f"<urn:uuid:{s}> <{p}> {o}{g} .\n".encode() for s, p, o, g in rows))


def rows_of(columns: list[Column]) -> Iterator[tuple[str, str, str, str]]:
    """Yield quads as texts."""
    for column in columns:
        for subject, line in zip(column.subjects, lines(column, True), strict=True):
            rest = line.split("> ", 2)[2]
            yield subject, column.property, rest[: -len(f"{column.graph} .\n")], column.graph


def timed(work: Callable[[Any], None]) -> Mapping[str, float]:
    """Return the CPU seconds of a conversion."""
    gc.collect()
    stream = Sink()
    began = time.process_time_ns()
    work(stream)
    return {"cpu": (time.process_time_ns() - began) / 1e9, "bytes": float(stream.size)}


def main() -> None:
    """Measure, print the target, write the results."""
    parser = options(__doc__, rounds=9)
    parser.add_argument("--quads", type=int, default=1_000_000, help="about so many quads")
    chosen = parser.parse_args()
    report = Report("conversion")
    graph = large.preparation(chosen.quads // large.QUADS_A_STEP)
    text = io.BytesIO()
    convert([graph], text)
    columns = columns_of(text.getvalue().decode())
    quads = sum(len(column.subjects) for column in columns)
    again = io.BytesIO()
    bare(columns, again)
    if sorted(again.getvalue().splitlines()) != sorted(text.getvalue().splitlines()):
        raise SystemExit("error: the bare arm does not format the same quads")
    rows = [*rows_of(columns)]
    del text, again
    ways = {
        LIBRARY: partial(timed, lambda stream: convert([graph], stream)),
        BARE: partial(timed, partial(bare, columns)),
        UNESCAPED: partial(timed, partial(bare, columns, escaped=False)),
        ROWS: partial(timed, partial(by_rows, rows)),
        f"{LIBRARY}, {CONTROL}": partial(timed, lambda stream: convert([graph], stream)),
    }
    found = compare(ways, chosen.rounds, seed=chosen.seed)
    what = "conversion to N-Quads, CPU of a quad"
    for arm, values in found.items():
        nanoseconds = [cpu / quads * 1e9 for cpu in values["cpu"]]
        report.measured(what, arm, "ns", nanoseconds, quads=quads, clock="cpu")
        print(f"{arm:32} {estimate(nanoseconds).median:8.1f} ns a quad")
    own = found[LIBRARY]["cpu"]
    control = ratio(found[f"{LIBRARY}, {CONTROL}"]["cpu"], own)
    for arm in (BARE, UNESCAPED, ROWS):
        report.compared("speed of the conversion", LIBRARY, arm, ratio(found[arm]["cpu"], own), quads=quads)
    speed = ratio(own, found[BARE]["cpu"])
    report.target(
        f"time to convert {quads:,} quads to N-Quads against bare formatting with escaping, CPU",
        1 / 0.6,
        speed,
        "ratio",
        f"0.6 of its speed; reached {1 / speed.median:.2f}; A/A control {control.median:.2f}",
    )
    report.write(chosen.results)


if __name__ == "__main__":
    main()
