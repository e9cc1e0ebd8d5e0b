"""Typing and impossibility: constraints 50 to 56 of PROV-CONSTRAINTS."""

from __future__ import annotations

from collections.abc import Iterator

from provml_tools.validate.constraints import finding
from provml_tools.validate.findings import Finding
from provml_tools.validate.graphs import components
from provml_tools.validate.instance import NOTHING, THINGS, WITHOUT_ID, Instance, Statement, Term, Unknown
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

    def __init__(self, instance: Instance, terms: Terms) -> None:
        self._instance, self._terms = instance, terms
        self._why: dict[str, dict[Term, Statement]] = {_E: {}, _A: {}, _G: {}}
        for kind, types in _TYPES.items():
            for one in instance.of(kind):
                for type_, argument in zip(types, one.arguments, strict=False):
                    term = terms.find(argument)
                    if type_ and not isinstance(term, Unknown) and term is not NOTHING:
                        self._why[type_].setdefault(term, one)

    def all(self, kind: str) -> frozenset[Term]:
        """Return all that is an entity, an activity or an agent."""
        return frozenset(self._why[kind])

    def check(self) -> Iterator[Finding]:
        """Yield what contradicts itself."""
        yield from self._disjoint()
        yield from self._identifiers()
        yield from self._derivations()
        yield from self._reflexive()
        yield from self._empty()

    def _disjoint(self) -> Iterator[Finding]:
        instance = self._instance
        for term in self._why[_E].keys() & self._why[_A].keys():
            one, other = self._why[_E][term], self._why[_A][term]
            what = f"{instance.name(term)} is an entity and an activity"
            yield finding(55, instance.tell(one), what, (instance.tell(other),))

    def _identifiers(self) -> Iterator[Finding]:
        """Constraints 53 and 54: which identifiers stand for two kinds of things."""
        instance, find = self._instance, self._terms.find
        kinds: dict[Term, Statement] = {}
        for kind, statements in instance.statements.items():
            if kind in THINGS or kind in WITHOUT_ID or kind in _OVERLAP_ALLOWED:
                continue
            for one in statements:
                identifier = find(one.id)
                if isinstance(identifier, Unknown) or identifier is NOTHING:
                    continue
                other = kinds.setdefault(identifier, one)
                if other.kind != kind:
                    what = f"{identifier} is a {other.kind} and a {kind}"
                    yield finding(53, instance.tell(one), what, (instance.tell(other),))
        for kind in THINGS:
            for one in instance.of(kind):
                other_kind = kinds.get(find(one.arguments[0]))
                if other_kind is not None:
                    what = f"{find(one.arguments[0])} is a {kind} and a {other_kind.kind}"
                    yield finding(54, instance.tell(one), what, (instance.tell(other_kind),))

    def _derivations(self) -> Iterator[Finding]:
        for one in self._instance.of("wasDerivedFrom"):
            activity, generation, usage = one.arguments[2:]
            if activity is NOTHING and not (generation is NOTHING and usage is NOTHING):
                what = "a generation or usage is named, and no activity that it belongs to"
                yield finding(51, self._instance.tell(one), what)

    def _reflexive(self) -> Iterator[Finding]:
        """Constraint 52, with inference 19: specialization is transitive."""
        instance, find = self._instance, self._terms.find
        places: dict[Term, int] = {}
        above: list[list[int]] = []
        said: list[tuple[Statement, int, int]] = []
        for one in (*instance.of("specializationOf"), *instance.of("mentionOf")):
            ends = []
            for argument in one.arguments[:2]:
                place = places.setdefault(find(argument), len(places))
                if place == len(above):
                    above.append([])
                ends.append(place)
            above[ends[0]].append(ends[1])
            said.append((one, ends[0], ends[1]))
        component, _ = components(above)
        told: dict[int, list[Statement]] = {}
        for one, specific, general in said:
            if component[specific] == component[general]:
                told.setdefault(component[specific], []).append(one)
        for statements in told.values():
            first, *rest = (instance.tell(one) for one in statements)
            what = f"{instance.name(find(statements[0].arguments[0]))} would be a special case of itself"
            yield finding(52, first, what, tuple(rest))

    def _empty(self) -> Iterator[Finding]:
        for one in self._instance.of("hadMember"):
            collection = self._terms.find(one.arguments[0])
            if isinstance(collection, str) and "EmptyCollection" in self._instance.types.get(collection, ()):
                what = f"{self._instance.name(collection)} is called an empty collection, and has a member"
                yield finding(56, self._instance.tell(one), what)
