"""A PROV instance: what the checks of PROV-CONSTRAINTS work on, whether it came from tables or from a document."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field


class Unknown:
    """Something that is there although nobody said what: an existential variable of PROV-CONSTRAINTS."""

    __slots__ = ()


class _Nothing:
    """The placeholder ``-`` where it means that there is nothing, and not that it is unknown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "-"


NOTHING = _Nothing()

Term = Hashable
"""An identifier (str), a time (int, nanoseconds since the epoch), Unknown, or NOTHING."""

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "entity": ("entity",),
    "activity": ("activity", "start", "end"),
    "agent": ("agent",),
    "wasGeneratedBy": ("entity", "activity", "time"),
    "used": ("activity", "entity", "time"),
    "wasInvalidatedBy": ("entity", "activity", "time"),
    "wasStartedBy": ("activity", "trigger", "starter", "time"),
    "wasEndedBy": ("activity", "trigger", "ender", "time"),
    "wasInformedBy": ("informed", "informant"),
    "wasDerivedFrom": ("generated", "used", "activity", "generation", "usage"),
    "wasAttributedTo": ("entity", "agent"),
    "wasAssociatedWith": ("activity", "agent", "plan"),
    "actedOnBehalfOf": ("delegate", "responsible", "activity"),
    "wasInfluencedBy": ("influencee", "influencer"),
    "specializationOf": ("specific", "general"),
    "alternateOf": ("one", "other"),
    "mentionOf": ("specific", "general", "bundle"),
    "hadMember": ("collection", "member"),
}
"""The arguments of each kind of statement, in the order of PROV-DM."""

_OPTIONAL = frozenset({"start", "end", "time", "trigger", "starter", "ender", "plan"})
_OPTIONAL_OF = {
    "wasGeneratedBy": {"activity"},
    "used": {"entity"},
    "wasInvalidatedBy": {"activity"},
    "wasDerivedFrom": {"activity", "generation", "usage"},
    "wasAssociatedWith": {"agent"},
    "actedOnBehalfOf": {"activity"},
}
"""Which arguments may be left out; PROV-DM wants all others."""

THINGS = ("entity", "activity", "agent")
WITHOUT_ID = ("specializationOf", "alternateOf", "mentionOf", "hadMember")
"""Relations that have no identifier in PROV-DM."""


class Statement:
    """One statement. `arguments` are the terms in the order of :data:`ARGUMENTS`, all there."""

    __slots__ = ("arguments", "id", "inferred", "kind")

    def __init__(self, kind: str, id: Term, arguments: list[Term], inferred: bool = False) -> None:
        self.kind = kind
        self.id = id
        self.arguments = arguments
        self.inferred = inferred


def _plain(term: str) -> str:
    return term


@dataclass
class Instance:
    """Statements by kind, with the types that were given to things."""

    statements: dict[str, list[Statement]] = field(default_factory=dict)
    types: dict[str, set[str]] = field(default_factory=dict)
    """What a thing is called beside entity, activity and agent: ``EmptyCollection``, ``Collection``, ``Plan``."""
    missing: list[tuple[Statement, str]] = field(default_factory=list)
    """Statements without an argument that they need, and its name."""
    describe: Callable[[str], str] = _plain
    """How a person knows a thing."""

    def say(self, kind: str, id: Term | None, *arguments: Term | None, inferred: bool = False) -> Statement:
        """Add a statement. None stands for what was not said; what follows from that is filled in here.

        A plan that is not named is none; so is the activity of a derivation, and then its generation and usage (see
        definition 4 in PROV-CONSTRAINTS). Anything else is unknown.
        """
        terms: list[Term] = list(arguments) + [None] * (len(ARGUMENTS[kind]) - len(arguments))
        if kind == "wasAssociatedWith" and terms[2] is None:
            terms[2] = NOTHING
        elif kind == "wasDerivedFrom" and terms[2] is None:
            terms[2:] = [NOTHING if term is None else term for term in terms[2:]]
        incomplete = None in terms and not inferred
        statement = Statement(kind, id, [Unknown() if t is None else t for t in terms], inferred)
        if id is None and kind not in WITHOUT_ID:
            statement.id = Unknown()
        if incomplete:
            for name, term in zip(ARGUMENTS[kind], terms, strict=True):
                if term is None and name not in _OPTIONAL and name not in _OPTIONAL_OF.get(kind, ()):
                    self.missing.append((statement, name))
        self.statements.setdefault(kind, []).append(statement)
        return statement

    def of(self, kind: str) -> Sequence[Statement]:
        """Return the statements of a kind."""
        return self.statements.get(kind, ())

    def count(self) -> int:
        """Return how many statements there are."""
        return sum(map(len, self.statements.values()))

    def name(self, term: Term) -> str:
        """Return how a person knows a term."""
        if isinstance(term, str):
            return self.describe(term)
        if isinstance(term, int):
            return moment(term)
        return "-" if term is NOTHING else "something unknown"

    def tell(self, statement: Statement) -> str:
        """Return a statement as a person reads it, much as in PROV-N."""
        shown = [self.name(term) for term in statement.arguments if isinstance(term, str | int)]
        head = f"{statement.id}; " if isinstance(statement.id, str) and statement.kind not in THINGS else ""
        return f"{statement.kind}({head}{', '.join(shown)})" + (" (inferred)" if statement.inferred else "")


def moment(nanoseconds: int) -> str:
    """Return a time as text, to the nanosecond.

    Examples
    --------
    >>> moment(1_700_000_000_123_456_789)
    '2023-11-14T22:13:20.123456789Z'
    """
    seconds, rest = divmod(nanoseconds, 10**9)
    try:
        from datetime import datetime, timezone

        text = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{nanoseconds} ns"
    return f"{text}.{rest:09d}Z"
