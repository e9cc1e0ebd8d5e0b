"""Uniqueness: which statements mean one thing, and where two that should be one contradict each other.

This is the normalization of PROV-CONSTRAINTS: inferences that bring in further statements, then the keys and the
uniqueness constraints (22 to 29) until nothing changes. Two terms that must be equal are merged; two that must be equal
and cannot be make the instance invalid.
"""

from __future__ import annotations

from collections.abc import Iterator

from provml_tools.validate.constraints import finding
from provml_tools.validate.findings import Finding
from provml_tools.validate.instance import (
    ARGUMENTS,
    NOTHING,
    THINGS,
    WITHOUT_ID,
    Instance,
    Statement,
    Term,
    Unknown,
)

_UNIQUE = {
    "wasGeneratedBy": (24, 0, 1),
    "wasInvalidatedBy": (25, 0, 1),
    "wasStartedBy": (26, 0, 2),
    "wasEndedBy": (27, 0, 2),
}
"""Of which two arguments a kind of event is unique, and by which constraint."""


class Terms:
    """Which terms are the same."""

    def __init__(self) -> None:
        self._same: dict[Term, Term] = {}
        self.merged = 0

    def find(self, term: Term) -> Term:
        """Return what stands for a term."""
        same = self._same
        while term in same:
            term = same[term]
        return term

    def merge(self, one: Term, other: Term) -> bool:
        """Make two terms the same; False if they cannot be."""
        one, other = self.find(one), self.find(other)
        if one is other or one == other:
            return True
        if isinstance(one, Unknown):
            self._same[one] = other
        elif isinstance(other, Unknown):
            self._same[other] = one
        else:
            return False
        self.merged += 1
        return True


def infer(instance: Instance) -> None:
    """Add the statements that follow and matter to the constraints: inferences 9, 10, 11 and 14."""
    for kind in ("wasStartedBy", "wasEndedBy"):
        for one in instance.of(kind):
            _, trigger, by, _ = one.arguments
            instance.say("wasGeneratedBy", None, trigger, by, inferred=True)
    for one in instance.of("wasDerivedFrom"):
        new, old, activity, generation, usage = one.arguments
        if activity is not NOTHING:
            instance.say("wasGeneratedBy", generation, new, activity, inferred=True)
            instance.say("used", usage, activity, old, inferred=True)
    for one in instance.of("actedOnBehalfOf"):
        delegate, responsible, activity = one.arguments
        if not isinstance(activity, Unknown):
            for agent in (delegate, responsible):
                instance.say("wasAssociatedWith", None, activity, agent, Unknown(), inferred=True)


Pair = frozenset[Statement]


def unify(instance: Instance) -> tuple[Terms, dict[Pair, Finding]]:
    """Merge what must be one, and tell what cannot be: of each two statements, what is found first."""
    terms = Terms()
    found: dict[Pair, Finding] = {}
    while True:
        before = terms.merged
        for number, one, other, what in _conflicts(instance, terms):
            pair = frozenset((one, other))
            if pair not in found:
                found[pair] = finding(
                    number, instance.tell(one), f"must be the same as the other, but {what}", (instance.tell(other),)
                )
        if terms.merged == before:
            return terms, found


def _conflicts(instance: Instance, terms: Terms) -> Iterator[tuple[int, Statement, Statement, str]]:
    for kind, statements in instance.statements.items():
        if kind not in WITHOUT_ID:
            yield from _keys(22 if kind in THINGS else 23, statements, instance, terms)
        if kind in _UNIQUE:
            yield from _unique(kind, statements, instance, terms)
    yield from _times(instance, terms)


def _keys(
    number: int, statements: list[Statement], instance: Instance, terms: Terms
) -> Iterator[tuple[int, Statement, Statement, str]]:
    first: dict[Term, Statement] = {}
    for one in statements:
        other = first.setdefault(terms.find(one.id), one)
        if other is not one:
            yield from _same_arguments(number, other, one, instance, terms)


def _same_arguments(
    number: int, one: Statement, other: Statement, instance: Instance, terms: Terms
) -> Iterator[tuple[int, Statement, Statement, str]]:
    for name, mine, yours in zip(ARGUMENTS[one.kind], one.arguments, other.arguments, strict=True):
        if not terms.merge(mine, yours):
            ends = instance.name(terms.find(mine)), instance.name(terms.find(yours))
            yield number, one, other, f"their {name} is {ends[0]} here and {ends[1]} there"


def _unique(
    kind: str, statements: list[Statement], instance: Instance, terms: Terms
) -> Iterator[tuple[int, Statement, Statement, str]]:
    number, left, right = _UNIQUE[kind]
    first: dict[tuple[Term, Term], Statement] = {}
    for one in statements:
        ends = terms.find(one.arguments[left]), terms.find(one.arguments[right])
        other = first.setdefault(ends, one)
        if other is one:
            continue
        if not terms.merge(other.id, one.id):
            yield number, other, one, f"it is {terms.find(other.id)} here and {terms.find(one.id)} there"
        yield from _same_arguments(number, other, one, instance, terms)


def _times(instance: Instance, terms: Terms) -> Iterator[tuple[int, Statement, Statement, str]]:
    """Constraints 28 and 29: the times of an activity are those of its start and its end."""
    activities: dict[Term, Statement] = {}
    for one in instance.of("activity"):
        activities.setdefault(terms.find(one.arguments[0]), one)
    for kind, number, at in (("wasStartedBy", 28, 1), ("wasEndedBy", 29, 2)):
        for one in instance.of(kind):
            activity = activities.get(terms.find(one.arguments[0]))
            if activity is None:
                continue
            if not terms.merge(activity.arguments[at], one.arguments[3]):
                ends = (instance.name(terms.find(term)) for term in (activity.arguments[at], one.arguments[3]))
                yield number, activity, one, "the time is {} here and {} there".format(*ends)
