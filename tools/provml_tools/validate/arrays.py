"""Statements as arrays of numbers, when all that must be one is one: typing and the order of events go by them.

A hundred bytes a statement as objects are ten as numbers, so that a run of millions of statements can be checked where
the run itself could not be held. Tables are read into these arrays directly; a document comes by its `Instance`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from provml_hpc.assembly.graph import ABSENT
from provml_tools.validate.instance import ARGUMENTS, NOTHING, Instance, Statement, Term, Unknown
from provml_tools.validate.unify import Terms

Numbers = np.ndarray[Any, np.dtype[np.int64]]
Terms32 = np.ndarray[Any, np.dtype[np.int32]]
"""Terms by number; one of the two below where there is no name."""
Flags = np.ndarray[Any, np.dtype[np.bool_]]

NONE, SOME = -1, -2
"""There is nothing, and there is something unknown."""

TIMES = frozenset({"start", "end", "time"})


@dataclass
class Rows:
    """The statements of one kind: the terms of each argument, and times in nanoseconds (ABSENT if not known)."""

    arguments: dict[str, Any]
    """Of each argument of the kind that is said at all an array of terms (or of times) over the statements."""
    ids: Terms32 | None = None
    """Which usages are one; None if each is one of its own."""
    merged: dict[str, Any] = field(default_factory=dict)
    """The times that statements have because they are one with others, where that differs from what they say."""

    def __len__(self) -> int:
        return len(next(iter(self.arguments.values()))) if self.arguments else 0

    def terms(self, name: str) -> Any:
        """Return the terms of an argument."""
        found = self.arguments.get(name)
        return np.full(len(self), SOME, np.int32) if found is None else found

    def times(self, name: str) -> Any:
        """Return the times of an argument."""
        found = self.merged.get(name, self.arguments.get(name))
        return np.full(len(self), ABSENT, np.int64) if found is None else found


@dataclass
class Arrays:
    """What is said, after uniqueness: statements by kind, and how a person knows a term and a statement."""

    kinds: dict[str, Rows]
    terms: int
    """Terms are numbered below this."""
    name: Callable[[int], str]
    tell: Callable[[str, int], str]
    """From the kind and the row of a statement."""
    is_told: Callable[[str, int, str, int], bool]
    """Whether two statements are one, or their contradiction is told already."""
    firsts: dict[str, int] = field(default_factory=dict)
    """The number of each kind's first statement, where all are numbered through."""

    def __post_init__(self) -> None:
        number = 0
        for kind, rows in self.kinds.items():
            self.firsts[kind] = number
            number += len(rows)

    def of(self, kind: str) -> Rows:
        """Return the statements of a kind."""
        return self.kinds.get(kind) or Rows({})

    def statement(self, number: int) -> tuple[str, int]:
        """Return the kind and the row of a statement by its number."""
        kind = next(kind for kind in reversed(self.firsts) if self.firsts[kind] <= number and len(self.kinds[kind]))
        return kind, number - self.firsts[kind]

    def tell_number(self, number: int) -> str:
        """Tell a statement by its number."""
        return self.tell(*self.statement(number))


def of_instance(instance: Instance, terms: Terms, told: Mapping[frozenset[Statement], object]) -> Arrays:
    """Return the statements of an instance whose terms were unified; `told` has the contradictions found by that."""
    numbers: dict[Term, int] = {}
    texts: list[Term] = []

    def number(term: Term) -> int:
        term = terms.find(term)
        if term is NOTHING:
            return NONE
        if isinstance(term, Unknown):
            return SOME
        found = numbers.setdefault(term, len(texts))
        if found == len(texts):
            texts.append(term)
        return found

    def moment(term: Term) -> int:
        time = terms.find(term)
        # A time that does not say its zone is text: equal to another, or not, and no more.
        return time if isinstance(time, int) and ABSENT < time < 2**63 else ABSENT

    usages: dict[Term, int] = {}
    for one in instance.of("used"):
        usages.setdefault(terms.find(one.id), len(usages))

    def usage(term: Term) -> int:
        term = terms.find(term)
        return SOME if term is NOTHING or isinstance(term, Unknown) else usages.setdefault(term, len(usages))

    kinds = {}
    for kind, statements in instance.statements.items():
        columns: dict[str, Any] = {}
        for at, name in enumerate(ARGUMENTS[kind]):
            read, type_ = (moment, np.int64) if name in TIMES else (number, np.int32)
            columns[name] = np.fromiter((read(one.arguments[at]) for one in statements), type_, len(statements))
        ids = None
        if kind == "used":
            ids = np.array([usages[terms.find(one.id)] for one in statements], np.int32)
        elif kind == "wasDerivedFrom":
            columns["usage"] = np.array([usage(one.arguments[4]) for one in statements], np.int32)
        kinds[kind] = Rows(columns, ids)

    def is_told(kind: str, row: int, other_kind: str, other_row: int) -> bool:
        one, other = instance.statements[kind][row], instance.statements[other_kind][other_row]
        same = kind == other_kind and terms.find(one.id) == terms.find(other.id)
        return same or frozenset((one, other)) in told

    return Arrays(
        kinds,
        len(texts),
        lambda at: instance.name(texts[at]),
        lambda kind, row: instance.tell(instance.statements[kind][row]),
        is_told,
    )
