"""What the records of a file say, against the vocabulary: identifiers, ends of relations, values and samples."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from provml_hpc import identity, vocabulary
from provml_hpc.assembly.graph import ABSENT, VALUE_TYPES, SampleTable, Table, key_of
from provml_tools.rdf import terms
from provml_tools.validate.findings import LIMIT, WARNING, Finding
from provml_tools.validate.layout import UUID, fault
from provml_tools.validate.nodes import STRETCH, Nodes, Numbers, keys_of, numbers, stretches, uuid_keys

_RECOVER = "Recover the run, or take another copy of the file."
_WRITER = "Report it to whoever wrote the program that made the file."
_CHOICES = {
    "outcome": ("", "completed", "failed", "open", "left"),
    "phase": ("", "curation", "preparation", "learning"),
    "digest_state": ("", "whole", "sampled", "given", "changed", "missing", "failed"),
}
_CHUNK = 1 << 18


class Content:
    """The records of one graph, by id."""

    def __init__(self, nodes: Nodes) -> None:
        graph = nodes.graph
        self._graph, self._nodes = graph, nodes
        self._told: Counter[str] = Counter()
        self.records = nodes.count
        self.statements = sum(len(table) for table in graph.relations.values())
        self.samples = sum(table.count for table in (*graph.samples, *graph.telemetry))

    def check(self) -> Iterator[Finding]:
        """Yield what is wrong, the identifiers first, since all else goes by them."""
        yield from self._identifiers()
        for name, table in self._nodes.tables:
            yield from self._fields(name, table)
        yield from self._run()
        for name, table in self._graph.relations.items():
            if name in vocabulary.RELATION and len(table):
                yield from self._relation(vocabulary.RELATION[name], table)
        yield from self._contents()
        yield from self._samples()

    def _shown(self, rule: str, name: Callable[[], str]) -> str:
        """Return how a person knows a record, unless so many findings of the rule were told that nobody will see it."""
        self._told[rule] += 1
        return name() if self._told[rule] <= LIMIT else ""

    def _fault(self, rule: str, number: int, message: str, remedy: str) -> Finding:
        return fault(rule, self._shown(rule, lambda: self._nodes.name(number)), message, remedy)

    def _identifiers(self) -> Iterator[Finding]:
        nodes = self._nodes
        for name, _ in nodes.tables:
            if vocabulary.CLASS[name].abstract:
                yield fault("abstract-class", name, "the class is abstract, and has records", _WRITER)
        inside = (nodes.ids >= 0) & (nodes.ids < nodes.count)
        first = inside.copy()
        first[inside] = nodes.places[nodes.ids[inside]] == np.flatnonzero(inside)
        for place in np.flatnonzero(~first).tolist():
            number = int(nodes.ids[place])
            if inside[place]:
                what = f"it has the id {number}, as {nodes.name(number)} has"
            else:
                what = f"the id {number} is not below the number of records, {nodes.count}"
            cls, table, row = nodes.at(place)
            yield fault("identifier", f"{cls} <{table.columns['uuid'][row]}>", what, _RECOVER)
        for _, table in nodes.tables:
            for start, (texts,) in stretches(table, "uuid"):
                if all(map(UUID.fullmatch, texts)):
                    continue
                for row, text in enumerate(texts, start):
                    if not UUID.fullmatch(text):
                        number = int(table.columns["id"][row])
                        yield self._fault("identifier", number, f"{text!r} is no uuid", _WRITER)
        keys = nodes.keys()
        order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable, so the first of equal ones comes first
        again = np.zeros(len(order), bool)
        again[1:] = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
        firsts = np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))
        for at in np.flatnonzero(again).tolist():
            place, other = int(order[at]), int(order[firsts[at]])
            if first[place] and first[other]:
                number = int(nodes.ids[place])
                whose = self._shown("identifier", lambda other=other: nodes.name_at(other))  # type: ignore[misc]
                what = f"it has the uuid of {whose}: one thing is two records"
                yield self._fault("identifier", number, what, _WRITER)

    def _run(self) -> Iterator[Finding]:
        run, nodes = self._graph.run, self._nodes
        allowed = vocabulary.below("WorkflowExecution")
        [wanted] = keys_of([run.uuid])
        runs = []
        for name, table in nodes.tables:
            found = np.flatnonzero((uuid_keys(table) == wanted).all(axis=1))
            runs += [name for _ in found]
        if self.records and (len(runs) != 1 or runs[0] not in allowed):
            what = "no record of an execution has the uuid that the file says the run has"
            yield fault("run", f"<{run.uuid}>", what, _RECOVER)

    def _fields(self, name: str, table: Table) -> Iterator[Finding]:
        for field in vocabulary.fields(name):
            if field.name not in table.columns:
                continue
            if field.name in _CHOICES:
                choices = _CHOICES[field.name]
                for _, (ids, texts) in stretches(table, "id", field.name):
                    if set(texts) <= set(choices):
                        continue
                    for number, text in zip(ids, texts, strict=True):
                        if text not in choices:
                            what = f"{field.name} is {text!r}, none of {', '.join(filter(None, choices))}"
                            yield self._fault("choice", int(number), what, _WRITER)
            elif field.type == "value" and field.name + "_type" in table.columns:
                for _, (ids, texts, marks) in stretches(table, "id", field.name, field.name + "_type"):
                    yield from self._values(field.name, ids, texts, marks)

    def _values(self, name: str, ids: Numbers, texts: list[str], marks: list[str]) -> Iterator[Finding]:
        for row, (text, mark) in enumerate(zip(texts, marks, strict=False)):
            if mark not in VALUE_TYPES:
                what = f"{name}_type is {mark!r}, none of {', '.join(VALUE_TYPES)}"
                yield self._fault("value", int(ids[row]), what, _WRITER)
            elif mark in ("integer", "real", "boolean", "time") and "^^" not in terms.value_literal(text, mark):
                yield self._fault("value", int(ids[row]), f"{name} is {text!r}, which is no {mark}", _WRITER)

    def _relation(self, relation: vocabulary.Relation, table: Table) -> Iterator[Finding]:
        for end, names in (("subject", relation.domain), ("object", relation.range)):
            yield from self._end(relation, table, end, names)
        if relation.pairs:
            yield from self._pairs(relation, table)
        for field in relation.fields:
            if field.type == "reference" and field.name in table.columns:
                yield from self._plans(relation, table, field.name)
        for row in _repeated(table).tolist():
            what = "it is said twice in the same words"
            yield fault("repeated", self._row("repeated", relation, table, row), what, _WRITER, WARNING)

    def _pairs(self, relation: vocabulary.Relation, table: Table) -> Iterator[Finding]:
        """Tell of ends that may stand there, and not with each other."""
        codes = [self._nodes.codes_of(numbers(table, end)) for end in ("subject", "object")]
        inside = (codes[0] != 0) & (codes[1] != 0)
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
            yield fault("range", self._row("range", relation, table, row), what, _WRITER)

    def _end(self, relation: vocabulary.Relation, table: Table, end: str, names: tuple[str, ...]) -> Iterator[Finding]:
        codes = self._nodes.codes_of(numbers(table, end))
        for row in np.flatnonzero(codes == 0).tolist():
            yield fault("no-record", self._row("no-record", relation, table, row), f"its {end} is no record", _RECOVER)
        for row in np.flatnonzero((codes != 0) & ~np.isin(codes, _codes(names))).tolist():
            is_a = vocabulary.CLASS_OF_CODE[int(codes[row])].name
            what = f"its {end} is a {is_a}, and has to be one of {', '.join(names)}"
            rule = "domain" if end == "subject" else "range"
            yield fault(rule, self._row(rule, relation, table, row), what, _WRITER)

    def _plans(self, relation: vocabulary.Relation, table: Table, name: str) -> Iterator[Finding]:
        plans = numbers(table, name)
        rows = np.flatnonzero(plans != ABSENT)
        codes = self._nodes.codes_of(plans[rows]), self._nodes.codes_of(numbers(table, "subject")[rows])
        # Few pairs of classes, whatever the number of rows.
        pairs, of_row = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)
        faults = [_of_plan(name, *(int(code) for code in pair)) for pair in pairs]
        wrong = np.array([one is not None for one in faults], bool)
        for at in np.flatnonzero(wrong[of_row.reshape(-1)]).tolist():
            rule, what, remedy = faults[int(of_row.reshape(-1)[at])] or ("", "", "")
            yield fault(rule, self._row(rule, relation, table, int(rows[at])), what, remedy)

    def _class(self, number: int) -> str:
        return self._nodes.cls(number)

    def _row(self, rule: str, relation: vocabulary.Relation, table: Table, row: int) -> str:
        def name() -> str:
            subject, other = (self._nodes.name(int(table.columns[end][row])) for end in ("subject", "object"))
            return f"{relation.name}({subject}, {other})"

        return self._shown(rule, name)

    def _contents(self) -> Iterator[Finding]:
        table = self._graph.nodes.get("Content")
        if table is None:
            return
        for _, columns in stretches(table, "id", "uuid", "algorithm", "digest", "size"):
            for number, uuid, algorithm, digest, size in zip(*columns, strict=True):
                if size == 0:
                    yield self._fault("content", int(number), "empty content is no link between jobs", _WRITER)
                elif identity.content(algorithm, digest, max(int(size), -1)) != uuid:
                    # Of a digest that was given without a size, -1 stands for that.
                    what = "its uuid does not follow from its algorithm, digest and size"
                    yield self._fault("content", int(number), what, _WRITER)

    def _samples(self) -> Iterator[Finding]:
        activities = {cls.name for cls in vocabulary.CLASSES if "prov:Activity" in cls.prov}
        series = self._series()
        sums: dict[int, _Sum] = {}
        for table in (*self._graph.samples, *self._graph.telemetry):
            where = table.path or f"samples of {table.name!r}"
            if table in self._graph.telemetry and self._class(table.place) not in ("Device", "ComputeNode", "Rank"):
                yield fault("samples", where, "they are of no device, node or rank", _RECOVER)
                continue
            if self._class(table.activity) not in activities:
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
        activities: set[str],
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
            if self._class(section) not in activities:
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
                yield self._fault("series", one.row["id"], what, _RECOVER)


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


def _of_plan(name: str, plan: int, activity: int) -> tuple[str, str, str] | None:
    """Return what is wrong with a plan of one class for an activity of another, both given by their codes."""
    kind, other = (vocabulary.CLASS_OF_CODE[code].name if code else "" for code in (plan, activity))
    wanted = vocabulary.PLAN_OF.get(other)
    if not kind:
        return "no-record", f"its {name} is no record", _RECOVER
    if "prov:Plan" not in vocabulary.CLASS[kind].prov:
        return "range", f"its {name} is a {kind}, and no plan", _WRITER
    if wanted and kind not in vocabulary.below(wanted):
        return "plan", f"a {other} follows a {wanted}, and its {name} is a {kind}", _WRITER
    return None


def _repeated(table: Table) -> Numbers:
    """Return the rows that say again what an earlier row said."""
    ends = numbers(table, "subject"), numbers(table, "object")
    order = np.lexsort(ends)
    same = (ends[0][order[1:]] == ends[0][order[:-1]]) & (ends[1][order[1:]] == ends[1][order[:-1]])
    twice = np.zeros(len(order), bool)
    twice[1:], twice[:-1] = same, twice[:-1] | same
    # Most pairs of records are related once, so little is left to compare as a whole.
    rows = np.sort(order[twice])
    if not len(rows):
        return rows
    codes = [end[rows] for end in ends]
    for name, column in table.columns.items():
        if name not in ("subject", "object"):
            codes.append(_numbered(column, rows))
    order = np.lexsort(codes)
    again = np.logical_and.reduce([code[order[1:]] == code[order[:-1]] for code in codes])
    found: Numbers = np.sort(rows[order[1:][again]])
    return found


def _numbered(column: Any, rows: Numbers) -> Any:
    """Return some rows of a column as numbers that are equal where the values are."""
    found: Any = []
    known: dict[str, int] = {}
    for start in range(0, len(column), STRETCH):
        inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + STRETCH)] - start
        if len(inside):
            values = column[start : start + STRETCH]
            if isinstance(values, list):
                values = np.array([known.setdefault(text, len(known)) for text in values])
            found.append(values[inside])
    return np.concatenate(found)
