"""From the tables of runs to statements as arrays: tables know what PROV-O cannot say, such as a usage's own time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from provml_hpc import vocabulary
from provml_hpc.assembly.graph import ABSENT, Table
from provml_tools.validate.arrays import NONE, SOME, TIMES, Arrays, Numbers, Rows
from provml_tools.validate.constraints import finding, more
from provml_tools.validate.findings import LIMIT, PROV, Finding, More
from provml_tools.validate.instance import ARGUMENTS, moment
from provml_tools.validate.nodes import Nodes, numbers

_THINGS = {
    "prov:Entity": "entity",
    "prov:Plan": "entity",
    "prov:Collection": "entity",
    "prov:Activity": "activity",
    "prov:Agent": "agent",
    "prov:Person": "agent",
    "prov:Organization": "agent",
    "prov:SoftwareAgent": "agent",
}
_STATEMENTS = {
    name: name
    for name in (
        "used", "wasGeneratedBy", "wasAssociatedWith", "wasDerivedFrom", "wasInformedBy", "wasAttributedTo",
        "actedOnBehalfOf", "specializationOf", "hadMember",
    )
}  # fmt: skip
# A revision is a derivation; the tables say both of most, which is one statement more and no harm.
_STATEMENTS["wasRevisionOf"] = "wasDerivedFrom"
_KEYS = {"activity": (22, ("activity",)), "wasGeneratedBy": (24, ("entity", "activity"))}
"""Which statements are one, and by which constraint: an activity, and what generated an entity."""


def kinds_of(cls: str) -> frozenset[str]:
    """Return what a class is in PROV: entity, activity, agent, or, of a place, none of them."""
    said = (prov for above in vocabulary.lineage(cls) for prov in vocabulary.CLASS[above].prov)
    return frozenset(_THINGS[prov] for prov in said if prov in _THINGS)


def arrays_of(runs: Sequence[Nodes]) -> Arrays:
    """Return what runs say, together: nodes of the same uuid are one."""
    terms = _Terms(runs)
    parts: dict[str, list[dict[str, Any]]] = {}
    for number, nodes in enumerate(runs):
        first = 0
        for cls, table in nodes.tables:
            own = terms.of_places(number, first, first + len(table))
            first += len(table)
            for kind in ARGUMENTS:
                if kind in kinds_of(cls):
                    said = {kind: own}
                    if kind == "activity":
                        said |= {"start": _times(table, "start_ns"), "end": _times(table, "end_ns")}
                    parts.setdefault(kind, []).append(said)
        for name, table in nodes.graph.relations.items():
            if name in _STATEMENTS and len(table):
                kind = _STATEMENTS[name]
                ends = (terms.of_ids(number, numbers(table, end)) for end in ("subject", "object"))
                said = dict(zip(ARGUMENTS[kind], ends, strict=False))
                if "time" in ARGUMENTS[kind]:
                    said["time"] = _times(table, "time_ns")
                if "plan" in ARGUMENTS[kind] and "plan" in table.columns:
                    plans = numbers(table, "plan")
                    said["plan"] = np.where(plans == ABSENT, NONE, terms.of_ids(number, plans))
                parts.setdefault(kind, []).append(said)
    kinds = {}
    for kind in ARGUMENTS:
        if kind in parts:
            names = [name for name in ARGUMENTS[kind] if any(name in one for one in parts[kind])]
            kinds[kind] = Rows({name: _column(parts[kind], name) for name in names})

    def tell(kind: str, row: int) -> str:
        shown = []
        for name, column in kinds[kind].arguments.items():
            value = int(column[row])
            if name in TIMES:
                shown += [moment(value)] if value != ABSENT else []
            elif value >= 0:
                shown.append(terms.name(value))
        return f"{kind}({', '.join(shown)})"

    def is_told(kind: str, row: int, other_kind: str, other_row: int) -> bool:
        columns = [kinds[kind].terms(name) for name in _KEYS[kind][1]] if kind in _KEYS else []
        return kind == other_kind and bool(columns) and all(one[row] == one[other_row] for one in columns)

    return Arrays(kinds, terms.count, terms.name, tell, is_told)


def _column(parts: list[dict[str, Any]], name: str) -> Any:
    rows = (len(next(iter(part.values()))) for part in parts)
    nothing = ABSENT if name in TIMES else NONE
    found = [part[name] if name in part else np.full(n, nothing) for part, n in zip(parts, rows, strict=True)]
    return np.concatenate(found).astype(np.int64 if name in TIMES else np.int32)


class _Terms:
    """The records of runs as terms: of one run the ids are the terms, of several what has one uuid is one."""

    def __init__(self, runs: Sequence[Nodes]) -> None:
        self._runs = runs
        self._of_place: list[Any] | None = None
        self.count = sum(nodes.count for nodes in runs)
        if len(runs) == 1:
            return
        keys = np.concatenate([nodes.keys() for nodes in runs])
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        fresh = np.ones(len(order), bool)
        fresh[1:] = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
        terms = np.empty(len(order), np.int32)
        terms[order] = np.cumsum(fresh) - 1
        self.count = int(fresh.sum())
        # A person may be called otherwise in another run: as the last one has it.
        self._known_at = order[np.append(np.flatnonzero(fresh)[1:], len(order)) - 1] if len(order) else order
        self._firsts = np.cumsum([0, *(nodes.count for nodes in runs)])
        self._of_place = np.split(terms, self._firsts[1:-1])

    def of_places(self, run: int, start: int, stop: int) -> Any:
        """Return the terms of the records at places of a run."""
        if self._of_place is not None:
            return self._of_place[run][start:stop]
        ids = self._runs[run].ids[start:stop]
        return np.where((ids >= 0) & (ids < self.count), ids, SOME).astype(np.int32)

    def of_ids(self, run: int, ids: Numbers) -> Any:
        """Return the terms of ids of a run; what is no record is unknown here, and told by the format's level."""
        nodes = self._runs[run]
        inside = np.flatnonzero((ids >= 0) & (ids < nodes.count))
        places = nodes.places[ids[inside]]
        found = np.full(len(ids), SOME, np.int32)
        inside = inside[places >= 0]
        found[inside] = ids[inside] if self._of_place is None else self._of_place[run][places[places >= 0]]
        return found

    def name(self, term: int) -> str:
        """Return how a person knows a term."""
        if self._of_place is None:
            return self._runs[0].name(term)
        place = int(self._known_at[term])
        run = int(np.searchsorted(self._firsts, place, "right")) - 1
        return self._runs[run].name_at(place - int(self._firsts[run]))


def unique(said: Arrays) -> Iterator[Finding | More]:
    """Yield what is said twice, and not the same: constraints 22 and 24. Nothing else in tables has to be one.

    What has to be one and says its time once has that time wherever it is said, from then on.
    """
    for kind, (number, names) in _KEYS.items():
        if kind not in said.kinds:
            continue
        rows = said.kinds[kind]
        order = np.lexsort([rows.terms(name) for name in reversed(names)])
        again = np.zeros(len(order), bool)
        again[1:] = np.logical_and.reduce([rows.terms(n)[order[1:]] == rows.terms(n)[order[:-1]] for n in names])
        again[1:] &= rows.terms(names[0])[order[1:]] >= 0
        if not again.any():
            continue
        columns = rows.merged = {name: rows.times(name).copy() for name in rows.arguments if name in TIMES}
        firsts = np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))
        told, group, known = 0, -1, dict[str, int]()
        waiting: dict[str, list[int]] = {}
        for at in np.flatnonzero(again).tolist():
            one, other = int(order[firsts[at]]), int(order[at])
            if one != group:
                group, known = one, {name: int(times[one]) for name, times in columns.items()}
                waiting = {name: [one] for name in columns}
            differs = ""
            for name, times in columns.items():
                time = int(times[other])
                if known[name] == ABSENT:
                    # What did not say its time is known to be at that of the other.
                    known[name] = time
                    waiting[name].append(other)
                    if time != ABSENT:
                        times[waiting[name]] = time
                elif time == ABSENT:
                    times[other] = known[name]
                elif time != known[name]:
                    differs = differs or name
            if differs:
                told += 1
                if told <= LIMIT:
                    ends = moment(known[differs]), moment(int(columns[differs][other]))
                    what = f"must be the same as the other, but their {differs} is {ends[0]} here and {ends[1]} there"
                    yield finding(number, said.tell(kind, one), what, (said.tell(kind, other),))
        yield from more(number, told - LIMIT)


def rules_of_versions(nodes: Nodes) -> Iterator[Finding | More]:
    """Yield what PROV allows and PROV-ML does not: a version that was generated twice, a maker of bytes.

    PROV lets two activities generate an entity at one moment; a version of data is an occurrence in one run and has one
    generation at most.
    """
    table = nodes.graph.relations.get("wasGeneratedBy")
    if table is None or not len(table):
        return
    subjects, makers = numbers(table, "subject"), numbers(table, "object")
    order = np.lexsort((makers, subjects))
    subjects, makers = subjects[order], makers[order]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (subjects[1:] != subjects[:-1]) | (makers[1:] != makers[:-1])
    subjects, makers = subjects[fresh], makers[fresh]
    twice, counts = np.unique(subjects, return_counts=True)
    twice = twice[counts > 1]
    for subject in twice[:LIMIT].tolist():
        several = makers[np.searchsorted(subjects, subject) : np.searchsorted(subjects, subject, "right")].tolist()
        yield Finding(
            PROV,
            "one-generation",
            nodes.name(subject),
            f"{len(several)} activities generated it",
            "Keep the activity that made it, and record what was made anew as a new version.",
            others=tuple(map(nodes.name, several)),
        )
    if len(twice) > LIMIT:
        yield More(PROV, "one-generation", len(twice) - LIMIT)


def _times(table: Table, name: str) -> Any:
    return numbers(table, name) if name in table.columns else np.full(len(table), ABSENT, np.int64)
