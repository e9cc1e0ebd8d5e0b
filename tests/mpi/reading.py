"""Closed files read back for assertions, and the rules that every graph has to keep."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from provml_hpc import vocabulary
from provml_hpc.assembly import Graph
from provml_hpc.assembly.graph import ABSENT
from provml_hpc.storage import reader
from provml_hpc.storage.tables import TablesFile

Row = dict[str, Any]

# What is different in each process or launch, whoever starts it.
_OWN = ("id", "uuid", "pid", "run", "file", "modified_ns", "last")  # the last of all ranks is that of the slowest one
_PLACE = ("path", "column")  # of samples, which lie in one file or in several
_HOW = ("process.id", "mpi.", "command.", "launcher.", "capture.")


def is_several(path: Path) -> bool:
    """Whether a closed file is one of several of its run."""
    with TablesFile(path) as file:
        return file.run.parts > 1


class File:
    """A closed file as rows that know their class, and relations that know their ends; of several parts, all as one."""

    def __init__(self, path: Path) -> None:
        with contextlib.ExitStack() as stack:
            if is_several(path):
                run = stack.enter_context(reader.open(path))
                graph, self.commits = run.graph, run.commits
            else:
                file = stack.enter_context(TablesFile(path))
                graph, self.commits = file.graph(), file.commits()
            self.graph = graph
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


def told(path: Path, without: Sequence[str] = _OWN) -> tuple[Counter[Any], Counter[Any], dict[Any, Any]]:
    """Return what a run says, without what is another's in every launch: records, relations, samples."""
    file = File(path)
    assert not file.faults

    def name(row: dict[str, Any]) -> tuple[Any, ...]:
        if row.get("label", "").startswith(_HOW):
            return ()
        fields = {
            key: str(value)
            for key, value in row.items()
            if key not in without
            and not key.endswith("_ns")
            and not (row["cls"] == "AttributeValue" and key == "ranks")
        }
        return tuple(sorted(fields.items()))

    records = Counter(name(row) for row in file.by_id.values())
    relations: Counter[Any] = Counter()
    for relation in list(file.graph.relations):
        for row in file.relations(relation):
            ends = name(row["subject"]), name(row["object"])
            if all(ends):
                relations[(relation, *ends, row.get("role"), row.get("ranks") if relation == "used" else None)] += 1
    samples = {
        key: {name: columns[name] for name in columns if name not in ("section", "time_ns")}
        | {"section": [file.by_id.get(int(one), {"label": ""})["label"] for one in columns["section"]]}
        for key, columns in file.tables.items()
    }
    del records[()]  # what was left out
    return records, relations, samples


def same(one: Path, other: Path) -> None:
    """Hold two runs of the same job to say the same."""
    several = is_several(one) or is_several(other)
    first, second = (told(path, (*_OWN, *(_PLACE if several else ()))) for path in (one, other))
    assert first[0] == second[0]
    assert first[1] == second[1]
    assert first[2].keys() == second[2].keys()
    for key, columns in first[2].items():
        for name, values in columns.items():
            np.testing.assert_array_equal(values, second[2][key][name])


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
