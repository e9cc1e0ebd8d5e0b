"""Closed files read back for assertions, and the rules that every graph has to keep."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from provml_hpc import vocabulary
from provml_hpc.assembly import Graph
from provml_hpc.assembly.graph import ABSENT
from provml_hpc.storage.tables import TablesFile

Row = dict[str, Any]


class File:
    """A closed file as rows that know their class, and relations that know their ends."""

    def __init__(self, path: Path) -> None:
        with TablesFile(path) as file:
            self.graph = graph = file.graph()
            self.run = graph.run
            self.by_id: dict[int, Row] = {}
            for cls in list(graph.nodes):
                for row in graph.nodes[cls].rows():
                    self.by_id[row["id"]] = {"cls": cls, **row}
            self._relations = {name: list(graph.relations[name].rows()) for name in list(graph.relations)}
            self.tables = {
                (self.by_id[table.activity]["label"], tuple(sorted(table.measures))): table.read(0, table.count)
                for table in graph.samples
            }
            self.tables_in_order = [(table, table.read(0, table.count)) for table in graph.samples]
            self.commits = file.commits()
            self.faults = faults(graph)

    def all(self, cls: str, **fields: Any) -> list[Row]:
        """Return the nodes of a class, or of one below it, whose fields are these."""
        names = vocabulary.below(cls)
        return [
            row
            for row in self.by_id.values()
            if row["cls"] in names and all(row.get(key) == value for key, value in fields.items())
        ]

    def one(self, cls: str, **fields: Any) -> Row:
        """Return the one node of which that is true."""
        found = self.all(cls, **fields)
        assert len(found) == 1, f"{len(found)} of {cls} {fields}: {found or [r['label'] for r in self.all(cls)]}"
        return found[0]

    def relations(self, name: str) -> list[Row]:
        """Return the rows of a relation, ends as nodes."""
        return [
            {**row, "subject": self.by_id[row["subject"]], "object": self.by_id[row["object"]]}
            for row in self._relations.get(name, ())
        ]

    def objects(self, name: str, subject: Row) -> list[Row]:
        """Return what a node is related to."""
        return [self.by_id[row["object"]] for row in self._relations.get(name, ()) if row["subject"] == subject["id"]]

    def subjects(self, name: str, target: Row) -> list[Row]:
        """Return what is related to a node."""
        return [self.by_id[row["subject"]] for row in self._relations.get(name, ()) if row["object"] == target["id"]]

    def pairs(self, name: str) -> set[tuple[str, str]]:
        """Return the labels at both ends of every row of a relation."""
        return {(row["subject"]["label"], row["object"]["label"]) for row in self.relations(name)}

    def parameters(self, activity: Row) -> dict[str, tuple[str, str]]:
        """Return type and text of the parameters and facts of an activity, those of its models aside."""
        found = [*self.objects("used", activity), *self.objects("hasAttribute", activity)]
        kinds = ("LearningHyperparameterValue", "AttributeValue")
        return {row["label"]: (row["value_type"], row["value"]) for row in found if row["cls"] in kinds}

    def content(self, version: Row) -> list[str]:
        """Return the digests of the bytes that a version had."""
        return [row["digest"] for row in self.objects("specializationOf", version) if row["cls"] == "Content"]

    def whole(self, part: Row) -> Row:
        """Return what a node is part of."""
        (found,) = self.objects("isPartOf", part)
        return found


def faults(graph: Graph) -> list[str]:
    """Return which rules a graph breaks: those of PROV, and the domains and ranges of the vocabulary."""
    found: list[str] = []
    node = {row["id"]: (cls, row) for cls in list(graph.nodes) for row in graph.nodes[cls].rows()}
    uuids = [row["uuid"] for _, row in node.values()]
    if len(uuids) != len(set(uuids)):
        found.append("a uuid is that of two records")
    rows = {name: list(graph.relations[name].rows()) for name in list(graph.relations)}
    for name, lines in rows.items():
        relation = vocabulary.RELATION[name]
        for row in lines:
            subject, target = node[row["subject"]][0], node[row["object"]][0]
            if not vocabulary.may_relate(relation, subject, target):
                found.append(f"{subject} {name} {target}")
    made: dict[int, list[Row]] = defaultdict(list)
    for row in rows.get("wasGeneratedBy", ()):
        made[row["subject"]].append(row)
    for subject, lines in made.items():
        if len(lines) > 1:
            found.append(f"{node[subject][1]['label']} was generated {len(lines)} times")
    for row in rows.get("used", ()):
        for line in made.get(row["object"], ()):
            if ABSENT not in (row["time_ns"], line["time_ns"]) and row["time_ns"] < line["time_ns"]:
                found.append(f"{node[row['object']][1]['label']} was used before it was made")
    for name in ("wasDerivedFrom", "isPartOf", "hadMember", "specializationOf"):
        if _has_cycle(rows.get(name, [])):
            found.append(f"{name} goes in a circle")
    for cls, row in node.values():
        began, ended = row.get("start_ns", ABSENT), row.get("end_ns", ABSENT)
        if ABSENT not in (began, ended) and ended < began:
            found.append(f"{cls} {row['label']} ended before it began")
    return found


def _has_cycle(rows: list[Row]) -> bool:
    after: dict[int, set[int]] = defaultdict(set)
    waiting: dict[int, int] = defaultdict(int)
    for row in rows:
        if row["object"] not in after[row["subject"]]:
            after[row["subject"]].add(row["object"])
            waiting[row["object"]] += 1
    ready = [one for one in after if not waiting[one]]
    left = sum(map(len, after.values()))
    while ready:
        for other in after.pop(ready.pop(), ()):
            left -= 1
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    return left > 0


def by_rank(columns: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Return the columns of a sample table, rank by rank, in the order of the file."""
    return {
        int(rank): {name: values[columns["rank"] == rank] for name, values in columns.items()}
        for rank in np.unique(columns["rank"])
    }
