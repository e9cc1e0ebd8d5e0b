"""Which openings on which ranks are one activity, when it began and ended, and how."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from provml_hpc import identity, records, vocabulary
from provml_hpc.assembly.builder import Builder
from provml_hpc.assembly.frames import Stream
from provml_hpc.assembly.graph import RunInfo


@dataclass
class Part:
    """One rank's part in an activity."""

    uuid: str
    place: str
    """The uuid it would have if no rank disagreed."""
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
        if self.end_ns:
            return
        self.end_ns, self.outcome = at, outcome
        for child in self.children:
            child.close(at, records.LEFT)

    @property
    def resolved(self) -> str:
        """The outcome, with ``left`` replaced by that of what encloses it."""
        if self.outcome != records.LEFT:
            return self.outcome
        around = self.parent.resolved if self.parent else records.OPEN
        return records.COMPLETED if around == records.OPEN else around


def rank_uuid(run: RunInfo, attempt: int, rank: int) -> str:
    """Return the uuid of a rank of an attempt."""
    return identity.local(run.uuid, "rank", attempt, rank)


def attempt_uuid(run: RunInfo, attempt: int) -> str:
    """Return the uuid of an attempt."""
    return identity.local(run.uuid, "attempt", attempt)


class Activities:
    """The activities of a run, found from the openings of all ranks.

    Shared activities are one by their place: the same parent, class, name, and key or k-th opening (sections: kind
    and index). Ranks that opened one with other parameters than the lowest rank did are recorded apart, and listed in
    `disagreements`.
    """

    def __init__(self, run: RunInfo, builder: Builder, streams: Iterable[Stream]) -> None:
        self.run = run
        self.builder = builder
        self.parts: dict[tuple[records.Source, int], Part] = {}
        self.roots: dict[records.Source, Part] = {}
        self.disagreements: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self.stage_of: dict[str, str] = {}
        """The learning stage that an activity is, or is inside of."""
        self._signatures: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        self._counts: dict[tuple[str, int, str, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
        streams = [stream for stream in streams if stream.source.lane == records.RUN_LANE]
        for stream in streams:
            self._open_parts(stream)
        self._part_ways()
        for stream in streams:
            self._close_parts(stream)
        self._say()
        self._list_counts()

    def part(self, source: records.Source, handle: int) -> Part:
        """Return the part that a handle means; 0, or a handle that was lost, means the run."""
        lane0 = source._replace(lane=records.RUN_LANE)
        return self.parts.get((lane0, handle)) or self.roots.get(lane0) or next(iter(self.roots.values()))

    def _open_parts(self, stream: Stream) -> None:
        source, run = stream.source, self.run.uuid
        root = Part(run, run, None, None, source.rank, stream.started_ns)
        self.roots[source] = root
        for sequence, at, record in stream.records:
            if not isinstance(record, records.Opened):
                continue
            parent = self.parts.get((source, record.parent), root)
            own = bool(record.own) or parent.own
            if own:
                place = identity.local(run, "own", source.attempt, source.rank, sequence)
            else:
                place = identity.local(
                    run,
                    "shared",
                    source.attempt,
                    parent.place,
                    record.code,
                    record.name,
                    record.section_kind,
                    record.section_index,
                    ["key", record.key] if record.key else ["opening", record.ordinal],
                )
                self._signatures[place][record.signature].append(source.rank)
                if not record.key:
                    what = (parent.place, record.code, "" if record.section_kind else record.name, record.section_kind)
                    self._counts[what][source.rank] += 1
            part = Part(place, place, record, parent, source.rank, at, own=own)
            parent.children.append(part)
            self.parts[source, sequence] = part

    def _part_ways(self) -> None:
        """Give those that disagree with the lowest rank, and what is inside, uuids of their own."""
        first = {place: next(iter(signatures)) for place, signatures in self._signatures.items()}
        for part in self.parts.values():  # parents come before their children
            if part.own or part.parent is None or part.opened is None:
                continue
            if part.parent.uuid != part.parent.place or part.opened.signature != first[part.place]:
                part.uuid = identity.local(self.run.uuid, "apart", part.place, part.parent.uuid, part.opened.signature)
        for place, signatures in self._signatures.items():
            if len(signatures) > 1:
                name = next(p.opened.name for p in self.parts.values() if p.place == place and p.opened)
                groups = [sorted(set(ranks)) for ranks in signatures.values()]
                self.disagreements.append({"about": "parameters", "activity": place, "name": name, "ranks": groups})

    def _list_counts(self) -> None:
        for (parent, code, name, kind), counts in self._counts.items():
            if len(set(counts.values())) > 1:
                what = kind or name or vocabulary.CLASS_OF_CODE[code].name
                by_count: dict[int, list[int]] = defaultdict(list)
                for rank, count in sorted(counts.items()):
                    by_count[count].append(rank)
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
        self.failures.sort(key=lambda failure: failure["time_ns"])

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
        times: dict[str, Any] = {"start_ns": min(p.start_ns for _, p in parts)}
        if all(p.end_ns for _, p in parts):
            times["end_ns"] = max(p.end_ns for _, p in parts)
        outcomes = {p.resolved for _, p in parts}
        outcome = next((o for o in (records.FAILED, records.OPEN) if o in outcomes), records.COMPLETED)
        if opened is None:
            self._say_run(parts, times, outcome)
            return
        cls = vocabulary.CLASS_OF_CODE[opened.code].name
        extra: dict[str, Any] = {}
        if opened.section_kind:
            extra = {"section_kind": opened.section_kind, "section_index": opened.section_index}
            if opened.item_type:
                extra |= {"item": opened.item, "item_type": opened.item_type}
        build.node(cls, uuid, label=opened.name, outcome=outcome, attempt=source.attempt, **times, **extra)
        for _, one in parts:
            build.node(cls, uuid, one.rank)
        assert part.parent is not None
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

    def _say_run(self, parts: list[tuple[records.Source, Part]], times: dict[str, Any], outcome: str) -> None:
        build, run = self.builder, self.run
        cls = "LearningExperimentExecution" if run.phase == "learning" else "WorkflowExecution"
        latest = max(source.attempt for source, _ in parts)
        final = [part for source, part in parts if source.attempt == latest]
        if len(final) < len(parts):  # the last attempt decides how the run ended
            outcomes = {p.resolved for p in final}
            outcome = next((o for o in (records.FAILED, records.OPEN) if o in outcomes), records.COMPLETED)
            if all(p.end_ns for p in final):
                times["end_ns"] = max(p.end_ns or p.start_ns for _, p in parts)
        build.node(
            cls, run.uuid, label=run.name, phase=run.phase, run=run.uuid, outcome=outcome, attempt=latest, **times
        )
        by_attempt: dict[int, list[tuple[records.Source, Part]]] = {}
        for source, part in parts:
            build.node(cls, run.uuid, part.rank)
            by_attempt.setdefault(source.attempt, []).append((source, part))
        for attempt, members in by_attempt.items():
            uuid = attempt_uuid(run, attempt)
            span: dict[str, Any] = {"start_ns": min(p.start_ns for _, p in members)}
            if all(p.end_ns for _, p in members):
                span["end_ns"] = max(p.end_ns for _, p in members)
            results = {p.resolved for _, p in members}
            result = next((o for o in (records.FAILED, records.OPEN) if o in results), records.COMPLETED)
            build.node("Attempt", uuid, label=f"attempt {attempt}", outcome=result, attempt=attempt, **span)
            for _, part in members:
                build.node("Attempt", uuid, part.rank)
            build.relate("isPartOf", uuid, run.uuid)
            self._say_parts(uuid, members)

    def _say_parts(self, whole: str, parts: list[tuple[records.Source, Part]]) -> None:
        build = self.builder
        for source, part in parts:
            uuid = identity.local(self.run.uuid, "part", whole, source.attempt, part.rank)
            times = {"end_ns": part.end_ns} if part.end_ns else {}
            build.node(
                "RankExecution",
                uuid,
                part.rank,
                label=f"rank {part.rank}",
                rank=part.rank,
                start_ns=part.start_ns,
                outcome=part.resolved,
                attempt=source.attempt,
                **times,
            )
            build.relate("isPartOf", uuid, whole)
            build.relate("wasAssociatedWith", uuid, rank_uuid(self.run, source.attempt, part.rank))

    def describe(self) -> str:
        """Return the disagreements as JSON text, for the file."""
        return json.dumps(self.disagreements)
