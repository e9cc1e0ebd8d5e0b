"""The tables of a run summed up: activities, parameters, data and measures, each by its name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from provml_hpc import vocabulary
from provml_hpc.assembly.graph import ABSENT, Graph, Table

RUN = ("WorkflowExecution", "LearningExperimentExecution")
"""The classes of the run itself."""


class Summaries:
    """The tables of a graph, as a person asks for them."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def rows(self, cls: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of one class, not of those below it."""
        table: Table | None = self._graph.nodes.get(cls)
        if table is not None:
            yield from table.rows()

    def _links(self, name: str) -> Iterator[tuple[int, int]]:
        table = self._graph.relations.get(name)
        if table is not None and len(table):
            ends = (np.asarray(table.columns[column]).tolist() for column in ("subject", "object"))
            yield from zip(*ends, strict=True)

    def facts(self, run: int | None) -> dict[str, Any]:
        """Return the facts of the run as a whole."""
        mine = {target for subject, target in self._links("hasAttribute") if subject == run}
        rows = (row for row in self.rows("AttributeValue") if row["id"] in mine)
        return {row["label"]: row["value"] for row in rows}

    def activities(self) -> list[dict[str, Any]]:
        """Count and time the activities of each kind and name."""
        groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for cls in vocabulary.CLASSES:
            if "prov:Activity" in cls.prov and cls.name not in (*RUN, "Attempt", "RankExecution"):
                for row in self.rows(cls.name):
                    groups[cls.name, row.get("section_kind") or row["label"]].append(row)
        found = []
        for (cls_name, name), rows in groups.items():
            times = [(r["end_ns"] - r["start_ns"]) / 1e9 for r in rows if ABSENT not in (r["start_ns"], r["end_ns"])]
            found.append(
                {
                    "kind": cls_name,
                    "name": name,
                    "count": len(rows),
                    "seconds": sum(times),
                    "mean seconds": sum(times) / len(times) if times else None,
                    "longest": max(times, default=None),
                    "outcomes": dict(Counter(row["outcome"] or "open" for row in rows)),
                }
            )
        return found

    def parameters(self) -> list[dict[str, Any]]:
        """Return each parameter with the different values that it was given."""
        used = {target for _, target in self._links("used")} | {target for _, target in self._links("hasSetting")}
        values: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for cls in ("LearningHyperparameterValue", "ModelHyperparameterValue", "AttributeValue"):
            for row in self.rows(cls):
                if row["id"] in used:
                    values[cls, row["label"]][row["value"]] += 1
        return [{"kind": cls, "name": name, "values": dict(found)} for (cls, name), found in values.items()]

    def data(self) -> list[dict[str, Any]]:
        """Return the datasets and models with what identifies them."""
        contents = {row["id"]: row for row in self.rows("Content")}
        content_of = {one: contents[other] for one, other in self._links("specializationOf") if other in contents}
        used = Counter(target for _, target in self._links("used"))
        made = {one for one, _ in self._links("wasGeneratedBy")}
        found = []
        for cls in ("Dataset", "LearningDataset", "FeatureSetData", "Model"):
            for row in self.rows(cls):
                content = content_of.get(row["id"])
                found.append(
                    {
                        "kind": cls,
                        "name": row["label"],
                        "path": row["path"],
                        "bytes": row["size"] if row["size"] != ABSENT else None,
                        "digest": f"{content['algorithm']}:{content['digest']}" if content else "",
                        "digest state": row["digest_state"],
                        "made here": row["id"] in made,
                        "used": used[row["id"]],
                    }
                )
        return found

    def measures(self) -> list[dict[str, Any]]:
        """Return each measure with its samples and its evaluations."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for row in self.rows("MetricSeries"):
            one = found.setdefault((row["label"], "samples"), {"count": 0, "last": None, "least": None, "most": None})
            one["count"] += row["count"] if row["count"] != ABSENT else 0
            one["last"] = row["last"]
            for name, column, choose in (("least", "minimum", min), ("most", "maximum", max)):
                if row[column] == row[column]:
                    one[name] = row[column] if one[name] is None else choose(one[name], row[column])
        for row in sorted(self.rows("ModelEvaluation"), key=lambda row: row["time_ns"]):
            one = found.setdefault((row["label"], "evaluations"), {"count": 0, "last": None})
            one["count"] += 1
            one["last"] = _number(row["value"])
            if isinstance(one["last"], float) and one["last"] == one["last"]:
                one["least"] = min(one.get("least", one["last"]), one["last"])
                one["most"] = max(one.get("most", one["last"]), one["last"])
        return [{"name": name, "from": source, **one} for (name, source), one in found.items()]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
