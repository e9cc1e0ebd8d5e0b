"""The constraints of W3C PROV-CONSTRAINTS (https://www.w3.org/TR/prov-constraints/), by their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from provml_tools.validate.findings import PROV, VIOLATION, Finding, More


class Constraint(NamedTuple):
    """A constraint: its name in the recommendation, and what to do where it is broken."""

    name: str
    remedy: str


_IDENTIFIER = "Give the two statements identifiers of their own, or make them say the same."
_ONCE = "Say it once, or give the thing that happened twice two identifiers."
_TIMES = "Correct the times, or look whether the clocks of the nodes agree."
_ORDER = "Take out the statement that cannot have happened in this order."

CONSTRAINTS: dict[int, Constraint] = {
    22: Constraint("key-object", _IDENTIFIER),
    23: Constraint("key-properties", _IDENTIFIER),
    24: Constraint(
        "unique-generation", "An activity makes an entity once. Record what was made anew as a new version."
    ),
    25: Constraint("unique-invalidation", _ONCE),
    26: Constraint("unique-wasStartedBy", _ONCE),
    27: Constraint("unique-wasEndedBy", _ONCE),
    28: Constraint("unique-startTime", "An activity has one start. Give each rank's part an activity of its own."),
    29: Constraint("unique-endTime", "An activity has one end. Give each rank's part an activity of its own."),
    30: Constraint("start-precedes-end", "An activity cannot end before it starts. " + _TIMES),
    31: Constraint("start-start-ordering", _ORDER),
    32: Constraint("end-end-ordering", _ORDER),
    33: Constraint("usage-within-activity", "An activity uses things while it runs. " + _TIMES),
    34: Constraint("generation-within-activity", "An activity makes things while it runs. " + _TIMES),
    35: Constraint("wasInformedBy-ordering", "What informs an activity starts before that ends. " + _TIMES),
    36: Constraint("generation-precedes-invalidation", _TIMES),
    37: Constraint(
        "generation-precedes-usage", "Nothing is used before it is made: point the usage at the earlier version."
    ),
    38: Constraint("usage-precedes-invalidation", _TIMES),
    39: Constraint(
        "generation-generation-ordering", "An entity is made once. Record what was made anew as a new version."
    ),
    40: Constraint("invalidation-invalidation-ordering", _ORDER),
    41: Constraint("derivation-usage-generation-ordering", _ORDER),
    42: Constraint(
        "derivation-generation-generation-ordering",
        "What a thing is derived from is older than it. Record each state of the data as a version of its own.",
    ),
    43: Constraint("wasStartedBy-ordering", _ORDER),
    44: Constraint("wasEndedBy-ordering", _ORDER),
    45: Constraint("specialization-generation-ordering", "What is general is there before what is special. " + _TIMES),
    46: Constraint("specialization-invalidation-ordering", _ORDER),
    47: Constraint("wasAssociatedWith-ordering", _ORDER),
    48: Constraint("wasAttributedTo-ordering", _ORDER),
    49: Constraint("actedOnBehalfOf-ordering", _ORDER),
    50: Constraint("typing", "Give the record the type that the relation needs, or point the relation elsewhere."),
    51: Constraint(
        "impossible-unspecified-derivation-generation-use",
        "Name the activity of the derivation, or leave out its generation and usage.",
    ),
    52: Constraint(
        "impossible-specialization-reflexive", "Nothing is a special case of itself: take the statement out."
    ),
    53: Constraint("impossible-property-overlap", "Give the two relations identifiers of their own."),
    54: Constraint("impossible-object-property-overlap", "Give the relation and the thing identifiers of their own."),
    55: Constraint("entity-activity-disjoint", "A thing is an entity or an activity: part the two."),
    56: Constraint("membership-empty-collection", "Take the member out, or do not call the collection empty."),
}


def finding(number: int, record: str, message: str, others: tuple[str, ...] = (), severity: str = VIOLATION) -> Finding:
    """Return that a constraint is broken."""
    constraint = CONSTRAINTS[number]
    return Finding(PROV, constraint.name, record, message, constraint.remedy, severity, number, others)


def more(number: int, count: int, severity: str = VIOLATION) -> Iterator[More]:
    """Yield that a constraint is broken so many times more, if it is."""
    if count > 0:
        yield More(PROV, CONSTRAINTS[number].name, count, severity)
