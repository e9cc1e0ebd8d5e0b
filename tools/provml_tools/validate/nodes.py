"""The records of a graph by id and by uuid, in a few numbers a record: the texts are read when they are told."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from provml_hpc import vocabulary
from provml_hpc.assembly.graph import Graph, Table
from provml_tools.validate.layout import UUID

Numbers = np.ndarray[Any, np.dtype[np.int64]]
Keys = np.ndarray[Any, np.dtype[np.uint64]]
"""Uuids as pairs of numbers, shape (n, 2)."""

STRETCH = 65_536
"""How many rows are looked at at a time."""

_DIGIT = np.full(256, 255, np.uint8)
_DIGIT[list(b"0123456789abcdef")] = range(16)
_IS_DASH = np.zeros(36, bool)
_IS_DASH[[8, 13, 18, 23]] = True


def numbers(table: Table, name: str) -> Numbers:
    """Return a column of integers as a whole."""
    return np.asarray(table.columns[name], np.int64)


def stretches(table: Table, *names: str) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield some columns of a table a stretch at a time, each with its first row."""
    for start in range(0, len(table), STRETCH):
        yield start, tuple(table.columns[name][start : start + STRETCH] for name in names)


def keys_of(texts: Sequence[str]) -> Keys:
    """Return uuids as numbers: equal where they are. What is no uuid gets numbers by its hash."""
    joined = "".join(texts).encode("utf-8", "replace")
    if len(joined) == 36 * len(texts) and all(len(text) == 36 for text in texts):
        rows = np.frombuffer(joined, np.uint8).reshape(-1, 36)
        digits = _DIGIT[rows[:, ~_IS_DASH]]
        if (rows[:, _IS_DASH] == ord("-")).all() and (digits < 16).all():
            whole = np.ascontiguousarray(digits[:, ::2] << 4 | digits[:, 1::2])
            return whole.view(np.uint64)
    pairs = [_key(text) for text in texts]
    return np.array(pairs, np.uint64).reshape(-1, 2)


def _key(text: str) -> tuple[int, int]:
    if UUID.fullmatch(text):
        first, second = np.frombuffer(bytes.fromhex(text.replace("-", "")), np.uint64).tolist()
        return first, second
    return hash(text) & (2**64 - 1), hash((text, "")) & (2**64 - 1)


def uuid_keys(table: Table) -> Keys:
    """Return the uuids of a table as numbers."""
    found = [keys_of(texts) for _, (texts,) in stretches(table, "uuid")]
    return np.concatenate(found) if found else np.zeros((0, 2), np.uint64)


class Nodes:
    """The records of one graph: of each id its class, and where it stands."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.tables = [(name, table) for name, table in graph.nodes.items() if name in vocabulary.CLASS and len(table)]
        self._firsts = [0]
        for _, table in self.tables:
            self._firsts.append(self._firsts[-1] + len(table))
        self.count = self._firsts[-1]
        ids = [numbers(table, "id") for _, table in self.tables]
        self.ids: Numbers = np.concatenate(ids) if ids else np.zeros(0, np.int64)
        """The id of each record, table after table."""
        self.places = np.full(self.count, -1, np.int32)
        """For each id where its first record stands in `ids`; -1 if there is none."""
        inside = np.flatnonzero((self.ids >= 0) & (self.ids < self.count))[::-1]
        self.places[self.ids[inside]] = inside
        self.codes = np.zeros(self.count, np.int16)
        """For each id the code of its class; 0 if there is none."""
        of_place = np.repeat(
            np.array([vocabulary.CLASS[name].code for name, _ in self.tables], np.int16),
            np.diff(self._firsts),
        )
        there = self.places >= 0
        self.codes[there] = of_place[self.places[there]]

    def codes_of(self, ids: Numbers) -> np.ndarray[Any, np.dtype[np.int16]]:
        """Return the codes of the classes of ids, 0 for those that are no record."""
        inside = (ids >= 0) & (ids < self.count)
        found = np.zeros(len(ids), np.int16)
        found[inside] = self.codes[ids[inside]]
        return found

    def at(self, place: int) -> tuple[str, Table, int]:
        """Return the class, the table and the row of the record that stands at a place in `ids`."""
        which = bisect_right(self._firsts, place) - 1
        return (*self.tables[which], place - self._firsts[which])

    def cls(self, number: int) -> str:
        """Return the class of an id, empty if there is no such record."""
        code = int(self.codes[number]) if 0 <= number < self.count else 0
        return vocabulary.CLASS_OF_CODE[code].name if code else ""

    def uuid(self, number: int) -> str:
        """Return the uuid of an id, or what stands for one."""
        if not self.cls(number):
            return f"no record {number}"
        _, table, row = self.at(int(self.places[number]))
        return str(table.columns["uuid"][row])

    def name(self, number: int) -> str:
        """Return how a person knows an id."""
        return self.name_at(int(self.places[number])) if self.cls(number) else f"id {number}"

    def name_at(self, place: int) -> str:
        """Return how a person knows the record at a place."""
        cls, table, row = self.at(place)
        label = str(table.columns["label"][row]) if "label" in table.columns else ""
        return f"{cls} {label!r} <{table.columns['uuid'][row]}>" if label else f"{cls} <{table.columns['uuid'][row]}>"

    def keys(self) -> Keys:
        """Return the uuids of all records, in the order of `ids`."""
        found = [uuid_keys(table) for _, table in self.tables]
        return np.concatenate(found) if found else np.zeros((0, 2), np.uint64)


class Names:
    """How a person knows the nodes of graphs by their uuids."""

    def __init__(self, nodes: Sequence[Nodes]) -> None:
        self._nodes = nodes
        self._known: list[tuple[Keys, Numbers]] | None = None

    def __call__(self, uuid: str) -> str:
        """Return the name of a node; of two graphs that know it, as the last one does."""
        if self._known is None:
            # Nothing was wrong up to here, so it was not needed.
            self._known = []
            for nodes in self._nodes:
                keys = nodes.keys()
                order = np.lexsort((keys[:, 1], keys[:, 0]))
                self._known.append((keys[order], order))
        [wanted] = keys_of([uuid])
        for nodes, (keys, order) in zip(reversed(self._nodes), reversed(self._known), strict=True):
            low, high = (int(np.searchsorted(keys[:, 0], wanted[0], side)) for side in ("left", "right"))
            for at in range(low, high):
                if keys[at, 1] == wanted[1]:
                    return nodes.name_at(int(order[at]))
        return f"<{uuid}>"
