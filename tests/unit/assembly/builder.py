"""Frames made by hand for several ranks, and a way to ask the graph that comes of them."""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from provml_hpc import records, vocabulary, wire
from provml_hpc.assembly import Graph, RunInfo, assemble
from provml_hpc.assembly.graph import ABSENT
from provml_hpc.records import NO_STEP, Source

RUN = "3f0d2a44-1111-4222-8333-0123456789ab"
NOON = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
TRAINING, EVALUATION, SECTION, STEP = (
    "TrainingExecution",
    "EvaluationExecution",
    "LearningStageSectionExecution",
    "DataTransformationExecution",
)
Look = tuple[int, int, int]
"""Inode, size and time of a file in seconds after noon; (0, 0, 0) is a file that is not there."""
GONE: Look = (0, 0, 0)


class Writer:
    """What one lane of one rank writes; every record is a second after the one before it, over all ranks."""

    def __init__(self, frames: FakeFrames, source: Source) -> None:
        self.frames, self.source = frames, source
        self.blocks: list[bytes] = []
        self.open_block = bytearray()
        self.sequence = 0
        self._ordinals: dict[Any, int] = defaultdict(int)
        self._layouts = 0
        self._apart = 10**15 * (1 + source.rank)  # every rank counts its clock from another moment
        self(records.Started(self._apart, frames.size, 1000 + source.rank, f"node{source.rank // 2}"))

    def _clock(self) -> int:
        self.frames.now += SECOND
        return self.frames.now - self._apart

    def __call__(self, record: records.Record) -> int:
        self.sequence += 1
        self.open_block += wire.encode(record, self.sequence, self._clock())
        return self.sequence

    def open(
        self, cls: str, name: str = "", parent: int = 0, *, own: bool = False, key: str = "", signature: str = "",
        kind: str = "", index: int = 0, task: str = "", algorithm: str = "",
    ) -> int:  # fmt: skip
        name = name or (f"{kind} {index}" if kind else cls)
        place = (parent, cls, "" if kind else name, kind, index, key)
        self._ordinals[place] += 1
        return self(
            records.Opened(
                vocabulary.CLASS[cls].code, parent, int(own), self._ordinals[place], index, name, key, kind, "", "",
                task, algorithm, signature,
            )
        )  # fmt: skip

    def section(self, parent: int, index: int, kind: str = "epoch", **more: Any) -> int:
        return self.open(SECTION, parent=parent, kind=kind, index=index, **more)

    def close(self, handle: int, outcome: str = records.COMPLETED) -> None:
        self(records.Closed(handle, outcome, ""))

    def end(self, outcome: str = records.COMPLETED, error: str = "") -> None:
        self(records.Ended(outcome, "", error))

    def declare(
        self, cls: str, path: str = "", look: Look = GONE, *, activity: int = 0, generated: bool = False,
        collection: bool = False, step: int = NO_STEP, label: str = "", select: str = "", store: str = "",
        identifier: str = "", digest: str = "", size: int = 0,
    ) -> int:  # fmt: skip
        inode, bytes_, at = look
        algorithm, _, hexdigest = digest.partition(":")
        return self(
            records.Declared(
                vocabulary.CLASS[cls].code if cls else 0, activity, int(generated), int(collection), step, inode,
                size or bytes_, NOON + at * SECOND if look != GONE else 0, label or path, path, select, store,
                identifier, algorithm, hexdigest,
            )
        )  # fmt: skip

    def read(
        self, cls: str, path: str = "", look: Look = GONE, *, activity: int = 0, role: str = "", **more: Any
    ) -> int:
        handle = self.declare(cls, path, look, activity=activity, **more)
        self(records.Used(activity, handle, role))
        return handle

    def make(self, cls: str, path: str = "", look: Look = GONE, *, activity: int = 0, **more: Any) -> int:
        return self.declare(cls, path, look, activity=activity, generated=True, **more)

    def settle(self, handle: int, look: Look) -> None:
        inode, size, at = look
        self(records.Settled(handle, inode, size, NOON + at * SECOND if look != GONE else 0))

    def digest(self, path: str, look: Look, digest: str, state: str = "whole", size: int | None = None) -> None:
        inode, bytes_, at = look
        algorithm, _, hexdigest = digest.partition(":")
        self(
            records.Digested(
                inode, NOON + at * SECOND, bytes_, bytes_ if size is None else size, state, path, algorithm,
                hexdigest, "",
            )
        )  # fmt: skip

    def member(self, path: str, look: Look, relative: str, digest: str, size: int = 10) -> None:
        algorithm, _, hexdigest = digest.partition(":")
        self(records.Contained(look[0], NOON + look[2] * SECOND, size, path, relative, algorithm, hexdigest))

    def value(self, cls: str, name: str, text: str, *, activity: int = 0, entity: int = 0, used: bool = True) -> None:
        self(records.Named(vocabulary.CLASS[cls].code, activity, entity, int(used), name, "real", text))

    def layout(self, activity: int, *measures: str) -> int:
        self._layouts += 1
        self(records.Layout(self._layouts, activity, json.dumps(measures)))
        return self._layouts

    def sample(self, layout: int, step: int, *values: float, section: int = 0) -> None:
        self.sequence += 1
        head = (40 + 8 * len(values), layout, self.sequence, self._clock(), step, section)
        self.open_block += struct.pack(f"<IIQqqQ{len(values)}d", *head, *values)


class FakeFrames:
    """A frame source that is written by hand."""

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self.now = NOON + 1000 * SECOND
        self.writers: dict[Source, Writer] = {}

    def rank(self, rank: int = 0, *, attempt: int = 1, lane: int = 0) -> Writer:
        source = Source(attempt, rank, lane)
        if source not in self.writers:
            self.writers[source] = Writer(self, source)
        return self.writers[source]

    def ranks(self) -> list[Writer]:
        return [self.rank(rank) for rank in range(self.size)]

    @property
    def second(self) -> int:
        """Now, in seconds after noon."""
        return (self.now - NOON) // SECOND

    def commit(self) -> None:
        for writer in self.writers.values():
            if writer.open_block:
                writer.blocks.append(bytes(writer.open_block))
                writer.open_block = bytearray()

    def sources(self) -> list[Source]:
        return sorted(self.writers)

    def blocks(self, source: Source, /) -> Iterator[bytes]:
        writer = self.writers[source]
        yield from writer.blocks
        if writer.open_block:
            yield bytes(writer.open_block)

    def view(self, *, phase: str = "learning", study: str = "") -> View:
        info = RunInfo(RUN, "facies-unet", phase, study=study, authority="example.org", started_ns=NOON)
        return View(assemble(self, info))


class Prefix:
    """The first so many records of each source."""

    def __init__(self, frames: FakeFrames, counts: dict[Source, int]) -> None:
        self._frames, self._counts = frames, counts

    def sources(self) -> list[Source]:
        return [source for source in self._frames.sources() if self._counts[source]]

    def blocks(self, source: Source, /) -> Iterator[bytes]:
        data = b"".join(self._frames.blocks(source))
        end = 0
        for at, size, _, sequence in wire.walk(data):
            if sequence > self._counts[source]:
                break
            end = at + size
        if end:
            yield data[:end]


class View:
    """A graph to be asked about; it is checked whole when it is made."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.node: dict[int, dict[str, Any]] = {}
        self.class_of: dict[int, str] = {}
        for name, table in graph.nodes.items():
            for row in table.rows():
                assert row["id"] not in self.node
                self.node[row["id"]] = row
                self.class_of[row["id"]] = name
        self.links = {name: list(table.rows()) for name, table in graph.relations.items()}
        check(self)

    def all(self, cls: str) -> list[dict[str, Any]]:
        table = self.graph.nodes.get(cls)
        return list(table.rows()) if table is not None else []

    def one(self, cls: str, **fields: Any) -> dict[str, Any]:
        found = [row for row in self.all(cls) if all(row[k] == v for k, v in fields.items())]
        assert len(found) == 1, f"{len(found)} of {cls} with {fields}: {found}"
        return found[0]

    def uuids(self) -> set[str]:
        return {row["uuid"] for row in self.node.values()}

    def ends(self, relation: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        return [(self.node[row["subject"]], self.node[row["object"]]) for row in self.links.get(relation, ())]

    def of(self, row: dict[str, Any], relation: str) -> list[dict[str, Any]]:
        """Return the objects of a relation."""
        return [new for old, new in self.ends(relation) if old["id"] == row["id"]]

    def to(self, row: dict[str, Any], relation: str) -> list[dict[str, Any]]:
        """Return the subjects of a relation."""
        return [old for old, new in self.ends(relation) if new["id"] == row["id"]]

    def contents(self, row: dict[str, Any]) -> list[str]:
        return sorted(
            one["digest"] for one in self.of(row, "specializationOf") if self.class_of[one["id"]] == "Content"
        )


def check(view: View) -> None:
    """Assert what holds of every graph: PROV-CONSTRAINTS, the ends of each relation, dense ids, unique uuids."""
    assert sorted(view.node) == list(range(len(view.node)))
    assert len(view.uuids()) == len(view.node)
    for name, rows in view.links.items():
        relation = vocabulary.RELATION[name]
        seen = set()
        for row in rows:
            subject, target = view.class_of[row["subject"]], view.class_of[row["object"]]
            assert vocabulary.may_relate(relation, subject, target), (name, subject, target)
            key = (row["subject"], row["object"], row.get("role"))
            assert key not in seen, (name, row)
            seen.add(key)
            if row.get("plan", ABSENT) != ABSENT:
                assert "prov:Plan" in vocabulary.CLASS[view.class_of[row["plan"]]].prov
    made: dict[int, dict[str, Any]] = {}
    for row in view.links.get("wasGeneratedBy", ()):
        assert row["subject"] not in made, "two generations"
        made[row["subject"]] = row
        _within(view, row, view.node[row["object"]])
    for row in view.links.get("used", ()):
        _within(view, row, view.node[row["subject"]])
        if row["object"] in made:
            assert row["time_ns"] >= made[row["object"]]["time_ns"], "used before it was generated"
    for row in view.node.values():
        if row.get("end_ns", ABSENT) != ABSENT:
            assert row["start_ns"] <= row["end_ns"]
        if row.get("outcome") == "open":
            assert row["end_ns"] == ABSENT
    for whole in ("wasDerivedFrom", "wasRevisionOf", "specializationOf"):
        _acyclic(whole, [(row["subject"], row["object"]) for row in view.links.get(whole, ())])
    derived = {(row["subject"], row["object"]) for row in view.links.get("wasDerivedFrom", ())}
    assert {(row["subject"], row["object"]) for row in view.links.get("wasRevisionOf", ())} <= derived
    for cls in ("Content", "DataReference"):
        made_of = {row["id"] for row in view.all(cls)}
        assert not made_of & set(made)
    for table in view.graph.samples:
        columns = table.read(0, table.count)
        assert {len(column) for column in columns.values()} == {table.count}
        sections = set(columns["section"].tolist()) - {ABSENT}
        assert all(view.class_of[one] in vocabulary.PLAN_OF for one in sections)
        order = np.stack([columns["rank"], columns["attempt"]])
        assert (np.lexsort(order[::-1]) == np.arange(table.count)).all()


def _within(view: View, row: dict[str, Any], activity: dict[str, Any]) -> None:
    if row["time_ns"] == ABSENT:
        return
    if activity["start_ns"] != ABSENT:
        assert activity["start_ns"] <= row["time_ns"]
    if activity["end_ns"] != ABSENT:
        assert row["time_ns"] <= activity["end_ns"]


def _acyclic(name: str, pairs: list[tuple[int, int]]) -> None:
    sources: dict[int, set[int]] = defaultdict(set)
    products: dict[int, set[int]] = defaultdict(set)
    for new, old in pairs:
        sources[new].add(old)
        products[old].add(new)
    free = [old for old in products if old not in sources]
    while free:
        for new in products.pop(free.pop(), ()):
            waits = sources.get(new, set())
            waits.intersection_update(sources)
            if not waits and new in sources:
                sources.pop(new)
                free.append(new)
    assert not sources, f"{name} goes in a circle"
