"""Things that are alike put together: 34 scans that went through 34 equal steps are one line, and one box, of 34.

Alike are data, models or activities of one job, of one kind and outcome, whose names differ in numbers alone:
``sheet-01.pgm`` and ``sheet-02.pgm``, ``epoch 3`` and ``epoch 4``. So the checkpoints of a model are together, however
many there are, and those of another model apart, as they are when they are captured.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from os.path import commonprefix

from provml_tools.query.provenance import Provenance, Reached

FEW = 2
"""So many alike stay each on their own."""

_NUMBER = re.compile(r"\d+")


def fold(known: Provenance, reached: Iterable[Reached], start: str) -> list[list[Reached]]:
    """Return what was reached in groups of what is alike, in the order of the first of each; the start is alone."""
    groups: dict[tuple[str, ...], list[Reached]] = {}
    place: dict[str, int] = {}
    for one in reached:
        place[one.thing.iri] = len(place)
        thing = one.thing
        run = known.run_of(thing.iri)
        key = (run.iri if run else "", thing.cls, thing.outcome, _NUMBER.sub("#", thing.name or thing.path))
        groups.setdefault(("",) if thing.iri == start else key, []).append(one)
    folded = [part for group in groups.values() for part in ([group] if len(group) > FEW else [[one] for one in group])]
    return sorted(folded, key=lambda group: place[group[0].thing.iri])


def name_of(names: Sequence[str]) -> str:
    """Return one name for several: what they begin and end with alike, and a star for the rest.

    Examples
    --------
    >>> name_of(["raw/sheet-01.pgm", "raw/sheet-12.pgm"])
    'raw/sheet-*.pgm'
    >>> name_of(["epoch 3", "epoch 4", "epoch 5"])
    'epoch 3-5'
    >>> name_of(["curate sheet", "curate sheet"])
    'curate sheet'
    """
    different = list(dict.fromkeys(names))
    if len(different) == 1:
        return different[0]
    begin = commonprefix(different).rstrip("0123456789")  # noqa: RUF071 - letters are what is wanted
    end = commonprefix([name[len(begin) :][::-1] for name in different]).rstrip("0123456789")[::-1]  # noqa: RUF071
    middles = [name[len(begin) : len(name) - len(end)] for name in different]
    if all(middle.isdecimal() and len(middle) < 10 for middle in middles):
        numbers = sorted(map(int, middles))
        if numbers == list(range(numbers[0], numbers[-1] + 1)) and not end:
            return f"{begin}{numbers[0]}-{numbers[-1]}"
    return f"{begin}*{end}"
