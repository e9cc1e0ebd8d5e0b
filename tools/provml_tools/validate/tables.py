"""From the tables of graphs to a PROV instance: the tables know what PROV-O cannot say, such as a usage's own time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from provml_hpc import vocabulary
from provml_hpc.assembly.graph import ABSENT, Graph, Table
from provml_tools.validate.findings import PROV, Finding
from provml_tools.validate.instance import Instance

_THINGS = {
    "prov:Entity": "entity",
    "prov:Plan": "entity",
    "prov:Collection": "entity",
    "prov:Activity": "activity",
    "prov:Agent": "agent",
    "prov:Person": "agent",
    "prov:SoftwareAgent": "agent",
}
_SIMPLE = ("wasInformedBy", "wasAttributedTo", "actedOnBehalfOf", "specializationOf", "hadMember")


def kinds_of(cls: str) -> frozenset[str]:
    """Return what a class is in PROV: entity, activity, agent, or, of a place, none of them."""
    said = (prov for above in vocabulary.lineage(cls) for prov in vocabulary.CLASS[above].prov)
    return frozenset(_THINGS[prov] for prov in said if prov in _THINGS)


class Names:
    """How a person knows the nodes of graphs: the class, the label and the uuid."""

    def __init__(self) -> None:
        self._tables: list[tuple[str, Table]] = []
        self._known: dict[str, str] | None = None

    def add(self, cls: str, table: Table) -> None:
        """Take in a table; it is read when somebody asks."""
        self._tables.append((cls, table))

    def __call__(self, uuid: str) -> str:
        """Return the name of a node."""
        if self._known is None:
            self._known = {}
            for cls, table in self._tables:
                labels = table.columns.get("label") or [""] * len(table)
                for one, label in zip(table.columns["uuid"], labels, strict=True):
                    self._known[one] = f"{cls} {label!r} <{one}>" if label else f"{cls} <{one}>"
        return self._known.get(uuid, f"<{uuid}>")


def instance_of(graphs: Iterable[Graph]) -> Instance:
    """Return what graphs say, as one instance: nodes of the same uuid are one."""
    names = Names()
    instance = Instance(describe=names)
    for graph in graphs:
        _Reader(graph, instance, names).read()
    return instance


class _Reader:
    def __init__(self, graph: Graph, instance: Instance, names: Names) -> None:
        self._graph, self._instance, self._names = graph, instance, names
        self._uuids: dict[int, str] = {}

    def read(self) -> None:
        for cls, table in self._graph.nodes.items():
            if cls in vocabulary.CLASS and len(table):
                self._names.add(cls, table)
                self._things(cls, table)
        for name, table in self._graph.relations.items():
            if len(table):
                self._relation(name, table)

    def _things(self, cls: str, table: Table) -> None:
        uuids = table.columns["uuid"]
        self._uuids.update(zip(_numbers(table, "id"), uuids, strict=True))
        kinds = kinds_of(cls)
        if "activity" in kinds:
            ends = (_times(table, "start_ns"), _times(table, "end_ns"))
            for uuid, start, end in zip(uuids, *ends, strict=True):
                self._instance.say("activity", uuid, uuid, start, end)
        for kind in ("entity", "agent"):
            if kind in kinds:
                for uuid in uuids:
                    self._instance.say(kind, uuid, uuid)

    def _relation(self, name: str, table: Table) -> None:
        say, rows = self._instance.say, self._ends(table)
        if name in ("used", "wasGeneratedBy"):
            for (subject, target), time in zip(rows, _times(table, "time_ns"), strict=True):
                say(name, None, subject, target, time)
        elif name == "wasAssociatedWith":
            for (subject, target), plan in zip(rows, _times(table, "plan"), strict=True):
                say(name, None, subject, target, None if plan is None else self._uuid(plan))
        elif name in ("wasDerivedFrom", "wasRevisionOf"):
            # A revision is a derivation; the tables say both of most, which is one statement more and no harm.
            for subject, target in rows:
                say("wasDerivedFrom", None, subject, target)
        elif name in _SIMPLE:
            for subject, target in rows:
                say(name, None, subject, target)

    def _ends(self, table: Table) -> Iterator[tuple[str, str]]:
        for subject, target in zip(_numbers(table, "subject"), _numbers(table, "object"), strict=True):
            yield self._uuid(subject), self._uuid(target)

    def _uuid(self, number: int) -> str:
        return self._uuids.get(number, f"no record {number}")


def rules_of_versions(graph: Graph, describe: Any) -> Iterator[Finding]:
    """Yield what PROV allows and PROV-ML does not: a version that was generated twice, a maker of bytes.

    PROV lets two activities generate an entity at one moment; a version of data is an occurrence in one run and has one
    generation at most.
    """
    table = graph.relations.get("wasGeneratedBy")
    if table is None or not len(table):
        return
    subjects = np.asarray(table.columns["subject"], np.int64)
    targets = np.asarray(table.columns["object"], np.int64)
    pairs = np.unique(np.stack([subjects, targets], axis=1), axis=0)
    numbers, counts = np.unique(pairs[:, 0], return_counts=True)
    twice = set(numbers[counts > 1].tolist())
    if not twice:
        return
    uuids: dict[int, str] = {}
    for nodes in graph.nodes.values():
        uuids.update(zip(_numbers(nodes, "id"), nodes.columns["uuid"], strict=True))
    for subject in sorted(twice):
        makers = pairs[pairs[:, 0] == subject, 1].tolist()
        yield Finding(
            PROV,
            "one-generation",
            describe(uuids.get(subject, str(subject))),
            f"{len(makers)} activities generated it",
            "Keep the activity that made it, and record what was made anew as a new version.",
            others=tuple(describe(uuids.get(maker, str(maker))) for maker in makers),
        )


def _numbers(table: Table, name: str) -> list[int]:
    found: list[int] = np.asarray(table.columns[name], np.int64).tolist()
    return found


def _times(table: Table, name: str) -> list[int | None]:
    if name not in table.columns:
        return [None] * len(table)
    return [None if value == ABSENT else value for value in _numbers(table, name)]
