"""PROV-CONSTRAINTS on instances: for each constraint cases that break just that one, and the same without the fault."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provml_tools.validate.arrays import of_instance
from provml_tools.validate.constraints import CONSTRAINTS
from provml_tools.validate.findings import VIOLATION, Finding
from provml_tools.validate.instance import Instance, moment
from provml_tools.validate.kinds import Kinds
from provml_tools.validate.ordering import Ordering
from provml_tools.validate.prov import check
from provml_tools.validate.unify import Terms

Said = tuple[Any, ...]
"""The kind of a statement, its identifier, and its arguments."""


def _instance(statements: list[Said], types: dict[str, set[str]] | None = None) -> Instance:
    instance = Instance(types=types or {})
    for kind, identifier, *arguments in statements:
        instance.say(kind, identifier, *arguments)
    return instance


def _check(statements: list[Said], types: dict[str, set[str]] | None = None, **options: Any) -> list[Finding]:
    return list(check(_instance(statements, types), **options))


def _things(*names: str) -> list[Said]:
    kinds = {"e": "entity", "a": "activity", "g": "agent"}
    return [(kinds[name[0]], name, name) for name in names]


HOUR = 3600 * 10**9
_E1_E2 = _things("e1", "e2", "a1", "a2")

BREAKING: dict[str, tuple[int, list[Said], Said]] = {
    # The constraint, statements that are valid together, and the one that breaks the constraint.
    "an activity with two starts": (22, [("activity", "a1", "a1", 1)], ("activity", "a1", "a1", 2)),
    "an activity with two ends": (22, [("activity", "a1", "a1", None, 1)], ("activity", "a1", "a1", None, 2)),
    "a generation of two entities": (
        23, [*_E1_E2, ("wasGeneratedBy", "x", "e1", "a1")], ("wasGeneratedBy", "x", "e2", "a1"),
    ),
    "a usage at two times": (23, [*_E1_E2, ("used", "x", "a1", "e1", 1)], ("used", "x", "a1", "e1", 2)),
    "a communication from two": (
        23, [*_things("a1", "a2", "a3"), ("wasInformedBy", "x", "a1", "a2")], ("wasInformedBy", "x", "a1", "a3"),
    ),
    "an association with and without a plan": (
        23, [*_things("a1", "g1", "e1"), ("wasAssociatedWith", "x", "a1", "g1", "e1")],
        ("wasAssociatedWith", "x", "a1", "g1"),
    ),
    "a derivation with and without an activity": (
        23, [*_E1_E2, ("wasDerivedFrom", "x", "e2", "e1", "a1")], ("wasDerivedFrom", "x", "e2", "e1"),
    ),
    "an attribution to two": (
        23, [*_things("e1", "g1", "g2"), ("wasAttributedTo", "x", "e1", "g1")], ("wasAttributedTo", "x", "e1", "g2"),
    ),
    "a delegation to two": (
        23, [*_things("g1", "g2", "g3"), ("actedOnBehalfOf", "x", "g1", "g2")], ("actedOnBehalfOf", "x", "g1", "g3"),
    ),
    "a start of two activities": (23, [*_E1_E2, ("wasStartedBy", "x", "a1")], ("wasStartedBy", "x", "a2")),
    "an end of two activities": (23, [*_E1_E2, ("wasEndedBy", "x", "a1")], ("wasEndedBy", "x", "a2")),
    "an influence on two": (23, [("wasInfluencedBy", "x", "e1", "e3")], ("wasInfluencedBy", "x", "e2", "e3")),
    "an invalidation of two": (
        23, [*_E1_E2, ("wasInvalidatedBy", "x", "e1", "a1")], ("wasInvalidatedBy", "x", "e2", "a1"),
    ),
    "two generations of one entity by one activity": (
        24, [*_E1_E2, ("wasGeneratedBy", "x", "e1", "a1")], ("wasGeneratedBy", "y", "e1", "a1"),
    ),
    "one generation at two times": (
        24, [*_E1_E2, ("wasGeneratedBy", None, "e1", "a1", 1)], ("wasGeneratedBy", None, "e1", "a1", 2),
    ),
    "two invalidations by one activity": (
        25, [*_E1_E2, ("wasInvalidatedBy", "x", "e1", "a1")], ("wasInvalidatedBy", "y", "e1", "a1"),
    ),
    "two starts by one starter": (
        26, [*_E1_E2, ("wasStartedBy", "x", "a1", None, "a2")], ("wasStartedBy", "y", "a1", None, "a2"),
    ),
    "two ends by one ender": (
        27, [*_E1_E2, ("wasEndedBy", "x", "a1", None, "a2")], ("wasEndedBy", "y", "a1", None, "a2"),
    ),
    "a start at another time than the activity's": (
        28, [("activity", "a1", "a1", 1)], ("wasStartedBy", None, "a1", None, None, 2),
    ),
    "an end at another time than the activity's": (
        29, [("activity", "a1", "a1", None, 1)], ("wasEndedBy", None, "a1", None, None, 2),
    ),
    "a usage of no activity": (50, [], ("used", None, None, "e1")),
    "a derivation with a usage of no activity": (
        51, _E1_E2, ("wasDerivedFrom", None, "e2", "e1", None, None, "u"),
    ),
    "a thing more special than itself": (52, _things("e1"), ("specializationOf", None, "e1", "e1")),
    "specializations in a circle": (
        52,
        [*_things("e1", "e2", "e3"), ("specializationOf", None, "e1", "e2"), ("specializationOf", None, "e2", "e3")],
        ("specializationOf", None, "e3", "e1"),
    ),
    "a generation that is a usage": (53, [*_E1_E2, ("wasGeneratedBy", "x", "e1", "a1")], ("used", "x", "a1", "e1")),
    "a generation that is an entity": (54, _E1_E2, ("wasGeneratedBy", "e2", "e1", "a1")),
    "an agent that is a usage": (54, [*_E1_E2, ("agent", "x", "x")], ("used", "x", "a1", "e1")),
    "an entity that is an activity": (55, _things("e1"), ("activity", "e1", "e1")),
    "an activity that was used": (55, _things("a1", "a2"), ("used", None, "a1", "a2")),
    "an activity that was generated": (55, _things("a1", "a2"), ("wasGeneratedBy", None, "a1", "a2")),
    "an entity that used something": (55, _things("e1", "e2"), ("used", None, "e1", "e2")),
    "a plan that is an activity": (55, _things("a1", "a2", "g1"), ("wasAssociatedWith", None, "a1", "g1", "a2")),
    "a trigger that is an activity": (55, _things("a1", "a2"), ("wasStartedBy", None, "a1", "a2")),
    "an activity as a member": (55, _things("e1", "a1"), ("hadMember", None, "e1", "a1")),
    "an activity as a bundle's thing": (55, _things("e1", "a1"), ("specializationOf", None, "e1", "a1")),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKING)
def test_a_fault_breaks_one_constraint_and_no_other(name: str) -> None:
    number, valid, fault = BREAKING[name]
    assert _check(valid) == []
    found = _check([*valid, fault])
    if number == 50:
        assert [(one.constraint, one.number) for one in found] == [("mandatory-argument", None)]
        return
    assert {one.number for one in found} == {number}
    for one in found:
        assert one.constraint == CONSTRAINTS[number].name
        assert one.record
        assert one.message
        assert one.remedy.endswith(".")


def test_an_empty_collection_has_no_member() -> None:
    valid = _things("e1", "e2")
    member: Said = ("hadMember", None, "e1", "e2")
    assert _check([*valid, member]) == []
    assert _check(valid, {"e1": {"EmptyCollection"}}) == []
    assert [one.number for one in _check([*valid, member], {"e1": {"EmptyCollection"}})] == [56]


_A1 = ("activity", "a1", "a1", 10 * HOUR, 20 * HOUR)
_A2 = ("activity", "a2", "a2", 30 * HOUR, 40 * HOUR)

TOO_LATE: dict[str, tuple[int, list[Said], list[Said]]] = {
    # The constraint, statements whose times fit, and the same with times that do not.
    "start and end": (30, [_A1], [("activity", "a1", "a1", 20 * HOUR, 10 * HOUR)]),
    "a usage before its activity": (
        33, [_A1, ("used", None, "a1", "e1", 10 * HOUR)], [_A1, ("used", None, "a1", "e1", 9 * HOUR)],
    ),
    "a usage after its activity": (
        33, [_A1, ("used", None, "a1", "e1", 20 * HOUR)], [_A1, ("used", None, "a1", "e1", 21 * HOUR)],
    ),
    "a generation before its activity": (
        34, [_A1, ("wasGeneratedBy", None, "e1", "a1", 10 * HOUR)], [_A1, ("wasGeneratedBy", None, "e1", "a1", HOUR)],
    ),
    "a generation after its activity": (
        34, [_A1, ("wasGeneratedBy", None, "e1", "a1", None)], [_A1, ("wasGeneratedBy", None, "e1", "a1", 21 * HOUR)],
    ),
    "informed by a later one": (
        35, [_A1, _A2, ("wasInformedBy", None, "a2", "a1")], [_A1, _A2, ("wasInformedBy", None, "a1", "a2")],
    ),
    "gone before it was made": (
        36, [("wasGeneratedBy", None, "e1", None, 1), ("wasInvalidatedBy", None, "e1", None, 2)],
        [("wasGeneratedBy", None, "e1", None, 5 * HOUR), ("wasInvalidatedBy", None, "e1", None, 2 * HOUR)],
    ),
    "used before it was made": (
        37, [("wasGeneratedBy", None, "e1", None, 1), ("used", None, "a1", "e1", 2)],
        [("wasGeneratedBy", None, "e1", None, 5 * HOUR), ("used", None, "a1", "e1", 2 * HOUR)],
    ),
    "used after it was gone": (
        38, [("wasInvalidatedBy", None, "e1", None, 3), ("used", None, "a1", "e1", 2)],
        [("wasInvalidatedBy", None, "e1", None, 1), ("used", None, "a1", "e1", 2 * HOUR)],
    ),
    "made twice": (
        39, [("wasGeneratedBy", None, "e1", "a1", 1), ("wasGeneratedBy", None, "e1", "a2", 1)],
        [("wasGeneratedBy", None, "e1", "a1", 1), ("wasGeneratedBy", None, "e1", "a2", 2 * HOUR)],
    ),
    "gone twice": (
        40, [("wasInvalidatedBy", None, "e1", "a1", 1), ("wasInvalidatedBy", None, "e1", "a2", 1)],
        [("wasInvalidatedBy", None, "e1", "a1", 1), ("wasInvalidatedBy", None, "e1", "a2", 2 * HOUR)],
    ),
    "older than what it is derived from": (
        42, [("wasGeneratedBy", None, "e1", None, 1), ("wasGeneratedBy", None, "e2", None, 2),
             ("wasDerivedFrom", None, "e2", "e1")],
        [("wasGeneratedBy", None, "e1", None, 3 * HOUR), ("wasGeneratedBy", None, "e2", None, 1),
         ("wasDerivedFrom", None, "e2", "e1")],
    ),
    "made before the usage that made it": (
        41, [("used", "u", "a1", "e1", 2), ("wasGeneratedBy", "g", "e2", "a1", 3),
             ("wasDerivedFrom", None, "e2", "e1", "a1", "g", "u")],
        [("used", "u", "a1", "e1", 5 * HOUR), ("wasGeneratedBy", "g", "e2", "a1", 3),
         ("wasDerivedFrom", None, "e2", "e1", "a1", "g", "u")],
    ),
    "started by what was not there": (
        43, [_A1, ("wasGeneratedBy", None, "e1", None, 1), ("wasStartedBy", None, "a1", "e1")],
        [_A1, ("wasGeneratedBy", None, "e1", None, 15 * HOUR), ("wasStartedBy", None, "a1", "e1")],
    ),
    "ended by what was not there": (
        44, [_A1, ("wasGeneratedBy", None, "e1", None, 1), ("wasEndedBy", None, "a1", "e1")],
        [_A1, ("wasGeneratedBy", None, "e1", None, 25 * HOUR), ("wasEndedBy", None, "a1", "e1")],
    ),
    "special before general": (
        45, [("wasGeneratedBy", None, "e1", None, 1), ("wasGeneratedBy", None, "e2", None, 2),
             ("specializationOf", None, "e2", "e1")],
        [("wasGeneratedBy", None, "e1", None, 3 * HOUR), ("wasGeneratedBy", None, "e2", None, 2),
         ("specializationOf", None, "e2", "e1")],
    ),
    "the general gone before the special": (
        46, [("wasInvalidatedBy", None, "e1", None, 3), ("wasInvalidatedBy", None, "e2", None, 2),
             ("specializationOf", None, "e2", "e1")],
        [("wasInvalidatedBy", None, "e1", None, 1), ("wasInvalidatedBy", None, "e2", None, 2 * HOUR),
         ("specializationOf", None, "e2", "e1")],
    ),
    "associated with what was not there yet": (
        47, [_A1, ("entity", "g1", "g1"), ("wasGeneratedBy", None, "g1", None, 1),
             ("wasAssociatedWith", None, "a1", "g1")],
        [_A1, ("entity", "g1", "g1"), ("wasGeneratedBy", None, "g1", None, 25 * HOUR),
         ("wasAssociatedWith", None, "a1", "g1")],
    ),
    "attributed to what was not there yet": (
        48, [("entity", "g1", "g1"), ("wasGeneratedBy", None, "g1", None, 1),
             ("wasGeneratedBy", None, "e1", None, 2), ("wasAttributedTo", None, "e1", "g1")],
        [("entity", "g1", "g1"), ("wasGeneratedBy", None, "g1", None, 5 * HOUR),
         ("wasGeneratedBy", None, "e1", None, 2), ("wasAttributedTo", None, "e1", "g1")],
    ),
    "on behalf of one that began after the end": (
        49, [_A1, _A2, ("actedOnBehalfOf", None, "a2", "a1")], [_A1, _A2, ("actedOnBehalfOf", None, "a1", "a2")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOO_LATE)
def test_times_that_contradict_the_order(name: str) -> None:
    number, fitting, contradicting = TOO_LATE[name]
    assert _check(fitting) == []
    assert [one.number for one in _check(contradicting)] == [number]
    # PROV-CONSTRAINTS itself compares no times.
    assert all(one.severity == "warning" for one in _check(contradicting, times="warning"))


_DERIVED = ("wasDerivedFrom", None, "e2", "e1")

CYCLES: dict[str, list[list[Said]]] = {
    # Ways that lead from the generation of e2 back to that of e1, though e2 is derived from e1: each is a list of
    # statements that are all needed for the contradiction.
    "derived from each other": [[("wasDerivedFrom", None, "e1", "e2")]],
    "derived from itself by way of two": [
        [("wasDerivedFrom", None, "e3", "e2")], [("wasDerivedFrom", None, "e4", "e3")],
        [("wasDerivedFrom", None, "e1", "e4")],
    ],
    "a special case of what is derived from it": [[("specializationOf", None, "e1", "e2")]],
    "started by it (34, 43)": [[("wasStartedBy", None, "a1", "e2")], [("wasGeneratedBy", None, "e1", "a1")]],
    "started by what its starter made (9, 34, 43)": [
        [("wasStartedBy", None, "a1", "e2")], [("wasStartedBy", None, "a2", "e1", "a1")],
    ],
    "attributed to it (48)": [[("wasAttributedTo", None, "e1", "e2")]],
    "attributed to an activity that it started (43, 48)": [
        [("wasStartedBy", None, "a1", "e2")], [("wasAttributedTo", None, "e1", "a1")],
    ],
    "made where it was derived (11, 34, 43)": [
        [("wasStartedBy", None, "a1", "e2")], [("wasDerivedFrom", None, "e1", "e3", "a1")],
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CYCLES)
def test_an_order_that_cannot_be(name: str) -> None:
    ways = CYCLES[name]
    base = [*_things("e1", "e2", "e3", "a1", "a2"), _DERIVED]
    whole = [*base, *(one for way in ways for one in way)]
    found = _check(whole)
    assert {one.number for one in found} == {42}
    assert "before itself" in found[0].message
    for left_out in range(len(ways)):
        rest = [one for at, way in enumerate(ways) if at != left_out for one in way]
        assert _check([*base, *rest]) == []
    without = [one for one in whole if one != _DERIVED]
    if name not in ("derived from each other", "derived from itself by way of two"):
        assert _check(without) == []


def test_events_that_are_simultaneous_are_no_contradiction() -> None:
    both = [
        ("specializationOf", None, "e1", "e2"),
        ("wasStartedBy", None, "a1", "e2"),
        ("wasGeneratedBy", None, "e2", "a1"),
    ]
    assert _check([*_things("e1", "e2", "a1"), *both]) == []


def test_statements_that_say_more_of_one_thing_are_one() -> None:
    said: list[Said] = [
        *_E1_E2,
        ("wasGeneratedBy", "g", "e1"),
        ("wasGeneratedBy", "g", "e1", "a1"),
        ("wasGeneratedBy", None, "e1", "a1", 5),
        ("activity", "a1", "a1", 4),
        ("activity", "a1", "a1", None, 6),
    ]
    assert _check(said) == []
    # What was merged carries its time along.
    assert {one.number for one in _check([*said, ("wasGeneratedBy", "g", "e1", None, 6)])} == {24}


def test_a_usage_may_be_told_apart_from_another_of_the_same_things() -> None:
    assert _check([*_E1_E2, ("used", "u1", "a1", "e1", 1), ("used", "u2", "a1", "e1", 2)]) == []


def test_clocks_may_be_apart_between_activities_and_not_within() -> None:
    late: list[Said] = [("wasGeneratedBy", None, "e1", "a1", 10**9), ("used", None, "a2", "e1", 1)]
    assert _check(late) == []
    assert [one.number for one in _check(late, tolerance=10**8)] == [37]
    within: list[Said] = [("activity", "a1", "a1", 10, 20), ("used", None, "a1", "e1", 21)]
    assert [one.number for one in _check(within)] == [33]


def test_a_contradiction_is_not_told_again_of_all_that_comes_after() -> None:
    chain: list[Said] = [
        ("wasGeneratedBy", None, f"e{at}", None, (100 - at) * HOUR if at < 2 else at) for at in range(50)
    ]
    chain += [("wasDerivedFrom", None, f"e{at + 1}", f"e{at}") for at in range(49)]
    assert len(_check(chain)) == 2


def test_a_long_chain_needs_no_recursion() -> None:
    chain: list[Said] = [("wasDerivedFrom", None, f"e{at + 1}", f"e{at}") for at in range(20_000)]
    assert _check(chain) == []
    found = _check([*chain, ("wasDerivedFrom", None, "e0", "e20000")])
    assert [one.number for one in found] == [42]
    assert len(found[0].others) == 20_000


@st.composite
def histories(draw: st.DrawFn) -> list[Said]:
    """Draw what may have happened: activities in time, which use what is there and make what is new."""
    said: list[Said] = []
    now = 0
    there: list[str] = []
    for number in range(draw(st.integers(1, 6))):
        activity, start = f"a{number}", now
        said += [("agent", f"g{number % 2}", f"g{number % 2}"), ("wasAssociatedWith", None, activity, f"g{number % 2}")]
        used: list[str] = []
        for _ in range(draw(st.integers(0, 4))):
            now += draw(st.integers(0, 3))
            if there and draw(st.booleans()):
                used.append(draw(st.sampled_from(there)))
                said.append(("used", None, activity, used[-1], now))
            else:
                new = f"e{len(there)}"
                there.append(new)
                now += 1
                said += [("entity", new, new), ("wasGeneratedBy", None, new, activity, now)]
                said += [("wasDerivedFrom", None, new, old) for old in used if old != new and draw(st.booleans())]
        said.append(("activity", activity, activity, start, now))
        if number and draw(st.booleans()):
            said.append(("wasInformedBy", None, activity, f"a{draw(st.integers(0, number - 1))}"))
        now = draw(st.integers(start, now + 3)) if draw(st.booleans()) else now
        # Activities may overlap, but what was made must be there before it is used.
        now = max([now, *(one[4] for one in said if one[0] == "wasGeneratedBy")])
    return draw(st.permutations(said))


@given(histories())
def test_what_can_have_happened_is_valid(said: list[Said]) -> None:
    assert _check(said, tolerance=0) == []


@given(histories())
def test_what_happened_cannot_have_happened_backwards(said: list[Said]) -> None:
    derived = [one for one in said if one[0] == "wasDerivedFrom"]
    back = [("wasDerivedFrom", None, one[3], one[2]) for one in derived]
    found = [one for one in _check([*said, *back], times="warning") if one.severity == VIOLATION]
    assert bool(found) == bool(derived)


def test_every_constraint_of_order_is_in_the_tables_above() -> None:
    tried = {number for number, *_ in (*BREAKING.values(), *TOO_LATE.values())} | {56}
    # 31 and 32 (all starts of an activity are one event) follow from 26 to 29 wherever times are said.
    assert set(CONSTRAINTS) - tried == {31, 32}


def test_the_starts_of_an_activity_are_one_event() -> None:
    said = [("wasStartedBy", "x", "a1", "e1", "a2", 1), ("wasStartedBy", "y", "a1", "e2", "a3", 2)]
    assert [one.number for one in _check(said)] == [31]
    said = [("wasEndedBy", "x", "a1", "e1", "a2", 1), ("wasEndedBy", "y", "a1", "e2", "a3", 2)]
    assert [one.number for one in _check(said)] == [32]


def test_an_event_is_made_once_for_many_statements() -> None:
    instance = _instance([*_E1_E2, ("wasGeneratedBy", None, "e1", "a1"), ("used", None, "a2", "e1")])
    said = of_instance(instance, Terms(), {})
    kinds = Kinds(said)
    ordering = Ordering(said, kinds.all("activity"), kinds.all("entity"))
    assert ordering.count() == 2 + 2 + 3


def test_moments_are_told_to_the_nanosecond() -> None:
    assert moment(1) == "1970-01-01T00:00:00.000000001Z"
    assert moment(2**62) == "2116-02-20T23:53:38.427387904Z"
