"""Finding the version that somebody means who names a file: by how it looked, or by its path alone."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from typing import NamedTuple

from provml_hpc.records import Source

DATA, MODEL, EITHER = "data", "model", ""
"""What a version is: the same bytes as data and as a model are two versions."""


class Look(NamedTuple):
    """How a file looked: what tells one version of it from another.

    The device is left out, since nodes number a shared one differently.
    """

    path: str
    inode: int
    size: int
    modified_ns: int

    @property
    def missing(self) -> bool:
        """Whether nothing was seen there."""
        return not self.modified_ns


class Known(NamedTuple):
    """A version, and since when it is there."""

    at: int
    uuid: str
    source: Source
    unsettled: bool
    """Whether it may still change: its activity goes on, or it is a collection that things are added to."""
    late: bool = False
    """Whether nobody can have meant it before: it looks as what was there before it."""


class Reader(NamedTuple):
    """Who names a file, when, and when the activity that reads it ended (None while it is open)."""

    source: Source
    at: int
    end: int | None


class Register:
    """Versions by a key (a look or a path), each in order of time."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[Look | str, str], list[Known]] = defaultdict(list)

    def add(self, key: Look | str, family: str, known: Known) -> None:
        """Add a version."""
        insort(self._by_key[key, family], known)
        insort(self._by_key[key, EITHER], known)

    def find(self, key: Look | str, family: str, reader: Reader) -> Known | None:
        """Return the latest version that was there by then.

        If there is none, the first that another rank made before the reader's activity ended: a rank may name what
        another is about to make, and its clock may be a little apart. What the reader's own rank made later is never
        meant, or a step that leaves its file as it was would read its own product.
        """
        known = self._by_key.get((key, family), [])
        place = bisect_right(known, reader.at, key=_at)
        if place:
            return known[place - 1]
        for one in known:
            if reader.end is not None and one.at > reader.end:
                break
            if one.source[:2] != reader.source[:2] and not one.late:
                return one
        return None

    def versions(self, key: Look | str) -> set[str]:
        """Return the uuids of all versions under a key."""
        return {known.uuid for known in self._by_key.get((key, EITHER), ())}


def _at(known: Known) -> int:
    return known.at
