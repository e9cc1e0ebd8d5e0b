"""W3C PROV-CONSTRAINTS, all of it: uniqueness, event ordering, typing and impossibility, on an instance."""

from __future__ import annotations

from collections.abc import Iterator

from provml_tools.validate.findings import PROV, VIOLATION, Finding
from provml_tools.validate.instance import Instance
from provml_tools.validate.kinds import Kinds
from provml_tools.validate.ordering import Ordering
from provml_tools.validate.unify import infer, unify

SKEW_NS = 1_000_000_000
"""By how much the clocks of two nodes may be apart before a use before a generation is a finding: a second."""


def check(instance: Instance, *, times: str = VIOLATION, tolerance: int = SKEW_NS) -> Iterator[Finding]:
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
    kinds = Kinds(instance, terms)
    yield from kinds.check()
    ordering = Ordering(instance, terms, kinds.all("activity"), kinds.all("entity"), conflicts)
    yield from ordering.check(times, tolerance)
