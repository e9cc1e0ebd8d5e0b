"""All that is said of activities and entities: usage, settings, measures, people, places and plans."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import suppress
from typing import Any

from provml_hpc import identity, records, vocabulary
from provml_hpc.assembly.activities import Activities, rank_uuid
from provml_hpc.assembly.builder import Builder
from provml_hpc.assembly.code import say_code
from provml_hpc.assembly.collections import say_contents
from provml_hpc.assembly.entities import Entities
from provml_hpc.assembly.frames import Stream
from provml_hpc.assembly.graph import RunInfo

_KNOB = {
    "LearningHyperparameterValue": "LearningHyperparameter",
    "ModelHyperparameterValue": "ModelHyperparameter",
    "AttributeValue": "Attribute",
}


class Statements:
    """Adds what the records say to a builder that has the activities and entities already."""

    def __init__(
        self, run: RunInfo, builder: Builder, activities: Activities, entities: Entities, streams: list[Stream]
    ) -> None:
        self.run, self.build, self.activities, self.entities = run, builder, activities, entities
        self.facts: dict[int, dict[str, str]] = defaultdict(dict)
        """For each attempt its facts of scope ``run``, by name."""
        self.costs: dict[str, dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
        """The capture's own cost: for each figure the values of each rank, by attempt."""
        self.drops: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.packages: dict[int, dict[str, str]] = defaultdict(dict)
        self.disagreements: list[dict[str, Any]] = []
        self._derived_from: dict[str, list[str]] = defaultdict(list)
        self._origins: set[str] = set()
        self._names: dict[tuple[str, str, str], str] = {}
        self._times_said: dict[tuple[Any, ...], int] = defaultdict(int)
        self._read_in: dict[str, dict[str, None]] = defaultdict(dict)
        self._tasks: dict[str, dict[str, None]] = defaultdict(dict)
        self._first_on: dict[tuple[int, str], int] = {}
        """The lowest rank on each node of an attempt, which has what was found out about the node."""
        self._node_of: dict[tuple[int, int], str] = {}
        for stream in streams:
            if stream.source.lane == records.RUN_LANE:
                self._rank(stream)
        for stream in streams:
            for sequence, at, record in stream.records:
                self._say(stream.source, sequence, at, record)
        self._plans()
        self._define_tasks()
        say_code(run, builder, activities, self.facts, self.packages)
        say_contents(builder, entities)

    def _named(self, cls: str, name: str, scope: str = "", **fields: Any) -> str:
        uuid = self._names.get((cls, name, scope))
        if uuid is None:
            uuid = self._names[cls, name, scope] = identity.named(self.run.authority, cls, name, scope)
        return self.build.node(cls, uuid, label=name, **fields)

    def _rank(self, stream: Stream) -> None:
        attempt, rank, _ = stream.source
        job = self._job(attempt)
        self._node_of[attempt, rank] = stream.start.host
        lowest = self._first_on.setdefault((attempt, stream.start.host), rank)
        self._first_on[attempt, stream.start.host] = min(lowest, rank)
        uuid = self.build.node(
            "Rank",
            rank_uuid(self.run, attempt, rank),
            label=f"rank {rank}",
            rank=rank,
            pid=stream.start.pid,
            attempt=attempt,
        )
        self.build.relate("actedOnBehalfOf", uuid, job)
        if stream.start.host:
            self.build.relate("atLocation", uuid, self._named("ComputeNode", stream.start.host))

    def _job(self, attempt: int) -> str:
        uuid = identity.local(self.run.uuid, "job", attempt)
        return self.build.node("Job", uuid, label=f"{self.run.name}, attempt {attempt}", attempt=attempt)

    def _say(self, source: records.Source, sequence: int, at: int, record: records.Record) -> None:
        match record:
            case records.Used():
                self._used(source, at, record)
            case records.Named():
                self._value(source, at, record)
            case records.Evaluated():
                self._evaluated(source, at, record)
            case records.Derived():
                self._derived(source, record)
            case records.Member():
                ends = self._entity(source, record.collection), self._entity(source, record.entity)
                if ends[0] and ends[1] and ends[0] != ends[1]:
                    self.build.relate("hadMember", ends[0], ends[1], source.rank)
            case records.Associated():
                self._associated(source, record)
            case records.Fact() if not record.device:
                self._fact(source, record)
            case records.Opened() if source.lane == records.RUN_LANE:
                self._opened(source, sequence, record)
            case records.Dropped():
                self._dropped(source, record)
            case records.Continued():
                if record.run != self.run.uuid:  # it goes on in its own file by resuming
                    other = self.build.node("WorkflowExecution", record.run, run=record.run)
                    self.build.relate("wasInformedBy", self.run.uuid, other)
            case _:
                pass

    def _dropped(self, source: records.Source, record: records.Dropped) -> None:
        if not record.lost:  # a kill came between the record and its first count
            return
        what = {
            "rank": source.rank,
            "attempt": source.attempt,
            "reason": record.reason,
            "name": record.name,
            "activity": self._activity(source, record.activity),
        }
        # A rank begins anew with each flush point.
        one = self.drops.setdefault(tuple(what.values()), {**what, "count": 0})
        one["count"] += record.lost

    def _activity(self, source: records.Source, handle: int) -> str:
        return self.activities.part(source, handle).uuid

    def _entity(self, source: records.Source, handle: int) -> str | None:
        return self.entities.of.get((source._replace(lane=records.RUN_LANE), handle)) if handle else None

    def _into_stage(self, name: str, activity: str, target: str) -> None:
        """Say the ML-Schema relation of the stage that an activity is or is inside of, where ML-Schema allows it."""
        stage = self.activities.stage_of.get(activity)
        if stage:
            self.build.relate_where_allowed(name, stage, target)

    def _used(self, source: records.Source, at: int, record: records.Used) -> None:
        entity = self._entity(source, record.entity)
        if entity is None:
            return
        activity = self._activity(source, record.activity)
        # A rank may name what another one is about to make; it cannot have read it before that.
        at = max(self.activities.within(activity, at), self.entities.made_at.get(entity, 0))
        self.build.relate("used", activity, entity, source.rank, parted=record.role, role=record.role, time_ns=at)
        self._into_stage("hasInput", activity, entity)
        if stage := self.activities.stage_of.get(activity):
            self._read_in[stage][entity] = None

    def _value(self, source: records.Source, at: int, record: records.Named) -> None:
        activity = self._activity(source, record.activity)
        entity = self._entity(source, record.entity)
        about = entity or activity
        at = self.activities.within(activity, at)
        cls = self._class_of_value(record, entity)
        uuid = identity.local(self.run.uuid, "value", about, cls, record.name, record.type, record.text)
        self.build.node(
            cls, uuid, source.rank, label=record.name, value=record.text, value_type=record.type, attempt=source.attempt
        )
        if cls == "DatasetCharacteristic":
            self.build.relate("hasQuality", about, uuid)
            return
        if cls == "AttributeValue":
            if record.used:
                self.build.relate("used", activity, uuid, source.rank, time_ns=at)
            else:
                self.build.relate("hasAttribute", about, uuid)
            self.build.relate("valueOf", uuid, self._named("Attribute", record.name))
            return
        self.build.relate("specifiedBy", uuid, self._named(_KNOB[cls], record.name))
        if entity:
            self.build.relate_where_allowed("hasSetting", entity, uuid)
        self.build.relate("used", activity, uuid, source.rank, time_ns=at)
        self._into_stage("hasInput", activity, uuid)

    def _class_of_value(self, record: records.Named, entity: str | None) -> str:
        """Return the class of a value: an AttributeValue where the declared one is unknown here or has no place."""
        cls = vocabulary.CLASS_OF_CODE.get(record.code)
        if cls is None or (cls.name not in _KNOB and cls.name != "DatasetCharacteristic"):
            return "AttributeValue"
        if cls.name == "DatasetCharacteristic" and not (
            entity and vocabulary.allows(("Dataset",), self.build.class_of(entity) or "Model")
        ):
            return "AttributeValue"
        return cls.name

    def _evaluated(self, source: records.Source, at: int, record: records.Evaluated) -> None:
        activity = self._activity(source, record.activity)
        at = self.activities.within(activity, at)
        on, model = self._entity(source, record.on), self._entity(source, record.model)
        said = (source.attempt, activity, record.name, record.step, on or "", model or "")
        self._times_said[(source, *said)] += 1
        uuid = identity.local(
            self.run.uuid, "evaluation", *said, record.type, record.text, self._times_said[(source, *said)]
        )
        step = {} if record.step == records.NO_STEP else {"step": record.step}
        self.build.node(
            "ModelEvaluation",
            uuid,
            source.rank,
            label=record.name,
            value=record.text,
            value_type=record.type,
            time_ns=at,
            attempt=source.attempt,
            **step,
        )
        row = self.build.row(uuid)
        row["time_ns"] = min(row["time_ns"], at)
        self.build.relate("wasGeneratedBy", uuid, activity, source.rank, time_ns=at)
        self.build.relate("specifiedBy", uuid, self._named("EvaluationMeasure", record.name))
        self._into_stage("hasOutput", activity, uuid)
        if model:
            self.build.relate_where_allowed("ofModel", uuid, model)
        if on:
            self.build.relate_where_allowed("onData", uuid, on)

    def _derived(self, source: records.Source, record: records.Derived) -> None:
        new, old = self._entity(source, record.entity), self._entity(source, record.source)
        if new is None or old is None or new == old:
            return
        if old not in self._derived_from[new]:
            if self._comes_from(old, new):
                self.disagreements.append(
                    {
                        "about": "derivation",
                        "activity": "",
                        "name": self.build.row(new)["label"],
                        "ranks": [source.rank],
                    }
                )
                return
            self._derived_from[new].append(old)
            self._origins.add(old)
        self.build.relate("wasDerivedFrom", new, old)
        if record.revision:
            self.build.relate("wasRevisionOf", new, old)

    def _comes_from(self, one: str, other: str) -> bool:
        """Tell whether a version was derived from another, directly or not: ranks that disagree may say both ways."""
        seen, waiting = set(), [one]
        if other not in self._origins:  # the usual case: nothing was made from it yet
            return False
        while waiting:
            this = waiting.pop()
            if this == other:
                return True
            if this not in seen:
                seen.add(this)
                waiting += self._derived_from.get(this, ())
        return False

    def _associated(self, source: records.Source, record: records.Associated) -> None:
        identifier = record.identifier or record.name
        cls = "Organization" if record.organization else "Persona"
        person = self.build.node(
            cls,
            identity.named(self.run.authority, cls, identifier),
            label=record.name,
            identifier=identifier,
        )
        if record.entity:
            if entity := self._entity(source, record.entity):
                self.build.relate("wasAttributedTo", entity, person)
            return
        activity = self._activity(source, record.activity)
        plan = self._plan_of(activity)
        self.build.relate("wasAssociatedWith", activity, person, parted=record.role, role=record.role, plan=plan)
        if activity == self.run.uuid:
            self.build.relate("actedOnBehalfOf", self._job(source.attempt), person)

    def _fact(self, source: records.Source, record: records.Fact) -> None:
        if record.scope == "capture":
            with suppress(ValueError):
                self.costs[record.name][source.rank][source.attempt] = float(record.text)
            return
        if record.scope == "package":
            self.packages[source.attempt].setdefault(record.name, record.text)
            return
        rank = source.rank
        if record.scope == "run":
            about = self.run.uuid
            self.facts[source.attempt].setdefault(record.name, record.text)
            if record.name == "scheduler.job_id":
                self.build.row(self._job(source.attempt))["identifier"] = record.text
        else:
            if record.scope == "node":  # ranks that do not speak to each other all tell of it
                node = self._node_of.get((source.attempt, source.rank), "")
                rank = self._first_on.get((source.attempt, node), rank)
            about = rank_uuid(self.run, source.attempt, rank)
        uuid = identity.local(self.run.uuid, "value", about, "AttributeValue", record.name, record.type, record.text)
        self.build.node(
            "AttributeValue",
            uuid,
            rank,
            label=record.name,
            value=record.text,
            value_type=record.type,
            attempt=source.attempt,
        )
        self.build.relate("hasAttribute", about, uuid)
        self.build.relate("valueOf", uuid, self._named("Attribute", record.name))

    def _opened(self, source: records.Source, sequence: int, record: records.Opened) -> None:
        activity = self._activity(source, sequence)
        if self.build.class_of(activity) not in vocabulary.below("LearningStageExecution"):
            # ML-Schema has tasks and algorithms for its runs alone; elsewhere they are facts like others.
            for name, text in (("task", record.task), ("algorithm", record.algorithm)):
                if text:
                    code = vocabulary.CLASS["AttributeValue"].code
                    self._value(source, 0, records.Named(code, sequence, 0, 0, name, "text", text))
            return
        if record.task:
            task = self._named("LearningTask", record.task)
            self.build.relate("achieves", activity, task)
            self._tasks[activity][task] = None
        if record.algorithm:
            self.build.relate("realizes", activity, self._named("Algorithm", record.algorithm))
        if record.measures or record.procedure:
            self._assessed(activity, _names(record.measures), record.procedure)

    def _assessed(self, stage: str, measures: list[str], procedure: str) -> None:
        """Say by which measures, taken how, what a stage makes is judged."""
        label = " by ".join(filter(None, (", ".join(measures), procedure)))
        specification = self._named("EvaluationSpecification", label, json.dumps([measures, procedure]))
        for name in measures:
            self.build.relate("hasPart", specification, self._named("EvaluationMeasure", name))
        if procedure:
            self.build.relate("hasPart", specification, self._named("EvaluationProcedure", procedure))
        self.build.relate("assessedBy", stage, specification)
        self._read_in[stage][specification] = None

    def _define_tasks(self) -> None:
        """Say what each task is set on: the data that its stages read, and how their results are judged."""
        for stage, tasks in self._tasks.items():
            for task in tasks:
                for target in self._read_in.get(stage, ()):
                    self.build.relate_where_allowed("definedOn", task, target)

    def _plan_of(self, activity: str) -> str | None:
        cls = self.build.class_of(activity)
        plan = vocabulary.PLAN_OF.get(cls or "")
        if plan is None:
            return None
        row = self.build.row(activity)
        if activity == self.run.uuid:
            return self._named(plan, self.run.name)
        name = row.get("section_kind") or row["label"]
        return self._named(plan, name, self.run.name)

    def _plans(self) -> None:
        """Put the plan beside every activity that has one, and the plans into the experiment and its study."""
        experiment = self._plan_of(self.run.uuid)
        assert experiment is not None
        wholes: dict[str, set[str]] = defaultdict(set)
        for (source, _), part in list(self.activities.parts.items()):
            plan = self._plan_of(part.uuid)
            if plan is None:
                continue
            self.build.relate("wasAssociatedWith", part.uuid, self._job(source.attempt), plan=plan)
            around = self._plan_of(part.parent.uuid) if part.parent else None
            # A training within a fold of one of the same name has its plan, which cannot be part of its own part.
            if around and around not in wholes[plan] and not _reaches(wholes, around, plan):
                wholes[plan].add(around)
                self.build.relate("isPartOf", plan, around)
        for source in self.activities.roots:
            self.build.relate("wasAssociatedWith", self.run.uuid, self._job(source.attempt), plan=experiment)
        if self.run.study:
            self.build.relate("hadMember", self._named("Study", self.run.study), experiment)


def _names(text: str) -> list[str]:
    """Return the names of a JSON list; none of what a damaged record holds."""
    try:
        names = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _reaches(edges: dict[str, set[str]], start: str, end: str) -> bool:
    """Tell whether a way leads from one to the other."""
    seen, waiting = {start}, [start]
    while waiting:
        one = waiting.pop()
        if one == end:
            return True
        for other in edges.get(one, ()):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return False
