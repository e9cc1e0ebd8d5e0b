"""What the records of a file say, against the vocabulary: identifiers, ends of relations, values and samples."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from provml_hpc import identity, vocabulary
from provml_hpc.assembly.graph import ABSENT, VALUE_TYPES, Graph, SampleTable, Table, key_of
from provml_tools.rdf import terms
from provml_tools.validate.findings import WARNING, Finding
from provml_tools.validate.layout import UUID, fault

_Numbers = np.ndarray[Any, np.dtype[np.int64]]

_RECOVER = "Recover the run, or take another copy of the file."
_WRITER = "Report it to whoever wrote the program that made the file."
_CHOICES = {
    "outcome": ("", "completed", "failed", "open", "left"),
    "phase": ("", "curation", "preparation", "learning"),
    "digest_state": ("", "whole", "sampled", "given", "changed", "missing", "failed"),
}
_CHUNK = 1 << 20


class Content:
    """The records of one graph, by id."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes = [(name, table) for name, table in graph.nodes.items() if name in vocabulary.CLASS and len(table)]
        total = sum(len(table) for _, table in self._nodes)
        self._codes = np.zeros(total, np.int64)
        self._uuids: list[str] = [""] * total
        self._labels: list[str] = [""] * total
        self.records = total
        self.statements = sum(len(table) for table in graph.relations.values())
        self.samples = sum(table.count for table in (*graph.samples, *graph.telemetry))

    def check(self) -> Iterator[Finding]:
        """Yield what is wrong, the identifiers first, since all else goes by them."""
        yield from self._identifiers()
        for name, table in self._nodes:
            yield from self._fields(name, table)
        yield from self._run()
        for name, table in self._graph.relations.items():
            if name in vocabulary.RELATION and len(table):
                yield from self._relation(vocabulary.RELATION[name], table)
        yield from self._contents()
        yield from self._samples()

    def name(self, number: int) -> str:
        """Return how a person knows a record."""
        if not 0 <= number < self.records or not self._codes[number]:
            return f"id {number}"
        cls = vocabulary.CLASS_OF_CODE[int(self._codes[number])].name
        label = f" {self._labels[number]!r}" if self._labels[number] else ""
        return f"{cls}{label} <{self._uuids[number]}>"

    def _identifiers(self) -> Iterator[Finding]:
        first: dict[str, int] = {}
        for name, table in self._nodes:
            ids = np.asarray(table.columns["id"], np.int64)
            labels = table.columns.get("label") or [""] * len(table)
            code = vocabulary.CLASS[name].code
            if vocabulary.CLASS[name].abstract:
                yield fault("abstract-class", name, "the class is abstract, and has records", _WRITER)
            for number, uuid, label in zip(ids.tolist(), table.columns["uuid"], labels, strict=True):
                if not 0 <= number < self.records:
                    what = f"the id {number} is not below the number of records, {self.records}"
                    yield fault("identifier", f"{name} <{uuid}>", what, _RECOVER)
                    continue
                if self._codes[number]:
                    what = f"it has the id {number}, as {self.name(number)} has"
                    yield fault("identifier", f"{name} <{uuid}>", what, _RECOVER)
                    continue
                self._codes[number], self._uuids[number], self._labels[number] = code, uuid, label
                if not UUID.fullmatch(uuid):
                    yield fault("identifier", self.name(number), f"{uuid!r} is no uuid", _WRITER)
                other = first.setdefault(uuid, number)
                if other != number:
                    what = f"it has the uuid of {self.name(other)}: one thing is two records"
                    yield fault("identifier", self.name(number), what, _WRITER)

    def _run(self) -> Iterator[Finding]:
        run = self._graph.run
        runs = [at for at, uuid in enumerate(self._uuids) if uuid == run.uuid]
        allowed = {vocabulary.CLASS[name].code for name in vocabulary.below("WorkflowExecution")}
        if self.records and (len(runs) != 1 or int(self._codes[runs[0]]) not in allowed):
            what = "no record of an execution has the uuid that the file says the run has"
            yield fault("run", f"<{run.uuid}>", what, _RECOVER)

    def _fields(self, name: str, table: Table) -> Iterator[Finding]:
        ids = np.asarray(table.columns["id"], np.int64).tolist()
        for field in vocabulary.fields(name):
            column = table.columns.get(field.name)
            if column is None:
                continue
            if field.name in _CHOICES:
                choices = _CHOICES[field.name]
                for number, text in zip(ids, column, strict=True):
                    if text not in choices:
                        what = f"{field.name} is {text!r}, none of {', '.join(filter(None, choices))}"
                        yield fault("choice", self.name(number), what, _WRITER)
            elif field.type == "value":
                marks = table.columns.get(field.name + "_type", [])
                yield from self._values(field.name, ids, column, marks)

    def _values(self, name: str, ids: list[int], texts: Any, marks: Any) -> Iterator[Finding]:
        for number, text, mark in zip(ids, texts, marks, strict=False):
            if mark not in VALUE_TYPES:
                what = f"{name}_type is {mark!r}, none of {', '.join(VALUE_TYPES)}"
                yield fault("value", self.name(number), what, _WRITER)
            elif mark in ("integer", "real", "boolean", "time") and "^^" not in terms.value_literal(text, mark):
                yield fault("value", self.name(number), f"{name} is {text!r}, which is no {mark}", _WRITER)

    def _relation(self, relation: vocabulary.Relation, table: Table) -> Iterator[Finding]:
        for end, names in (("subject", relation.domain), ("object", relation.range)):
            yield from self._end(relation, table, end, names)
        if relation.pairs:
            yield from self._pairs(relation, table)
        for field in relation.fields:
            if field.type == "reference" and field.name in table.columns:
                yield from self._plans(relation, table, field.name)
        texts = [column if isinstance(column, list) else column.tolist() for column in table.columns.values()]
        seen: set[tuple[Any, ...]] = set()
        for row in zip(*texts, strict=True):
            if row in seen:
                ends = dict(zip(table.columns, row, strict=True))
                yield fault(
                    "repeated", self._tell(relation.name, ends), "it is said twice in the same words", _WRITER, WARNING
                )
            seen.add(row)

    def _pairs(self, relation: vocabulary.Relation, table: Table) -> Iterator[Finding]:
        """Tell of ends that may stand there, and not with each other."""
        ends = [np.asarray(table.columns[end], np.int64) for end in ("subject", "object")]
        inside = np.all([(ids >= 0) & (ids < self.records) for ids in ends], axis=0)
        codes = [np.where(inside, self._codes[np.where(inside, ids, 0)], 0) for ids in ends]
        fitting = ~inside
        single = [np.zeros(len(inside), bool), np.zeros(len(inside), bool)]
        for pair in vocabulary.pairs(relation):
            each = [np.isin(one, _codes(names)) for one, names in zip(codes, pair, strict=True)]
            fitting |= each[0] & each[1]
            single = [known | more for known, more in zip(single, each, strict=True)]
        # What may not stand there at all is told of already.
        for row in np.flatnonzero(~fitting & single[0] & single[1]).tolist():
            one, other = (vocabulary.CLASS_OF_CODE[int(found[row])].name for found in codes)
            what = f"it may hold from a {one}, and to a {other}, but not between the two"
            yield fault("range", self._row(relation, table, row), what, _WRITER)

    def _end(self, relation: vocabulary.Relation, table: Table, end: str, names: tuple[str, ...]) -> Iterator[Finding]:
        ids = np.asarray(table.columns[end], np.int64)
        inside = (ids >= 0) & (ids < self.records)
        codes = np.zeros(len(ids), np.int64)
        codes[inside] = self._codes[ids[inside]]
        for row in np.flatnonzero(codes == 0).tolist():
            yield fault("no-record", self._row(relation, table, row), f"its {end} is no record", _RECOVER)
        for row in np.flatnonzero((codes != 0) & ~np.isin(codes, _codes(names))).tolist():
            is_a = vocabulary.CLASS_OF_CODE[int(codes[row])].name
            what = f"its {end} is a {is_a}, and has to be one of {', '.join(names)}"
            rule = "domain" if end == "subject" else "range"
            yield fault(rule, self._row(relation, table, row), what, _WRITER)

    def _plans(self, relation: vocabulary.Relation, table: Table, name: str) -> Iterator[Finding]:
        plans = np.asarray(table.columns[name], np.int64)
        for row in np.flatnonzero(plans != ABSENT).tolist():
            plan, activity = int(plans[row]), int(table.columns["subject"][row])
            kind, other = self._class(plan), self._class(activity)
            wanted = vocabulary.PLAN_OF.get(other)
            if not kind:
                yield fault("no-record", self._row(relation, table, row), f"its {name} is no record", _RECOVER)
            elif "prov:Plan" not in vocabulary.CLASS[kind].prov:
                yield fault("range", self._row(relation, table, row), f"its {name} is a {kind}, and no plan", _WRITER)
            elif wanted and kind not in vocabulary.below(wanted):
                what = f"a {other} follows a {wanted}, and its {name} is a {kind}"
                yield fault("plan", self._row(relation, table, row), what, _WRITER)

    def _class(self, number: int) -> str:
        code = int(self._codes[number]) if 0 <= number < self.records else 0
        return vocabulary.CLASS_OF_CODE[code].name if code else ""

    def _row(self, relation: vocabulary.Relation, table: Table, row: int) -> str:
        return self._tell(relation.name, {end: int(table.columns[end][row]) for end in ("subject", "object")})

    def _tell(self, name: str, ends: dict[str, Any]) -> str:
        return f"{name}({self.name(int(ends['subject']))}, {self.name(int(ends['object']))})"

    def _contents(self) -> Iterator[Finding]:
        table = self._graph.nodes.get("Content")
        if table is None:
            return
        for row in table.rows():
            if row["size"] == 0:
                yield fault("content", self.name(row["id"]), "empty content is no link between jobs", _WRITER)
            elif identity.content(row["algorithm"], row["digest"], max(row["size"], -1)) != row["uuid"]:
                # Of a digest that was given without a size, -1 stands for that.
                what = "its uuid does not follow from its algorithm, digest and size"
                yield fault("content", self.name(row["id"]), what, _WRITER)

    def _samples(self) -> Iterator[Finding]:
        activities = [cls.code for cls in vocabulary.CLASSES if "prov:Activity" in cls.prov]
        series = self._series()
        sums: dict[int, _Sum] = {}
        places = [vocabulary.CLASS[name].code for name in ("Device", "ComputeNode", "Rank")]
        for table in (*self._graph.samples, *self._graph.telemetry):
            where = table.path or f"samples of {table.name!r}"
            if table in self._graph.telemetry and (
                self._class(table.place) == "" or int(self._codes[table.place]) not in places
            ):
                yield fault("samples", where, "they are of no device, node or rank", _RECOVER)
                continue
            if self._class(table.activity) == "" or int(self._codes[table.activity]) not in activities:
                yield fault("samples", where, "they are of no activity", _RECOVER)
                continue
            yield from self._rows(table, where, series, sums, activities)
        for one in sums.values():
            yield from self._summary(one)

    def _series(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Return the series that points at a column of a table, by path and column."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for name in sorted(vocabulary.below("MetricSeries")):
            table = self._graph.nodes.get(name)
            for row in table.rows() if table is not None else ():
                if row["path"]:
                    found[row["path"], row["column"]] = row
                    found |= dict.fromkeys(_elsewhere(row.get("elsewhere", "")), row)
        return found

    def _rows(
        self,
        table: SampleTable,
        where: str,
        series: dict[tuple[str, str], dict[str, Any]],
        sums: dict[int, _Sum],
        activities: list[int],
    ) -> Iterator[Finding]:
        last, sections, ordered = (-1, -1), set[int](), True
        lowest = dict.fromkeys(table.measures, math.inf)
        highest = dict.fromkeys(table.measures, -math.inf)
        for start in range(0, table.count, _CHUNK):
            rows = table.read(start, start + _CHUNK)
            # One number a row, so that order is one comparison: ranks and attempts are far below 2^31.
            places = (rows["rank"].astype(np.int64) << 32) + rows["attempt"]
            first = (int(rows["rank"][0]) << 32) + int(rows["attempt"][0]) if len(places) else 0
            ordered = ordered and bool((np.diff(places) >= 0).all()) and first >= (last[0] << 32) + last[1]
            if len(places):
                last = int(rows["rank"][-1]), int(rows["attempt"][-1])
            sections.update(np.unique(rows["section"]).tolist())
            for measure in table.measures:
                values = rows[key_of(measure)]
                values = values[~np.isnan(values)]
                if len(values):
                    lowest[measure] = min(lowest[measure], float(values.min()))
                    highest[measure] = max(highest[measure], float(values.max()))
        if not ordered:
            yield fault("samples", where, "they are not in order of rank and attempt", _RECOVER)
        for section in sorted(sections - {ABSENT}):
            if self._class(section) == "" or int(self._codes[section]) not in activities:
                yield fault("samples", where, f"the section {section} of some is no activity", _RECOVER)
        for measure in table.measures if table.path else ():
            column = table.column_of.get(measure, measure)
            found = series.get((table.path, column))
            if found is None:
                yield fault("series", f"{where}, {measure}", "no series points at these samples", _RECOVER)
                continue
            one = sums.setdefault(found["id"], _Sum(found))
            one.add(table.count, lowest[measure], highest[measure])
            if (found["path"], found["column"]) == (table.path, column):
                one.pointed = table.count

    def _summary(self, one: _Sum) -> Iterator[Finding]:
        """Compare what a series says of its samples with the samples."""
        real: dict[str, float] = {"count": one.count, "row_count": one.pointed}
        if one.low <= one.high:
            real |= {"minimum": one.low, "maximum": one.high}
        for name, value in real.items():
            if one.row[name] != value:
                what = f"its {name} is {one.row[name]}, and that of the samples is {value}"
                yield fault("series", self.name(one.row["id"]), what, _RECOVER)


def _codes(names: tuple[str, ...]) -> list[int]:
    """Return the codes of classes and of those below them."""
    return [cls.code for cls in vocabulary.CLASSES if vocabulary.allows(names, cls.name)]


class _Sum:
    """What the samples of a series come to, over the tables that hold them."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row
        self.count = self.pointed = 0
        self.low, self.high = math.inf, -math.inf

    def add(self, count: int, low: float, high: float) -> None:
        """Add one table."""
        self.count += count
        self.low, self.high = min(self.low, low), max(self.high, high)


def _elsewhere(text: str) -> list[tuple[str, str]]:
    """Return path and column of the further tables that a series names; none of what is damaged."""
    try:
        return [(str(place["path"]), str(place["column"])) for place in json.loads(text or "[]")]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []
