"""Turtle as text, written so that people can read it and two writings of it agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from provml_hpc.vocabulary import NAMESPACES
from provml_tools.rdf.terms import literal

Pairs = Sequence[tuple[str, str]]
"""Predicates and objects, as they stand in Turtle."""


def prefixes(*names: str) -> str:
    """Return the declarations of prefixes."""
    return "".join(f"@prefix {name}: <{NAMESPACES[name]}> .\n" for name in names)


def block(subject: str, pairs: Pairs) -> str:
    """Return statements about one subject: those of one predicate together, each predicate on a line of its own."""
    of: dict[str, list[str]] = {}
    for predicate, target in pairs:
        of.setdefault(predicate, []).append(target)
    lines = [f"    {predicate} {', '.join(dict.fromkeys(targets))}" for predicate, targets in of.items()]
    return f"{subject}\n" + " ;\n".join(lines) + " .\n"


def node(pairs: Pairs) -> str:
    """Return a blank node."""
    return "[ " + " ; ".join(f"{predicate} {target}" for predicate, target in pairs) + " ]"


def members(names: Iterable[str]) -> str:
    """Return a list."""
    return f"( {' '.join(names)} )"


def text(words: str) -> str:
    """Return a text in English."""
    return literal(words) + "@en"


def section(title: str, blocks: Iterable[str]) -> str:
    """Return blocks below a title."""
    return f"# {title}\n\n" + "\n".join(blocks)
