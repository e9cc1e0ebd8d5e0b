"""Which openings on which ranks are one activity, when it began and ended, and how."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from provml_hpc import identity, records, vocabulary
from provml_hpc.assembly.builder import Builder
from provml_hpc.assembly.frames import Stream
from provml_hpc.assembly.graph import RunInfo

_Place: TypeAlias = "tuple[Any, ...]"

OPENABLE = frozenset(vocabulary.PLAN_OF) - {"WorkflowExecution", "LearningExperimentExecution"}
"""The classes that an opening can be of."""


@dataclass(eq=False)
class Part:
    """One rank's part in an activity."""

    uuid: str
    opened: records.Opened | None
    parent: Part | None
    rank: int
    start_ns: int
    end_ns: int = 0
    outcome: str = records.OPEN
    own: bool = False
    children: list[Part] = field(default_factory=list)

    def close(self, at: int, outcome: str) -> None:
        """End this part, and what is still open inside it."""
        waiting = [(self, outcome)]
        while waiting:
            part, how = waiting.pop()
            if not part.end_ns:
                part.end_ns, part.outcome = max(at, part.start_ns), how
            elif part is not self and self.parent is not None:
                continue  # what is inside ended with it; only the end of the run looks further
            waiting += [(child, records.LEFT) for child in part.children]

    @property
    def resolved(self) -> str:
        """The outcome, with ``left`` replaced by that of what encloses it."""
        part = self
        while part.outcome == records.LEFT and part.parent is not None:
            part = part.parent
        if part is not self and part.outcome in (records.LEFT, records.OPEN):
            return records.COMPLETED
        return part.outcome


def _sum_up(parts: Iterable[Part], without: Container[int] = ()) -> tuple[dict[str, Any], str]:
    """Return start and end (absent while any part is open) and the outcome of several parts taken together.

    Of ranks that the run went on without, nobody heard an end; those who went on tell how it ended.
    """
    parts = list(parts)
    times = {"start_ns": min(part.start_ns for part in parts)}
    parts = [part for part in parts if part.end_ns or part.rank not in without] or parts
    if all(part.end_ns for part in parts):
        times["end_ns"] = max(part.end_ns for part in parts)
    outcomes = {part.resolved for part in parts}
    return times, next((o for o in (records.FAILED, records.OPEN) if o in outcomes), records.COMPLETED)


def rank_uuid(run: RunInfo, attempt: int, rank: int) -> str:
    """Return the uuid of a rank of an attempt."""
    return identity.local(run.uuid, "rank", attempt, rank)


def attempt_uuid(run: RunInfo, attempt: int) -> str:
    """Return the uuid of an attempt."""
    return identity.local(run.uuid, "attempt", attempt)


class Activities:
    """The activities of a run, found from the openings of all ranks.

    Shared activities are one by their place and their parameters: the same parent, class, name, and key or k-th
    opening (sections: kind, and key or index). So ranks that open one with other parameters are recorded apart, and
    listed in `disagreements`; and what an activity is called never depends on which rank is heard of first.
    """

    def __init__(self, run: RunInfo, builder: Builder, streams: Iterable[Stream]) -> None:
        self.run = run
        self.builder = builder
        self.parts: dict[tuple[records.Source, int], Part] = {}
        self.roots: dict[records.Source, Part] = {}
        self.disagreements: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self.lost: list[dict[str, Any]] = []
        """The ranks that the run went on without."""
        self.silent: dict[int, set[int]] = {}
        """For each attempt the ranks of which no end is known."""
        self.stage_of: dict[str, str] = {}
        """The learning stage that an activity is, or is inside of."""
        self.end_of: dict[str, int | None] = {}
        """When an activity ended; None if it is open."""
        self._unknown: dict[tuple[records.Source, int], Part] = {}
        self._sizes: dict[int, int] = defaultdict(int)
        self._said: dict[_Place, dict[str, tuple[str, set[int]]]] = defaultdict(dict)
        self._counts: dict[_Place, dict[int, tuple[int, Part]]] = defaultdict(dict)
        streams = [stream for stream in streams if stream.source.lane == records.RUN_LANE]
        for stream in streams:
            self._open_parts(stream)
        for stream in streams:
            self._close_parts(stream)
        self.failures.sort(key=lambda failure: failure["time_ns"])
        for attempt, size in self._sizes.items():
            seen = {place.rank: root for place, root in self.roots.items() if place.attempt == attempt}
            ended = {rank for rank, root in seen.items() if root.end_ns}
            self.silent[attempt] = (set(seen) if run.apart else set(range(size))) - ended
        self._say()
        self._compare()

    def part(self, source: records.Source, handle: int) -> Part:
        """Return the part that a handle means; 0, or a handle that was lost, means the run."""
        lane0 = source._replace(lane=records.RUN_LANE)
        return (
            self.parts.get((lane0, handle))
            or self._unknown.get((lane0, handle))
            or self.roots.get(lane0)
            or next(iter(self.roots.values()))
        )

    def within(self, activity: str, at: int) -> int:
        """Return a time, or the end of an activity if that came earlier.

        A user may name the model of a training just after its ``with`` block; PROV knows no generation, and no usage,
        by an activity that is over (PROV-CONSTRAINTS, constraints 33 and 34).
        """
        return min(at, int(self.builder.row(activity).get("end_ns", at)))

    def _open_parts(self, stream: Stream) -> None:
        source, run = stream.source, self.run.uuid
        root = Part(run, None, None, source.rank, stream.started_ns)
        self.roots[source] = root
        self._sizes[source.attempt] = max(self._sizes[source.attempt], stream.start.size)
        for sequence, at, record in stream.records:
            if not isinstance(record, records.Opened):
                continue
            parent = self.part(source, record.parent)
            cls = vocabulary.CLASS_OF_CODE.get(record.code)
            if cls is None or cls.name not in OPENABLE:  # from a newer release: its content is its parent's
                self._unknown[source, sequence] = parent
                continue
            own = bool(record.own) or parent.own
            if own:
                uuid = identity.local(run, "own", source.attempt, source.rank, sequence)
            else:
                uuid = self._shared(source, parent, record)
            part = Part(uuid, record, parent, source.rank, at, own=own)
            parent.children.append(part)
            self.parts[source, sequence] = part

    def _shared(self, source: records.Source, parent: Part, record: records.Opened) -> str:
        place: _Place = (source.attempt, parent.uuid, record.code, record.section_kind)
        place += ("" if record.section_kind else record.name,)
        if not record.key:
            count, _ = self._counts[place].get(source.rank, (0, parent))
            self._counts[place][source.rank] = count + 1, parent
        place += ("key", record.key) if record.key else ("opening", record.section_index, record.ordinal)
        uuid = identity.local(self.run.uuid, "shared", *place, record.signature)
        self._said[place].setdefault(record.signature, (uuid, set()))[1].add(source.rank)
        return uuid

    def _compare(self) -> None:
        """List where the ranks disagree. Counts are compared only where the ranks are through."""
        for said in self._said.values():
            if len(said) > 1:
                uuids = [uuid for uuid, _ in said.values()]
                label = str(self.builder.row(uuids[0])["label"])
                ranks = [sorted(ranks) for _, ranks in said.values()]
                self.disagreements.append(
                    {"about": "parameters", "activity": uuids[0], "name": label, "ranks": ranks, "apart": uuids[1:]}
                )
        for (_, parent, code, kind, name), counts in self._counts.items():
            by_count: dict[int, list[int]] = defaultdict(list)
            for rank, (count, part) in sorted(counts.items()):
                if part.end_ns:
                    by_count[count].append(rank)
            if len(by_count) > 1:
                what = kind or name or vocabulary.CLASS_OF_CODE[code].name
                groups = [{"count": count, "ranks": ranks} for count, ranks in sorted(by_count.items())]
                self.disagreements.append({"about": "count", "activity": parent, "name": what, "groups": groups})

    def _close_parts(self, stream: Stream) -> None:
        root = self.roots[stream.source]
        for _, at, record in stream.records:
            if isinstance(record, records.Closed):
                part = self.parts.get((stream.source, record.activity))
                if part:
                    part.close(at, record.outcome)
            elif isinstance(record, records.Ended):
                root.close(at, record.outcome)
                if record.outcome == records.FAILED:
                    self.failures.append(
                        {
                            "rank": stream.source.rank,
                            "attempt": stream.source.attempt,
                            "error": record.error,
                            "reason": record.reason,
                            "time_ns": at,
                        }
                    )

            elif isinstance(record, records.Lost):
                self._lose(stream.source.attempt, at, record)

    def _lose(self, attempt: int, at: int, record: records.Lost) -> None:
        """Note a rank that the run went on without; a second word on it says that its journal was found later."""
        for one in self.lost:
            if (one["attempt"], one["rank"]) == (attempt, record.rank):
                one["adopted"] = one["adopted"] or bool(record.adopted)
                return
        self.lost.append(
            {
                "rank": record.rank,
                "attempt": attempt,
                "adopted": bool(record.adopted),
                "reason": record.reason,
                "time_ns": at,
            }
        )

    def _without(self, attempt: int) -> set[int]:
        """Return the ranks that an attempt went on without."""
        return {one["rank"] for one in self.lost if one["attempt"] == attempt}

    def _say(self) -> None:
        """Make the nodes: one an activity, and one a rank's part in a shared one."""
        of: dict[str, list[tuple[records.Source, Part]]] = {}
        for source, root in self.roots.items():
            of.setdefault(root.uuid, []).append((source, root))
        for (source, _), part in self.parts.items():
            of.setdefault(part.uuid, []).append((source, part))
        for uuid, parts in of.items():
            self._say_one(uuid, parts)

    def _say_one(self, uuid: str, parts: list[tuple[records.Source, Part]]) -> None:
        build, (source, part) = self.builder, parts[0]
        opened = part.opened
        if opened is None or part.parent is None:
            self._say_run(parts)
            return
        times, outcome = _sum_up((p for _, p in parts), self._without(source.attempt))
        self.end_of[uuid] = times.get("end_ns")
        cls = vocabulary.CLASS_OF_CODE[opened.code].name
        extra: dict[str, Any] = {}
        if cls == "LearningStageSectionExecution":
            extra = {"section_kind": opened.section_kind, "section_index": opened.section_index}
            if opened.item_type:
                extra |= {"item": opened.item, "item_type": opened.item_type}
        build.node(cls, uuid, label=opened.name, outcome=outcome, attempt=source.attempt, **times, **extra)
        for _, one in parts:
            build.node(cls, uuid, one.rank)
        build.relate("isPartOf", uuid, part.parent.uuid)
        if cls in vocabulary.below("LearningStageExecution"):
            self.stage_of[uuid] = uuid
            build.relate_where_allowed("hasPart", self.run.uuid, uuid)
        elif part.parent.uuid in self.stage_of:
            self.stage_of[uuid] = self.stage_of[part.parent.uuid]
        if part.own:
            build.relate("wasAssociatedWith", uuid, rank_uuid(self.run, source.attempt, part.rank))
        else:
            self._say_parts(uuid, parts)

    def _say_run(self, parts: list[tuple[records.Source, Part]]) -> None:
        build, run = self.builder, self.run
        cls = "LearningExperimentExecution" if run.phase == "learning" else "WorkflowExecution"
        by_attempt: dict[int, list[tuple[records.Source, Part]]] = {}
        for source, part in sorted(parts, key=lambda one: one[0]):
            by_attempt.setdefault(source.attempt, []).append((source, part))
        spans = {}
        for attempt, members in by_attempt.items():
            without = self._without(attempt)
            times, outcome = _sum_up((part for _, part in members), without)
            known = without.union(part.rank for _, part in members)
            expected = 1 if run.apart else self._sizes[attempt]
            if len(known) < expected and outcome != records.FAILED:  # nobody heard of the others' end
                times.pop("end_ns", None)
                outcome = records.OPEN
            spans[attempt] = times, outcome
        latest = max(by_attempt)
        times, outcome = spans[latest]  # the last attempt decides how the run ended
        times = {**times, "start_ns": min(span["start_ns"] for span, _ in spans.values())}
        if "end_ns" in times:
            times["end_ns"] = max(part.end_ns or part.start_ns for _, part in parts)
        self.end_of[run.uuid] = times.get("end_ns")
        build.node(
            cls, run.uuid, label=run.name, phase=run.phase, run=run.uuid, outcome=outcome, attempt=latest, **times
        )
        for attempt, members in by_attempt.items():
            uuid = attempt_uuid(run, attempt)
            times, outcome = spans[attempt]
            build.node("Attempt", uuid, label=f"attempt {attempt}", outcome=outcome, attempt=attempt, **times)
            for _, part in members:
                build.node(cls, run.uuid, part.rank)
                build.node("Attempt", uuid, part.rank)
            build.relate("isPartOf", uuid, run.uuid)
            self._say_parts(uuid, members)

    def _say_parts(self, whole: str, parts: list[tuple[records.Source, Part]]) -> None:
        by_source: dict[records.Source, list[Part]] = {}
        for source, part in parts:  # a rank that came back to an activity, by its key, has one part in it
            by_source.setdefault(source, []).append(part)
        for source, mine in by_source.items():
            uuid = identity.local(self.run.uuid, "part", whole, source.attempt, source.rank)
            times, outcome = _sum_up(mine)
            self.builder.node(
                "RankExecution",
                uuid,
                source.rank,
                label=f"rank {source.rank}",
                rank=source.rank,
                outcome=outcome,
                attempt=source.attempt,
                **times,
            )
            self.builder.relate("isPartOf", uuid, whole)
            self.builder.relate("wasAssociatedWith", uuid, rank_uuid(self.run, source.attempt, source.rank))
