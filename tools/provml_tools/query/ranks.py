"""Ranges of ranks as text: ``0-3,7``."""

from __future__ import annotations


def parse(text: str) -> list[tuple[int, int]]:
    """Return the first and last rank of each range; what is no range is left out."""
    found = []
    for piece in text.split(","):
        first, _, last = piece.strip().partition("-")
        if first.isdecimal() and (last.isdecimal() or not last):
            found.append((int(first), int(last or first)))
    return found


def overlap(one: str, other: str) -> bool:
    """Tell whether two texts name a rank in common; what names none is taken for all."""
    a, b = parse(one), parse(other)
    return not a or not b or any(x[0] <= y[1] and y[0] <= x[1] for x in a for y in b)
