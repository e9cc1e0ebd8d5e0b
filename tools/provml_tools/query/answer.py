"""What a question is answered with: a table, and what should be said beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from provml_hpc import vocabulary

if TYPE_CHECKING:
    from provml_tools.query.picture import Drawing

Cell = Any
"""A text, number, truth value, None, or a dict of them (details)."""


@dataclass
class Answer:
    """Rows in order, under columns with names for people.

    A table for people shows `shown` (or all columns); programs get `columns`.
    """

    columns: list[str]
    rows: list[dict[str, Cell]]
    title: str = ""
    notes: list[str] = field(default_factory=list)
    """What a person should know beside the table; goes to standard error."""
    remarks: list[str] = field(default_factory=list)
    """Likewise, of the table for people alone."""
    shown: list[str] = field(default_factory=list)
    draw: Callable[[], Drawing] | None = None
    """Makes the picture of it, where there is one."""
    tree: list[tuple[int, int]] | None = None
    """The order in which a person reads the rows as a tree: the place of each row, and how deep it stands."""


@dataclass
class Options:
    """What was asked for beside the name of the query."""

    values: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str | None:
        """Return an option, or None if it was not given."""
        return self.values.get(name)


def when(nanoseconds: Any) -> str | None:
    """Return a time of int64 nanoseconds since the epoch as ISO 8601 in UTC, to the second."""
    if not isinstance(nanoseconds, int):
        return None
    seconds = nanoseconds // 1_000_000_000
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s"


def kind_of(cls: str) -> str:
    """Return the name of a class for people: ``DataTransformationExecution`` is a ``data transformation``."""
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in cls.removesuffix("Execution"))
    return words.strip()


def most_special(classes: Sequence[str]) -> str:
    """Return the class that is below all others of a node; classes as IRIs."""
    names = [iri.rpartition("#")[2] for iri in classes]
    known = [name for name in names if name in vocabulary.CLASS]
    return max(known, key=lambda name: len(vocabulary.lineage(name)), default=names[0] if names else "")


def common_names(names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Give each (name, source) a column: the name alone where it has one source, else with the source before it.

    The first source that a name is given with counts as the plain one.
    """
    sources: dict[str, list[str]] = {}
    for name, source in names:
        known = sources.setdefault(name, [])
        if source not in known:
            known.append(source)
    given: dict[tuple[str, str], str] = {}
    for name, found in sources.items():
        for source in found:
            plain = not source or len(found) == 1
            given[name, source] = name if plain else f"{source} {name}"
    return given
