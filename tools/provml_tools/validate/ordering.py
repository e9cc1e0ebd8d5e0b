"""Event ordering: constraints 30 to 49 of PROV-CONSTRAINTS, and whether the times fit what they say.

All starts of an activity are simultaneous, and so are its ends, and the generations and the invalidations of an entity
(31, 32, 39, 40). So each activity has two events here and each entity two, whatever number of statements tells of
them; only usages are events of their own. The constraints then say which event is not after which. The order is
impossible if an event, by way of others, has to be strictly before itself.

PROV-CONSTRAINTS leaves times alone, since clocks differ. Here they are compared too: an event whose time is earlier
than that of one that precedes it is a finding of the constraint that says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from itertools import pairwise
from typing import NamedTuple

from provml_tools.validate.constraints import finding
from provml_tools.validate.findings import VIOLATION, Finding
from provml_tools.validate.graphs import components, path
from provml_tools.validate.instance import NOTHING, Instance, Statement, Term, Unknown, moment
from provml_tools.validate.unify import Terms

START, END, GENERATION, INVALIDATION, USAGE = "start", "end", "generation", "invalidation", "usage"
_WORDS = {
    START: "the start of",
    END: "the end of",
    GENERATION: "the generation of",
    INVALIDATION: "the invalidation of",
}
_SAME_CLOCK = frozenset({30, 33, 34})
"""Constraints between events of one activity, so of clocks that the activity's own start and end take in."""


class _Edge(NamedTuple):
    """One event is not after another, or, if `strict`, before it."""

    after: int
    constraint: int
    why: Statement
    strict: bool


class Ordering:
    """The events of an instance and their order."""

    def __init__(
        self,
        instance: Instance,
        terms: Terms,
        activities: frozenset[Term],
        entities: frozenset[Term],
        told: Container[frozenset[Statement]] = (),
    ) -> None:
        self._instance, self._terms, self._told = instance, terms, told
        self._activities, self._entities = activities, entities
        self._events: dict[tuple[str, Term], int] = {}
        self._keys: list[tuple[str, Term]] = []
        self._edges: list[list[_Edge]] = []
        self._times: list[tuple[int, Statement] | None] = []
        self._other_times: list[Finding] = []
        self._usages: dict[int, Statement] = {}
        self._invalidated = bool(instance.of("wasInvalidatedBy"))
        self._read()

    def count(self) -> int:
        """Return how many pairs of events are ordered."""
        return sum(map(len, self._edges))

    def _event(self, kind: str, term: Term) -> int:
        key = kind, term
        event = self._events.get(key)
        if event is None:
            event = self._events[key] = len(self._keys)
            self._keys.append(key)
            self._edges.append([])
            self._times.append(None)
        return event

    def _order(self, before: int, after: int, number: int, why: Statement, strict: bool = False) -> None:
        self._edges[before].append(_Edge(after, number, why, strict))

    def _time(self, event: int, term: Term, said: Statement, number: int) -> None:
        time = self._terms.find(term)
        if not isinstance(time, int):
            return
        known = self._times[event]
        if known is None:
            self._times[event] = time, said
        elif known[0] != time and not self._is_told(known[1], said):
            what = f"simultaneous events have two times, {moment(known[0])} and {moment(time)}"
            self._other_times.append(finding(number, self._instance.tell(said), what, (self._instance.tell(known[1]),)))

    def _is_told(self, one: Statement, other: Statement) -> bool:
        """Tell whether the uniqueness constraints found these two already, by an identifier or otherwise."""
        same = one.kind == other.kind and self._terms.find(one.id) == self._terms.find(other.id)
        return same or frozenset((one, other)) in self._told

    def _read(self) -> None:
        find, of, event, order = self._terms.find, self._instance.of, self._event, self._order
        for one in of("activity"):
            activity = find(one.arguments[0])
            start, end = event(START, activity), event(END, activity)
            order(start, end, 30, one)
            self._time(start, one.arguments[1], one, 31)
            self._time(end, one.arguments[2], one, 32)
        for one in of("wasGeneratedBy"):
            entity, activity = find(one.arguments[0]), find(one.arguments[1])
            made = event(GENERATION, entity)
            self._time(made, one.arguments[2], one, 39)
            if not isinstance(activity, Unknown):
                order(event(START, activity), made, 34, one)
                order(made, event(END, activity), 34, one)
        for one in of("used"):
            activity, entity = find(one.arguments[0]), find(one.arguments[1])
            use = event(USAGE, find(one.id))
            self._usages[use] = one
            self._time(use, one.arguments[2], one, 23)
            if not isinstance(activity, Unknown):
                order(event(START, activity), use, 33, one)
                order(use, event(END, activity), 33, one)
            if not isinstance(entity, Unknown):
                order(event(GENERATION, entity), use, 37, one)
                if self._invalidated:
                    order(use, event(INVALIDATION, entity), 38, one)
        for one in of("wasInvalidatedBy"):
            entity = find(one.arguments[0])
            gone = event(INVALIDATION, entity)
            self._time(gone, one.arguments[2], one, 40)
            order(event(GENERATION, entity), gone, 36, one)
        for kind, what, number in (("wasStartedBy", START, 43), ("wasEndedBy", END, 44)):
            for one in of(kind):
                activity, trigger = find(one.arguments[0]), find(one.arguments[1])
                at = event(what, activity)
                self._time(at, one.arguments[3], one, 31 if what == START else 32)
                order(event(START, activity), event(END, activity), 30, one)
                if not isinstance(trigger, Unknown):
                    order(event(GENERATION, trigger), at, number, one)
                    if self._invalidated:
                        order(at, event(INVALIDATION, trigger), number, one)
        for one in of("wasInformedBy"):
            informed, informant = map(find, one.arguments)
            order(event(START, informant), event(END, informed), 35, one)
        self._read_things()

    def _read_things(self) -> None:
        find, of, event, order = self._terms.find, self._instance.of, self._event, self._order
        for one in of("wasDerivedFrom"):
            new, old, _, _, usage = map(find, one.arguments)
            order(event(GENERATION, old), event(GENERATION, new), 42, one, strict=True)
            if usage is not NOTHING and not isinstance(usage, Unknown):
                order(event(USAGE, usage), event(GENERATION, new), 41, one)
        for one in (*of("specializationOf"), *of("mentionOf")):
            specific, general = map(find, one.arguments[:2])
            order(event(GENERATION, general), event(GENERATION, specific), 45, one)
            if self._invalidated:
                order(event(INVALIDATION, specific), event(INVALIDATION, general), 46, one)
        for one in of("wasAssociatedWith"):
            activity, agent = map(find, one.arguments[:2])
            if agent in self._activities:
                order(event(START, activity), event(END, agent), 47, one)
                order(event(START, agent), event(END, activity), 47, one)
            elif agent in self._entities:
                order(event(GENERATION, agent), event(END, activity), 47, one)
                if self._invalidated:
                    order(event(START, activity), event(INVALIDATION, agent), 47, one)
        for one in of("wasAttributedTo"):
            entity, agent = map(find, one.arguments)
            if agent in self._activities:
                order(event(START, agent), event(GENERATION, entity), 48, one)
            elif agent in self._entities:
                order(event(GENERATION, agent), event(GENERATION, entity), 48, one)
        for one in of("actedOnBehalfOf"):
            delegate, responsible = map(find, one.arguments[:2])
            if {delegate, responsible} <= self._activities:
                order(event(START, responsible), event(END, delegate), 49, one)
            elif self._invalidated and {delegate, responsible} <= self._entities:
                order(event(GENERATION, responsible), event(INVALIDATION, delegate), 49, one)

    def check(self, severity: str = VIOLATION, tolerance: int = 0) -> Iterator[Finding]:
        """Yield what contradicts itself.

        Parameters
        ----------
        severity
            What a contradiction of times is; the order itself is always a matter of validity.
        tolerance
            By how many nanoseconds clocks may be apart, where two activities are concerned.
        """
        component, count = components([[edge.after for edge in edges] for edges in self._edges])
        members: list[list[int]] = [[] for _ in range(count)]
        for event, number in enumerate(component):
            members[number].append(event)
        yield from self._cycles(component, members)
        for one in self._other_times:
            yield one if severity == VIOLATION else _milder(one, severity)
        yield from self._compare_times(component, members, severity, tolerance)

    def _cycles(self, component: list[int], members: list[list[int]]) -> Iterator[Finding]:
        told: set[int] = set()
        successors: list[list[int]] = []
        for before, edges in enumerate(self._edges):
            for edge in edges:
                number = component[before]
                if edge.strict and number == component[edge.after] and number not in told:
                    told.add(number)
                    successors = successors or [[one.after for one in after] for after in self._edges]
                    steps = path(successors, edge.after, before, set(members[number]))
                    others = [edge, *(self._step(one, other) for one, other in pairwise(steps))]
                    first, *rest = dict.fromkeys(self._instance.tell(one.why) for one in others)
                    what = f"{self._say(edge.after)} would be before itself"
                    yield finding(edge.constraint, first, what, tuple(rest))

    def _step(self, before: int, after: int) -> _Edge:
        return next(edge for edge in self._edges[before] if edge.after == after)

    def _compare_times(
        self, component: list[int], members: list[list[int]], severity: str, tolerance: int
    ) -> Iterator[Finding]:
        """Carry the latest time known along the order, and compare it with the time of each event."""
        order = _topological(self._edges, component, members)
        latest: list[tuple[int, int] | None] = [None] * len(self._keys)
        """For each event the latest time of those before it, and which event has it."""
        for before in order:
            own, carried = self._times[before], latest[before]
            if own is not None:
                # Once told, a contradiction is not told again of all that comes after.
                carried = own[0], before
            if carried is None:
                continue
            for edge in self._edges[before]:
                if component[before] == component[edge.after]:
                    continue
                after = self._times[edge.after]
                allowed = 0 if edge.constraint in _SAME_CLOCK and carried[1] == before else tolerance
                if after is not None and carried[0] > after[0] + allowed:
                    yield self._late(edge, carried, after, severity)
                known = latest[edge.after]
                if known is None or known[0] < carried[0]:
                    latest[edge.after] = carried

    def _late(self, edge: _Edge, earlier: tuple[int, int], later: tuple[int, Statement], severity: str) -> Finding:
        what = (
            f"{self._say(edge.after)} is at {moment(later[0])}, "
            f"before {self._say(earlier[1])} at {moment(earlier[0])}, which precedes it"
        )
        witness = self._times[earlier[1]]
        records = dict.fromkeys([edge.why, later[1], *([witness[1]] if witness else [])])
        first, *rest = dict.fromkeys(self._instance.tell(one) for one in records)
        return finding(edge.constraint, first, what, tuple(rest), severity)

    def _say(self, event: int) -> str:
        kind, term = self._keys[event]
        if kind == USAGE:
            usage = self._usages.get(event)
            return f"the usage {self._instance.tell(usage)}" if usage else f"the usage {self._instance.name(term)}"
        return f"{_WORDS[kind]} {self._instance.name(term)}"


def _milder(one: Finding, severity: str) -> Finding:
    return Finding(one.level, one.constraint, one.record, one.message, one.remedy, severity, one.number, one.others)


def _topological(edges: list[list[_Edge]], component: list[int], members: list[list[int]]) -> Iterator[int]:
    """Yield events so that one comes after all that precede it; those of one component come together."""
    count = len(members)
    waiting = [0] * count
    for before, after_it in enumerate(edges):
        for edge in after_it:
            if component[edge.after] != component[before]:
                waiting[component[edge.after]] += 1
    ready = deque(number for number in range(count) if not waiting[number])
    while ready:
        number = ready.popleft()
        for event in members[number]:
            yield event
            for edge in edges[event]:
                other = component[edge.after]
                if other != number:
                    waiting[other] -= 1
                    if not waiting[other]:
                        ready.append(other)
