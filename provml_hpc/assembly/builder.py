"""Collects nodes and relations, each once however many ranks say it, and turns them into tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from provml_hpc import vocabulary
from provml_hpc.assembly.graph import ABSENT, VALUE_TYPES, Column, Table, column_names

Row = dict[str, Any]


def ranges(ranks: Iterable[int]) -> str:
    """Return ranks as text a person reads: ``"0-3,7"``.

    Examples
    --------
    >>> ranges([3, 0, 1, 2, 7])
    '0-3,7'
    """
    parts: list[list[int]] = []
    for rank in sorted(set(ranks)):
        if parts and rank == parts[-1][1] + 1:
            parts[-1][1] = rank
        else:
            parts.append([rank, rank])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _columns(fields: tuple[vocabulary.Field, ...], rows: list[Row]) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    for name, kind in column_names(fields):
        if kind == "text":
            columns[name] = [row.get(name) or "" for row in rows]
        elif kind == "type":
            types = [row.get(name) or "absent" for row in rows]
            columns[name] = [one if one in VALUE_TYPES else "text" for one in types]  # a newer release may know more
        elif kind == "integer":
            columns[name] = np.array([row.get(name, ABSENT) for row in rows], np.int64)
        elif kind == "real":
            columns[name] = np.array([row.get(name, np.nan) for row in rows], np.float64)
        else:
            columns[name] = np.array([row.get(name, False) for row in rows], np.bool_)
    return columns


class Builder:
    """All nodes and relations of one run while they are gathered.

    A node is known by its class and uuid, a relation by its ends and by what parts two relations between the same ends.
    Saying either again only adds the rank that said it.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, dict[str, Row]] = {}
        self._class_of: dict[str, str] = {}
        self._relations: dict[str, dict[tuple[Any, ...], Row]] = {}

    def node(self, cls: str, uuid: str, rank: int | None = None, /, **fields: Any) -> str:
        """Add a node, or a rank to one that is there, and return its uuid. The class it was added with first stands."""
        cls = self._class_of.setdefault(uuid, cls)
        row = self._nodes.setdefault(cls, {}).get(uuid)
        if row is None:
            row = self._nodes[cls][uuid] = {"uuid": uuid, "_ranks": set(), **fields}
        if rank is not None:
            row["_ranks"].add(rank)
        return uuid

    def row(self, uuid: str) -> Row:
        """Return the row of a node, to fill in what is learned later."""
        return self._nodes[self._class_of[uuid]][uuid]

    def class_of(self, uuid: str) -> str | None:
        """Return the class of a node, or None if there is no such node."""
        return self._class_of.get(uuid)

    def uuids(self, cls: str) -> list[str]:
        """Return the uuids of all nodes of a class."""
        return list(self._nodes.get(cls, ()))

    def relate(
        self, name: str, subject: str, target: str, rank: int | None = None, /, parted: str = "", **fields: Any
    ) -> None:
        """Add a relation, or a rank to one that is there; of several times the earliest stands."""
        rows = self._relations.setdefault(name, {})
        row = rows.get((subject, target, parted))
        if row is None:
            row = rows[subject, target, parted] = {"subject": subject, "object": target, "_ranks": set(), **fields}
        elif "time_ns" in fields:
            row["time_ns"] = min(row.get("time_ns", fields["time_ns"]), fields["time_ns"])
        if rank is not None:
            row["_ranks"].add(rank)

    def relate_where_allowed(self, name: str, subject: str, target: str) -> None:
        """Add a relation only if the classes at both ends may stand there: ML-Schema is strict about that."""
        relation = vocabulary.RELATION[name]
        if vocabulary.may_relate(relation, self._class_of[subject], self._class_of[target]):
            self.relate(name, subject, target)

    def tables(self) -> tuple[dict[str, Table], dict[str, Table], dict[str, int]]:
        """Return the node tables, the relation tables, and the id of every uuid."""
        ids: dict[str, int] = {}
        nodes: dict[str, Table] = {}
        for cls in vocabulary.CLASSES:
            rows = list(self._nodes.get(cls.name, {}).values())
            if not rows:
                continue
            first = len(ids)
            for row in rows:
                ids[row["uuid"]] = len(ids)
                row.setdefault("ranks", ranges(row["_ranks"]))
            columns: dict[str, Column] = {"id": np.arange(first, len(ids)), "uuid": [row["uuid"] for row in rows]}
            nodes[cls.name] = Table(cls.name, columns | _columns(vocabulary.fields(cls.name), rows))
        relations: dict[str, Table] = {}
        for relation in vocabulary.RELATIONS:
            # What a damaged journal says of somebody whose own records are lost has nobody to stand on.
            found = self._relations.get(relation.name, {}).values()
            rows = [row for row in found if row["subject"] in ids and row["object"] in ids]
            if not rows:
                continue
            for row in rows:
                row.setdefault("ranks", ranges(row["_ranks"]))
                if row.get("plan") in ids:
                    row["plan"] = ids[row["plan"]]
                elif "plan" in row:
                    del row["plan"]
            columns = {end: np.array([ids[row[end]] for row in rows], np.int64) for end in ("subject", "object")}
            relations[relation.name] = Table(relation.name, columns | _columns(relation.fields, rows))
        return nodes, relations, ids
