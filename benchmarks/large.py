"""Large runs to convert and check, as tables: what the capture records of a preparation of many small steps.

Each step reads a file, has three parameters, and writes a file with two characteristics: about ten records, eighteen
relations and 120 quads a step. The run is whole: `provml validate` finds nothing in it on any level.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from provml_hpc import identity
from provml_hpc.assembly.graph import ABSENT, Graph, RunInfo, Table, column_names
from provml_hpc.storage.tables import COMMIT_ROW, write_file
from provml_hpc.vocabulary import CLASSES, RELATION, RELATIONS, fields

RUN = "6f1d9f4e-6a52-5b0e-9d35-2d0b8a4f7c11"
NOON = 1_700_000_000_000_000_000
QUADS_A_STEP = 120
RAW = 500
"""How many files the steps read, in turn."""


class _Maker:
    def __init__(self, name: str) -> None:
        self.info = RunInfo(RUN, name, "preparation", "study", "example.org", "finished", NOON, writer="benchmarks")
        self._nodes: dict[str, Table] = {}
        self._relations: dict[str, tuple[list[Any], dict[str, list[Any]]]] = {}
        self.count = 0

    def nodes(self, cls: str, uuids: list[str], **columns: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Add the records of a class, and return their ids."""
        rows = len(uuids)
        ids = np.arange(self.count, self.count + rows)
        self.count += rows
        self._nodes[cls] = Table(cls, {"id": ids, "uuid": uuids, **_filled(fields(cls), rows, columns)})
        return ids

    def relate(self, name: str, subjects: Any, objects: Any, **columns: Any) -> None:
        """Add relations; one end may be a single record."""
        ends, more = self._relations.setdefault(name, ([], {}))
        subjects, objects = np.broadcast_arrays(np.atleast_1d(subjects), objects)
        ends.append((subjects, objects))
        for column, values in _filled(RELATION[name].fields, len(subjects), columns).items():
            more.setdefault(column, []).append(values)

    def graph(self) -> Graph:
        relations = {}
        for relation in RELATIONS:
            if relation.name in self._relations:
                ends, more = self._relations[relation.name]
                subject, other = (np.concatenate([pair[at] for pair in ends]) for at in (0, 1))
                # In the order of the subjects, as the assembly leaves most of them.
                order = np.argsort(subject, kind="stable")
                columns = {name: _picked(parts, order) for name, parts in more.items()}
                relations[relation.name] = Table(
                    relation.name, {"subject": subject[order], "object": other[order], **columns}
                )
        nodes = {cls.name: self._nodes[cls.name] for cls in CLASSES if cls.name in self._nodes}
        return Graph(self.info, nodes, relations, [])


def _filled(of: Any, rows: int, given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, kind in column_names(of):
        if name in given:
            value = given[name]
            if kind == "integer":
                found[name] = np.broadcast_to(np.asarray(value, np.int64), (rows,)).copy()
            else:
                found[name] = value if isinstance(value, list) else [value] * rows
        elif kind in ("text", "type"):
            found[name] = ["absent" if kind == "type" else ""] * rows
        elif kind == "integer":
            found[name] = np.full(rows, ABSENT, np.int64)
        else:
            found[name] = np.full(rows, np.nan) if kind == "real" else np.zeros(rows, np.bool_)
    return found


def _picked(parts: list[Any], order: np.ndarray[Any, np.dtype[np.int64]]) -> Any:
    if isinstance(parts[0], list):
        texts = [text for part in parts for text in part]
        return [texts[at] for at in order.tolist()]
    return np.concatenate(parts)[order]


def _uuids(draw: np.random.Generator, count: int) -> list[str]:
    """Return uuids of version 4."""
    text = draw.bytes(16 * count).hex()
    parts = (text[at : at + 32] for at in range(0, 32 * count, 32))
    return [f"{one[:8]}-{one[8:12]}-4{one[13:16]}-a{one[17:20]}-{one[20:]}" for one in parts]


def preparation(steps: int, seed: int = 1) -> Graph:
    """Return the graph of a run with so many transformations."""
    draw = np.random.default_rng(seed)
    make = _Maker("preparation")
    raw = min(RAW, steps)

    def new(count: int) -> list[str]:
        return _uuids(draw, count)

    study = make.nodes("Study", new(1), label="study")
    plan = make.nodes("Workflow", new(1), label="prep")
    end = NOON + (steps + 1) * 1_000_000
    facts: dict[str, Any] = {"attempt": 1, "ranks": "0"}
    run = make.nodes(
        "WorkflowExecution", [RUN], label="prep", start_ns=NOON, end_ns=end, outcome="completed",
        phase="preparation", run=RUN, **facts,
    )  # fmt: skip
    transformation = make.nodes("DataTransformation", new(1), label="clean")
    starts = NOON + np.arange(1, steps + 1) * 1_000_000 + draw.integers(0, 1000, steps)
    done = make.nodes(
        "DataTransformationExecution", new(steps), label="clean", start_ns=starts, end_ns=starts + 900_000,
        outcome="completed", **facts,
    )  # fmt: skip
    names = {"Dataset": [f"/data/raw/line {n}.sgy" for n in range(raw)]}
    names["LearningDataset"] = [f'/data/clean/line "{n}".npz' for n in range(steps)]
    data = {
        cls: make.nodes(
            cls,
            new(len(labels)),
            label=labels,
            path=labels,
            size=draw.integers(1, 10**9, len(labels)),
            modified_ns=NOON - 1,
            digest_state="whole",
            **facts,
        )
        for cls, labels in names.items()
    }
    files = np.concatenate([*data.values()])
    texts = [label for labels in names.values() for label in labels]
    digests = [draw.bytes(32).hex() for _ in texts]
    sizes = draw.integers(1, 10**9, len(texts))
    uuids = [identity.content("sha256", digest, size) for digest, size in zip(digests, sizes.tolist(), strict=True)]
    content = make.nodes("Content", uuids, algorithm="sha256", digest=digests, size=sizes)
    store = make.nodes("DataStore", new(1), label="file:node")
    reference = make.nodes("DataReference", new(len(texts)), label=texts, identifier=texts)
    said = make.nodes(
        "DatasetCharacteristic", new(2 * steps), label=["rows", "columns"] * steps,
        value=[text for n in range(steps) for text in (str(n), "x,y")], value_type=["integer", "text"] * steps, **facts,
    )  # fmt: skip
    person = make.nodes("Persona", new(1), label="Ada", identifier="ada@example.org")
    kinds = make.nodes("Attribute", new(3), label=["strict", "threshold", "mode"])
    values = make.nodes(
        "AttributeValue", new(3 * steps), label=["strict", "threshold", "mode"] * steps,
        value=[text for n in range(steps) for text in ("true", repr(n / 7), "a")],
        value_type=["boolean", "real", "text"] * steps, **facts,
    )  # fmt: skip
    rank = make.nodes("Rank", new(1), label="rank 0", rank=0, pid=4711, attempt=1)
    job = make.nodes("Job", new(1), label="prep", identifier="1", attempt=1)
    read = data["Dataset"][np.arange(steps) % raw]
    made = data["LearningDataset"]
    make.relate("used", np.repeat(done, 3), values, time_ns=np.repeat(starts + 1000, 3), ranks="0")
    make.relate("used", done, read, role="raw", time_ns=starts + 2000, ranks="0")
    make.relate("wasGeneratedBy", made, done, time_ns=starts + 800_000, ranks="0")
    make.relate("wasDerivedFrom", made, read)
    make.relate("specializationOf", files, content)
    make.relate("specializationOf", files, reference)
    make.relate("wasAssociatedWith", done, rank, plan=transformation)
    make.relate("wasAssociatedWith", run, person, plan=plan, role="curator")
    make.relate("wasAssociatedWith", done, person, role="curator")
    make.relate("actedOnBehalfOf", rank, job)
    make.relate("actedOnBehalfOf", job, person)
    make.relate("hadMember", study, plan)
    make.relate("atLocation", reference, store)
    make.relate("isPartOf", done, run)
    make.relate("hasQuality", np.repeat(made, 2), said)
    make.relate("valueOf", values, np.tile(kinds, steps))
    return make.graph()


def written(path: Path, graph: Graph) -> Path:
    """Write the closed file of a run."""
    write_file(path, graph, np.array([(1, NOON + 1, 1, 1)], COMMIT_ROW))
    return path


def counted(graph: Graph) -> tuple[int, int]:
    """Return how many records and relations a graph has."""
    nodes, relations = (sum(len(table) for table in tables.values()) for tables in (graph.nodes, graph.relations))
    return nodes, relations
