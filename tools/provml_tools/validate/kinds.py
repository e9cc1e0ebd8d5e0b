"""Typing and impossibility: constraints 50 to 56 of PROV-CONSTRAINTS."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from provml_tools.validate.arrays import Arrays, Flags
from provml_tools.validate.constraints import finding, more
from provml_tools.validate.findings import LIMIT, Finding, More
from provml_tools.validate.graphs import Order
from provml_tools.validate.instance import ARGUMENTS, NOTHING, THINGS, WITHOUT_ID, Instance, Statement, Term, Unknown
from provml_tools.validate.unify import Terms

_E, _A, _G = "entity", "activity", "agent"
_TYPES: dict[str, tuple[str | None, ...]] = {
    "entity": (_E,),
    "activity": (_A,),
    "agent": (_G,),
    "wasGeneratedBy": (_E, _A),
    "used": (_A, _E),
    "wasInvalidatedBy": (_E, _A),
    "wasStartedBy": (_A, _E, _A),
    "wasEndedBy": (_A, _E, _A),
    "wasInformedBy": (_A, _A),
    "wasDerivedFrom": (_E, _E, _A),
    "wasAttributedTo": (_E, _G),
    "wasAssociatedWith": (_A, _G, _E),
    "actedOnBehalfOf": (_G, _G, _A),
    "specializationOf": (_E, _E),
    "alternateOf": (_E, _E),
    "mentionOf": (_E, _E, _E),
    "hadMember": (_E, _E),
}
"""The type that constraint 50 gives to each argument."""

_OVERLAP_ALLOWED = frozenset({"wasInfluencedBy"})


class Kinds:
    """What each thing is, by its own statements and by those that it takes part in."""

    def __init__(self, said: Arrays) -> None:
        self._said = said
        self._are = {kind: np.zeros(said.terms + 2, bool) for kind in (_E, _A)}
        for kind, name, type_ in _places():
            if type_ in self._are and kind in said.kinds:
                terms = said.kinds[kind].terms(name)
                self._are[type_][terms[terms >= 0]] = True

    def all(self, kind: str) -> Flags:
        """Return for each term whether it is an entity, or an activity; the two that have no name are neither."""
        return self._are[kind]

    def check(self) -> Iterator[Finding | More]:
        """Yield what is an entity and an activity (55), and what would be a special case of itself (52)."""
        said = self._said
        both = np.flatnonzero(self._are[_E] & self._are[_A]).tolist()
        for term in both[:LIMIT]:
            one, other = self._why(_E, term), self._why(_A, term)
            yield finding(55, one, f"{said.name(term)} is an entity and an activity", (other,))
        yield from more(55, len(both) - LIMIT)
        yield from self._reflexive()

    def _why(self, type_: str, term: int) -> str:
        """Return the first statement that makes a thing what it is."""
        for kind, name, of in _places():
            if of == type_ and kind in self._said.kinds:
                rows = np.flatnonzero(self._said.kinds[kind].terms(name) == term)
                if len(rows):
                    return self._said.tell(kind, int(rows[0]))
        raise AssertionError(f"no statement makes {term} an {type_}")

    def _reflexive(self) -> Iterator[Finding | More]:
        """Constraint 52, with inference 19: specialization is transitive."""
        said = self._said
        kinds: list[str] = [kind for kind in ("specializationOf", "mentionOf") if kind in said.kinds]
        if not kinds:
            return
        specific, general = (np.concatenate([said.kinds[k].terms(n) for k in kinds]) for n in ("specific", "general"))
        known = np.flatnonzero((specific >= 0) & (general >= 0))
        order = Order(said.terms, specific[known], general[known])
        inside = known[order.inside()]
        circles: dict[int, list[int]] = {}
        for row in inside.tolist():
            circles.setdefault(int(order.group[specific[row]]), []).append(row)
        for at, rows in enumerate(circles.values()):
            if at == LIMIT:
                break
            first, *rest = (self._tell(kinds, row) for row in rows)
            what = f"{said.name(int(specific[rows[0]]))} would be a special case of itself"
            yield finding(52, first, what, tuple(rest))
        yield from more(52, len(circles) - LIMIT)

    def _tell(self, kinds: list[str], row: int) -> str:
        for kind in kinds:
            if row < len(self._said.kinds[kind]):
                return self._said.tell(kind, row)
            row -= len(self._said.kinds[kind])
        raise IndexError(row)


def _places() -> Iterator[tuple[str, str, str | None]]:
    """Yield the arguments of every kind of statement with their types."""
    for kind, types in _TYPES.items():
        for name, type_ in zip(ARGUMENTS[kind], types, strict=False):
            yield kind, name, type_


def impossible(instance: Instance, terms: Terms) -> Iterator[Finding]:
    """Yield what only a document can get wrong, since no relation of a run has a name: constraints 51, 53, 54, 56."""
    yield from _identifiers(instance, terms)
    for one in instance.of("wasDerivedFrom"):
        activity, generation, usage = one.arguments[2:]
        if activity is NOTHING and not (generation is NOTHING and usage is NOTHING):
            what = "a generation or usage is named, and no activity that it belongs to"
            yield finding(51, instance.tell(one), what)
    for one in instance.of("hadMember"):
        collection = terms.find(one.arguments[0])
        if isinstance(collection, str) and "EmptyCollection" in instance.types.get(collection, ()):
            what = f"{instance.name(collection)} is called an empty collection, and has a member"
            yield finding(56, instance.tell(one), what)


def _identifiers(instance: Instance, terms: Terms) -> Iterator[Finding]:
    """Constraints 53 and 54: which identifiers stand for two kinds of things."""
    kinds: dict[Term, Statement] = {}
    for kind, statements in instance.statements.items():
        if kind in THINGS or kind in WITHOUT_ID or kind in _OVERLAP_ALLOWED:
            continue
        for one in statements:
            identifier = terms.find(one.id)
            if isinstance(identifier, Unknown) or identifier is NOTHING:
                continue
            other = kinds.setdefault(identifier, one)
            if other.kind != kind:
                what = f"{identifier} is a {other.kind} and a {kind}"
                yield finding(53, instance.tell(one), what, (instance.tell(other),))
    for kind in THINGS:
        for one in instance.of(kind):
            other_kind = kinds.get(terms.find(one.arguments[0]))
            if other_kind is not None:
                what = f"{terms.find(one.arguments[0])} is a {kind} and a {other_kind.kind}"
                yield finding(54, instance.tell(one), what, (instance.tell(other_kind),))
