"""Event ordering: constraints 30 to 49 of PROV-CONSTRAINTS, and whether the times fit what they say.

All starts of an activity are simultaneous, and so are its ends, and the generations and the invalidations of an entity
(31, 32, 39, 40). So each activity has two events here and each entity two, whatever number of statements tells of
them; only usages are events of their own. The constraints then say which event is not after which. The order is
impossible if an event, by way of others, has to be strictly before itself.

PROV-CONSTRAINTS leaves times alone, since clocks differ. Here they are compared too: an event whose time is earlier
than that of one that precedes it is a finding of the constraint that says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from provml_hpc.assembly.graph import ABSENT
from provml_tools.validate.arrays import Arrays, Flags
from provml_tools.validate.constraints import finding, more
from provml_tools.validate.findings import LIMIT, VIOLATION, Finding, More
from provml_tools.validate.graphs import Order, path
from provml_tools.validate.instance import moment

START, END, GENERATION, INVALIDATION, USAGE = range(5)
_WORDS = ("the start of", "the end of", "the generation of", "the invalidation of")
_SAME_CLOCK = (30, 33, 34)
"""Constraints between events of one activity, so of clocks that the activity's own start and end take in."""


class Ordering:
    """The events of what is said, and their order."""

    def __init__(self, said: Arrays, activities: Flags, entities: Flags) -> None:
        self._said, self._activities, self._entities = said, activities, entities
        self._invalidated = bool(len(said.of("wasInvalidatedBy")))
        # Events are numbered by what they are of: the starts first, then the ends and so on.
        # The two that stand for no name are the last places of the arrays over terms.
        self._owners = [np.flatnonzero(flags).astype(np.int32) for flags in (activities, entities)]
        self._places = []
        for owners in self._owners:
            places = np.full(said.terms + 2, -1, np.int32)
            places[owners] = np.arange(len(owners))
            self._places.append(places)
        own = [len(owners) for owners in self._owners]
        self._firsts = np.cumsum([0, own[0], own[0], own[1], own[1] if self._invalidated else 0])
        usages = said.of("used")
        count = len(usages) if usages.ids is None else int(max(usages.ids, default=-1)) + 1
        named = said.of("wasDerivedFrom").arguments.get("usage")
        if named is not None and len(named):
            count = max(count, int(named.max()) + 1)
        self.events = int(self._firsts[USAGE]) + count
        self._edges: list[tuple[Any, Any, int, Any]] = []
        self._moments: list[tuple[Any, Any, int, Any]] = []
        self._read()
        self._before, self._after, self._numbers, self._why = self._joined(self._edges)
        self._edges.clear()
        self._set_times()

    def count(self) -> int:
        """Return how many pairs of events are ordered."""
        return len(self._before)

    def _event(self, kind: int, terms: Any) -> Any:
        """Return the events of terms; -1 for what is unknown, or nothing."""
        found = self._places[kind // 2][terms]
        return np.where(found >= 0, found + self._firsts[kind], -1)

    def _usage(self, usages: Any) -> Any:
        return np.where(usages >= 0, usages + self._firsts[USAGE], -1)

    def _order(self, kind: str, before: Any, after: Any, number: int, rows: Any = None) -> None:
        """One event is not after another, or, where constraint 42 says so, before it."""
        rows = np.arange(len(before)) if rows is None else rows
        known = np.flatnonzero((before >= 0) & (after >= 0))
        self._edges.append((before[known], after[known], number, rows[known] + self._said.firsts[kind]))

    def _time(self, kind: str, events: Any, times: Any, number: int) -> None:
        known = np.flatnonzero((events >= 0) & (times != ABSENT))
        self._moments.append((events[known], times[known], number, known + self._said.firsts[kind]))

    def _read(self) -> None:
        event, order = self._event, self._order
        for kind, rows in self._said.kinds.items():
            if kind == "activity":
                start, end = (event(what, rows.terms("activity")) for what in (START, END))
                order(kind, start, end, 30)
                self._time(kind, start, rows.times("start"), 31)
                self._time(kind, end, rows.times("end"), 32)
            elif kind == "wasGeneratedBy":
                made, activity = event(GENERATION, rows.terms("entity")), rows.terms("activity")
                self._time(kind, made, rows.times("time"), 39)
                order(kind, event(START, activity), made, 34)
                order(kind, made, event(END, activity), 34)
            elif kind == "used":
                use = self._usage(np.arange(len(rows)) if rows.ids is None else rows.ids)
                activity, entity = rows.terms("activity"), rows.terms("entity")
                self._time(kind, use, rows.times("time"), 23)
                order(kind, event(START, activity), use, 33)
                order(kind, use, event(END, activity), 33)
                order(kind, event(GENERATION, entity), use, 37)
                if self._invalidated:
                    order(kind, use, event(INVALIDATION, entity), 38)
            elif kind == "wasInvalidatedBy":
                made, gone = (event(what, rows.terms("entity")) for what in (GENERATION, INVALIDATION))
                self._time(kind, gone, rows.times("time"), 40)
                order(kind, made, gone, 36)
            elif kind in ("wasStartedBy", "wasEndedBy"):
                what, number = (START, 43) if kind == "wasStartedBy" else (END, 44)
                activity, trigger = rows.terms("activity"), rows.terms("trigger")
                at = event(what, activity)
                self._time(kind, at, rows.times("time"), 31 if what == START else 32)
                order(kind, event(START, activity), event(END, activity), 30)
                order(kind, event(GENERATION, trigger), at, number)
                if self._invalidated:
                    order(kind, at, event(INVALIDATION, trigger), number)
            elif kind == "wasInformedBy":
                order(kind, event(START, rows.terms("informant")), event(END, rows.terms("informed")), 35)
            else:
                self._read_things(kind, rows)

    def _read_things(self, kind: str, rows: Any) -> None:
        event, order = self._event, self._order
        if kind == "wasDerivedFrom":
            old, new = (event(GENERATION, rows.terms(name)) for name in ("used", "generated"))
            order(kind, old, new, 42)
            if "usage" in rows.arguments:
                order(kind, self._usage(rows.terms("usage")), new, 41)
        elif kind in ("specializationOf", "mentionOf"):
            specific, general = rows.terms("specific"), rows.terms("general")
            order(kind, event(GENERATION, general), event(GENERATION, specific), 45)
            if self._invalidated:
                order(kind, event(INVALIDATION, specific), event(INVALIDATION, general), 46)
        elif kind == "wasAssociatedWith":
            for at, activity, agent in self._as(rows, "agent", "activity"):
                order(kind, event(START, activity), event(END, agent), 47, at)
                order(kind, event(START, agent), event(END, activity), 47, at)
            for at, activity, agent in self._as(rows, "agent", "entity"):
                order(kind, event(GENERATION, agent), event(END, activity), 47, at)
                if self._invalidated:
                    order(kind, event(START, activity), event(INVALIDATION, agent), 47, at)
        elif kind == "wasAttributedTo":
            for at, entity, agent in self._as(rows, "agent", "activity"):
                order(kind, event(START, agent), event(GENERATION, entity), 48, at)
            for at, entity, agent in self._as(rows, "agent", "entity"):
                order(kind, event(GENERATION, agent), event(GENERATION, entity), 48, at)
        elif kind == "actedOnBehalfOf":
            for at, delegate, responsible in self._as(rows, "responsible", "activity"):
                order(kind, event(START, responsible), event(END, delegate), 49, at)
            for at, delegate, responsible in self._as(rows, "responsible", "entity"):
                if self._invalidated:
                    order(kind, event(GENERATION, responsible), event(INVALIDATION, delegate), 49, at)

    def _as(self, rows: Any, name: str, type_: str) -> Iterator[tuple[Any, Any, Any]]:
        """Yield the statements in which an agent is an activity too, or an entity and no activity, if there are any."""
        terms = rows.terms(name)
        other = next(iter(rows.arguments.values()))
        is_activity = self._activities[terms]
        at = np.flatnonzero(is_activity if type_ == "activity" else self._entities[terms] & ~is_activity)
        if len(at):
            yield at, other[at], terms[at]

    def _joined(self, parts: list[tuple[Any, Any, int, Any]]) -> tuple[Any, Any, Any, Any]:
        if not parts:
            return tuple(np.zeros(0, np.int32) for _ in range(4))  # type: ignore[return-value]
        before, after, why = (np.concatenate([part[at] for part in parts]).astype(np.int32) for at in (0, 1, 3))
        numbers = np.repeat(np.array([part[2] for part in parts], np.uint8), [len(part[0]) for part in parts])
        return before, after, numbers, why

    def _set_times(self) -> None:
        self._times = np.full(self.events, ABSENT, np.int64)
        self._witness = np.full(self.events, -1, np.int32)
        """Which statement says the time of an event."""
        self._other_times: list[tuple[int, int, int, int, int]] = []
        for events, times, number, why in self._moments:
            # Of several the first counts, as long as they come in the order of the statements.
            fresh = np.flatnonzero(self._witness[events] < 0)[::-1]
            self._times[events[fresh]], self._witness[events[fresh]] = times[fresh], why[fresh]
            for at in np.flatnonzero(self._times[events] != times).tolist():
                event = int(events[at])
                self._other_times.append(
                    (number, int(why[at]), int(self._witness[event]), int(self._times[event]), int(times[at]))
                )
        self._moments.clear()

    def check(self, severity: str = VIOLATION, tolerance: int = 0) -> Iterator[Finding | More]:
        """Yield what contradicts itself.

        Parameters
        ----------
        severity
            What a contradiction of times is; the order itself is always a matter of validity.
        tolerance
            By how many nanoseconds clocks may be apart, where two activities are concerned.
        """
        order = Order(self.events, self._before, self._after)
        yield from self._cycles(order)
        yield from self._told_twice(severity)
        yield from self._compare_times(order, severity, tolerance)

    def _cycles(self, order: Order) -> Iterator[Finding | More]:
        edges = order.inside()
        strict = edges[self._numbers[edges] == 42]
        groups, firsts = np.unique(order.group[self._before[strict]], return_index=True)
        for at in np.sort(firsts)[:LIMIT].tolist():
            edge = int(strict[at])
            inside = edges[order.group[self._before[edges]] == order.group[self._before[edge]]]
            leads: dict[int, list[int]] = {}
            why: dict[tuple[int, int], int] = {}
            columns = (self._before[inside].tolist(), self._after[inside].tolist(), self._why[inside].tolist())
            for before, after, number in zip(*columns, strict=True):
                leads.setdefault(before, []).append(after)
                why.setdefault((before, after), number)
            before, after = int(self._before[edge]), int(self._after[edge])
            steps = path(leads, after, before)
            numbers = [int(self._why[edge]), *(why[pair] for pair in pairwise(steps))]
            first, *rest = dict.fromkeys(map(self._said.tell_number, numbers))
            yield finding(42, first, f"{self._say(after)} would be before itself", tuple(rest))
        yield from more(42, len(groups) - LIMIT)

    def _told_twice(self, severity: str) -> Iterator[Finding | More]:
        said = self._said
        counted: dict[int, int] = {}
        for number, one, other, first, second in self._other_times:
            if said.is_told(*said.statement(one), *said.statement(other)):
                continue
            counted[number] = counted.get(number, 0) + 1
            if counted[number] <= LIMIT:
                what = f"simultaneous events have two times, {moment(first)} and {moment(second)}"
                yield finding(number, said.tell_number(one), what, (said.tell_number(other),), severity)
        for number, count in counted.items():
            yield from more(number, count - LIMIT, severity)

    def _compare_times(self, order: Order, severity: str, tolerance: int) -> Iterator[Finding | More]:
        """Carry the latest time known along the order, and compare it with the time of each event."""
        latest, origin = np.full(self.events, ABSENT, np.int64), np.full(self.events, -1, np.int32)
        """For each event the latest time of those before it, and which event has it."""
        arrays: list[Any] = [
            latest,
            origin,
            self._times,
            order.starts,
            order.edges,
            order.group,
            self._after,
            self._numbers,
        ]
        views: list[Any] = [memoryview(one) for one in arrays]
        late, origins, times, starts, edges, group, after, numbers = views
        counted: dict[int, int] = {}
        for event in memoryview(order.sequence):
            # Once told, a contradiction is not told again of all that comes after: an event's own time counts.
            carried, carrier = times[event], event
            if carried == ABSENT:
                carried, carrier = late[event], origins[event]
                if carried == ABSENT:
                    continue
            for edge in edges[starts[event] : starts[event + 1]]:
                other = after[edge]
                if group[other] == group[event]:
                    continue
                time = times[other]
                if time == ABSENT:
                    if carried > late[other]:
                        late[other], origins[other] = carried, carrier
                elif carried > time:
                    number = numbers[edge]
                    if carried > time + (0 if number in _SAME_CLOCK and carrier == event else tolerance):
                        counted[number] = counted.get(number, 0) + 1
                        if counted[number] <= LIMIT:
                            yield self._late(edge, carrier, severity)
        for number, count in counted.items():
            yield from more(number, count - LIMIT, severity)

    def _late(self, edge: int, earlier: int, severity: str) -> Finding:
        later = int(self._after[edge])
        what = (
            f"{self._say(later)} is at {moment(int(self._times[later]))}, "
            f"before {self._say(earlier)} at {moment(int(self._times[earlier]))}, which precedes it"
        )
        numbers = [int(self._why[edge]), int(self._witness[later]), int(self._witness[earlier])]
        first, *rest = dict.fromkeys(map(self._said.tell_number, dict.fromkeys(numbers)))
        return finding(int(self._numbers[edge]), first, what, tuple(rest), severity)

    def _say(self, event: int) -> str:
        kind = int(np.searchsorted(self._firsts, event, "right")) - 1
        place = event - int(self._firsts[kind])
        if kind < USAGE:
            return f"{_WORDS[kind]} {self._said.name(int(self._owners[kind // 2][place]))}"
        usages = self._said.of("used")
        rows = [place] if usages.ids is None else np.flatnonzero(usages.ids == place).tolist()
        return f"the usage {self._said.tell('used', rows[-1])}" if rows else "a usage that nobody tells of"
