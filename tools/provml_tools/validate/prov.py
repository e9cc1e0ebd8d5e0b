"""W3C PROV-CONSTRAINTS, all of it: uniqueness, event ordering, typing and impossibility, on a document or on runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from provml_tools.validate.arrays import of_instance
from provml_tools.validate.findings import PROV, VIOLATION, Finding, More
from provml_tools.validate.instance import Instance
from provml_tools.validate.kinds import Kinds, impossible
from provml_tools.validate.nodes import Nodes
from provml_tools.validate.ordering import Ordering
from provml_tools.validate.unify import infer, unify

SKEW_NS = 1_000_000_000
"""By how much the clocks of two nodes may be apart before a use before a generation is a finding: a second."""


def check(instance: Instance, *, times: str = VIOLATION, tolerance: int = SKEW_NS) -> Iterator[Finding | More]:
    """Yield every constraint that an instance breaks.

    Parameters
    ----------
    instance
        The statements. Those that follow from them are added.
    times
        The severity of times that contradict the order of events. PROV-CONSTRAINTS does not compare times.
    tolerance
        By how many nanoseconds the clocks of two activities may be apart.
    """
    for statement, name in instance.missing:
        yield Finding(
            PROV, "mandatory-argument", instance.tell(statement), f"its {name} is missing", f"Say what its {name} is."
        )
    infer(instance)
    terms, conflicts = unify(instance)
    yield from conflicts.values()
    yield from impossible(instance, terms)
    said = of_instance(instance, terms, conflicts)
    kinds = Kinds(said)
    yield from kinds.check()
    yield from Ordering(said, kinds.all("activity"), kinds.all("entity")).check(times, tolerance)


def check_runs(runs: Sequence[Nodes], *, tolerance: int = SKEW_NS) -> Iterator[Finding | More]:
    """Yield every constraint that runs break together, nodes of the same uuid being one: the same, from tables.

    Parameters
    ----------
    runs
        The records of each; their relations are read.
    tolerance
        By how many nanoseconds the clocks of two activities may be apart.
    """
    from provml_tools.validate import tables

    said = tables.arrays_of(runs)
    yield from tables.unique(said)
    kinds = Kinds(said)
    yield from kinds.check()
    yield from Ordering(said, kinds.all("activity"), kinds.all("entity")).check(VIOLATION, tolerance)
