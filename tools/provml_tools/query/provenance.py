"""What a thing came from, step by step, across jobs.

The steps are said in RDF (``queries/parts/steps.rq``). How they are followed:

- Data came from what it was *derived from* (as the user said), from the *members* of a collection, and from the
  activity that *generated* it; an activity from the data that it and its parts *used*.
- **Across jobs** the way leads through the Content alone: data that a job found and did not make has the *same bytes*
  as data that some job made **before** it was used. Empty files have no Content here, so they never join.
- What a learning stage made at one moment came from what it had used until then, and not from what it used later. Its
  sections share what the stage used and what went before, except the sections of kinds that run apart from each other,
  such as folds. What an evaluation read does not go into a model, and neither does a model that a validation read.
- An activity that names no data of its own takes what was named for the whole that it is part of.
- Where the making of data was said in detail, by derivations or by the members of a collection, the parts of a making
  activity (other than a learning stage) do not count again.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from provml_hpc import vocabulary
from provml_tools.query.answer import most_special
from provml_tools.query.engine import Engine, Row, Value
from provml_tools.query.named import part

_STAGES = vocabulary.below("LearningStageExecution")
_SECTION = "LearningStageSectionExecution"
_ALWAYS = 2**63


@dataclass
class Thing:
    """A run, an activity, or a version of data, with what a person knows it by."""

    iri: str
    cls: str = ""
    name: str = ""
    path: str = ""
    select: str = ""
    digest: str = ""
    algorithm: str = ""
    size: int | None = None
    start: int | None = None
    end: int | None = None
    outcome: str = ""
    section_kind: str = ""
    section_index: int | None = None
    step: int | None = None
    phase: str = ""
    facts: dict[str, dict[str, Value]] = field(default_factory=dict)
    """Parameters, attributes and characteristics, by those words."""

    @property
    def details(self) -> dict[str, Value]:
        """All facts by name."""
        found: dict[str, Value] = {}
        # The facts of a run, from its host to its packages, are too many to be details of it.
        is_run = vocabulary.allows(("WorkflowExecution",), self.cls)
        for kind in ("parameter", "characteristic") if is_run else ("parameter", "characteristic", "attribute"):
            for name, value in self.facts.get(kind, {}).items():
                found.setdefault(name, value)
        return found


class Node(NamedTuple):
    """A place on the way back: data, or the making of data by an activity.

    `until` limits a making to what was used until then; `whole` says whether the parts of the activity count.
    """

    iri: str
    making: bool = False
    until: int = _ALWAYS
    whole: bool = True


class Step(NamedTuple):
    """One step back, with what it is called and the time it was said for."""

    to: Node
    how: str


@dataclass
class Reached:
    """Something on the way back from a start."""

    thing: Thing
    distance: int
    how: str
    parent: str
    """The IRI of what it was reached from; empty for the start."""


class Provenance:
    """All steps of the loaded runs, ready to be followed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.things = _things(engine)
        self._generated: dict[str, dict[str, int | None]] = defaultdict(dict)
        self._used: dict[str, dict[str, int | None]] = defaultdict(dict)
        self._users: dict[str, dict[str, int | None]] = defaultdict(dict)
        self._derived: dict[str, list[str]] = defaultdict(list)
        self._members: dict[str, list[str]] = defaultdict(list)
        self._collections: dict[str, list[str]] = defaultdict(list)
        self._wholes: dict[str, list[str]] = defaultdict(list)
        self._parts: dict[str, list[str]] = defaultdict(list)
        self._shared: dict[str, dict[str, int | None]] = {}
        self.content: dict[str, list[str]] = defaultdict(list)
        self.versions: dict[str, list[str]] = defaultdict(list)
        for row in engine.select(part("steps")):
            self._take(str(row["kind"]), str(row["from"]), str(row["to"]), row["time"])
        # The store gives rows in no order that means anything; answers are to be the same each time.
        for table in (self._derived, self._members, self._collections, self._wholes, self._parts, self.versions):
            for found in table.values():
                found.sort(key=self._order)

    def _take(self, kind: str, one: str, other: str, time: Value) -> None:
        if kind in ("generated", "used"):
            at = time if isinstance(time, int) else None
            if kind == "generated":
                _keep_earliest(self._generated[one], other, at)
            else:
                _keep_earliest(self._used[one], other, at)
                _keep_earliest(self._users[other], one, at)
        elif kind == "derived":
            self._derived[one].append(other)
        elif kind == "member":
            self._members[one].append(other)
            self._collections[other].append(one)
        elif kind == "part":
            self._wholes[one].append(other)
            self._parts[other].append(one)
        elif kind == "content":
            self.content[one].append(other)
            self.versions[other].append(one)

    def _order(self, iri: str) -> tuple[int, str, str]:
        thing = self.things.get(iri)
        return (thing.start or 0, thing.name, iri) if thing else (0, "", iri)

    def thing(self, iri: str) -> Thing:
        """Return what is known of a node."""
        return self.things.get(iri) or Thing(iri)

    def load_facts(self) -> None:
        """Attach parameters, attributes and characteristics to the things they belong to."""
        for row in self._engine.select(part("facts")):
            thing = self.things.get(str(row["thing"]))
            if thing is not None:
                thing.facts.setdefault(str(row["kind"]), {}).setdefault(str(row["name"]), row["value"])
        # What one job knows of some bytes is known of them wherever they are.
        for found in self.versions.values():
            known: dict[str, Value] = {}
            for iri in found:
                known |= self.thing(iri).facts.get("characteristic", {})
            if known:
                for iri in found:
                    self.thing(iri).facts.setdefault("characteristic", {})
                    self.thing(iri).facts["characteristic"] = known | self.thing(iri).facts["characteristic"]

    def generations(self, iri: str) -> dict[str, int | None]:
        """Return the activities that generated data, each with the time, int64 nanoseconds since the epoch."""
        return self._generated.get(iri, {})

    def made_at(self, iri: str) -> int | None:
        """Return when data was generated, as far as that is known; a collection, when the last of its members was."""
        for activity, time in self.generations(iri).items():
            return time if time is not None else self.thing(activity).end
        times = [self.made_at(one) for one in self._members.get(iri, ()) if self.generations(one)]
        return max((time for time in times if time is not None), default=None)

    def is_made(self, iri: str) -> bool:
        """Tell whether some job made data, or members of it."""
        return bool(self.generations(iri)) or any(self.generations(one) for one in self._members.get(iri, ()))

    def used_at(self, iri: str) -> int | None:
        """Return when data, or a collection that it belongs to, was first used."""
        times = [time for one in (iri, *self._collections.get(iri, ())) for time in self._users.get(one, {}).values()]
        return min((time for time in times if time is not None), default=None)

    def uses(self, activity: str) -> dict[str, int | None]:
        """Return the data that an activity itself used, each with the time."""
        return self._used.get(activity, {})

    def users(self, iri: str) -> dict[str, int | None]:
        """Return the activities that used data, each with the time."""
        return self._users.get(iri, {})

    def collections(self, iri: str) -> list[str]:
        """Return the collections that data belongs to."""
        return self._collections.get(iri, [])

    def wholes(self, activity: str) -> list[str]:
        """Return an activity and all that it is part of, nearest first."""
        found = {activity: None}
        queue = deque([activity])
        while queue:
            for whole in self._wholes.get(queue.popleft(), ()):
                if whole not in found:
                    found[whole] = None
                    queue.append(whole)
        return list(found)

    def parts(self, activity: str) -> list[str]:
        """Return the direct parts of an activity, in order of start."""
        return self._parts.get(activity, [])

    def run_of(self, iri: str) -> Thing | None:
        """Return the run that a thing belongs to."""
        activities = [iri] if self.thing(iri).start is not None or iri in self._wholes else []
        seen = {iri}
        queue = deque([iri])
        while queue and not activities:
            one = queue.popleft()
            activities = [*self.generations(one), *self.users(one)]
            for other in (*self._collections.get(one, ()), *self._members.get(one, ())):
                if other not in seen:
                    seen.add(other)
                    queue.append(other)
        for activity in activities[:1]:
            for whole in self.wholes(activity):
                if vocabulary.allows(("WorkflowExecution",), self.thing(whole).cls):
                    return self.thing(whole)
        return None

    def origins(self, iri: str) -> list[str]:
        """Return the versions, made by some job before this one was used, that have the same bytes."""
        if self.is_made(iri):
            return []
        before = self.used_at(iri)
        found = []
        for content in self.content.get(iri, ()):
            for other in self.versions[content]:
                if other != iri and self.is_made(other):
                    made = self.made_at(other)
                    if before is None or made is None or made < before:
                        found.append(other)
        return found

    def same_bytes(self, iri: str) -> list[str]:
        """Return all versions with the same bytes, this one first; empty files are not the same."""
        found = {iri: None}
        for content in self.content.get(iri, ()):
            found |= dict.fromkeys(self.versions[content])
        return list(found)

    def back(self, node: Node) -> Iterator[Step]:
        """Yield the steps from a node to what it came from directly."""
        if node.making:
            yield from self._inputs(node)
            return
        iri = node.iri
        for other in self._derived.get(iri, ()):
            yield Step(Node(other), "derived from")
        for other in self._members.get(iri, ()):
            yield Step(Node(other), "with the member")
        if self.generations(iri):
            for activity in self.generations(iri):
                yield Step(self._making(iri, activity), "made by")
            return
        origins = self.origins(iri)
        for other in origins:
            yield Step(Node(other), "same bytes as")
        if not origins:
            # A file of a folder that was made as a whole.
            for collection in self._collections.get(iri, ()):
                for whole in (collection, *self.origins(collection)):
                    for activity in self.generations(whole):
                        yield Step(self._making(whole, activity), "made, with its folder, by")

    def _making(self, iri: str, activity: str) -> Node:
        cls = self.thing(activity).cls
        learning = cls in _STAGES or cls == _SECTION
        until = self.made_at(iri) if learning or self.thing(iri).cls == "Model" else None
        said = bool(self._derived.get(iri)) or any(
            self.generations(one) or self._derived.get(one) for one in self._members.get(iri, ())
        )
        return Node(activity, True, _ALWAYS if until is None else until, learning or not said)

    def _inputs(self, node: Node) -> Iterator[Step]:
        found = {iri: time or 0 for iri, time in self._scope(node).items() if time is None or time <= node.until}
        if not any(self.thing(iri).cls != "Model" for iri in found):
            for whole in self.wholes(node.iri)[1:]:
                more = {i: t or 0 for i, t in self.uses(whole).items() if t is None or t <= node.until}
                if more:
                    found = more | found
                    break
        for iri in sorted(found, key=lambda one: (found[one], self._order(one))):
            yield Step(Node(iri), "used")

    def _scope(self, node: Node) -> dict[str, int | None]:
        """Return what went into a making, with the first time that it was used."""
        found: dict[str, int | None] = dict(self.uses(node.iri))
        if node.whole:
            self._add_uses(found, self._inner(node.iri))
        below, here = node.iri, self.thing(node.iri)
        while here.cls == _SECTION and self._wholes.get(below):
            above = self._wholes[below][0]
            for iri, time in self._around(above).items():
                _keep_first(found, iri, time)
            below, here = above, self.thing(above)
        return found

    def _around(self, above: str) -> dict[str, int | None]:
        """Return what an activity and its parts used, which its sections share: found once, however many they are."""
        known = self._shared.get(above)
        if known is None:
            known = self._shared[above] = dict(self.uses(above))
            for one in self.parts(above):
                thing = self.thing(one)
                apart = thing.cls == _SECTION and thing.section_kind.lower() in vocabulary.APART
                if not apart and thing.cls != "EvaluationExecution":
                    self._add_uses(known, [one, *self._inner(one)])
        return known

    def _add_uses(self, found: dict[str, int | None], activities: Iterable[str]) -> None:
        for activity in activities:
            validates = self.thing(activity).cls == "ValidationExecution"
            for iri, time in self.uses(activity).items():
                # A validation inside a training reads the model to try it, and nothing learns from that.
                if not (validates and self.thing(iri).cls == "Model"):
                    _keep_first(found, iri, time)

    def _inner(self, activity: str) -> Iterator[str]:
        stack = list(reversed(self.parts(activity)))
        while stack:
            one = stack.pop()
            if self.thing(one).cls != "EvaluationExecution":
                yield one
                stack.extend(reversed(self.parts(one)))

    def lineage(self, starts: Iterable[str], steps: dict[tuple[str, str], str] | None = None) -> list[Reached]:
        """Return all that some data came from, nearest first, each thing once.

        Parameters
        ----------
        starts
            The data.
        steps
            Filled with every step that was taken, from a thing to what it came from, and what the step is called.
        """
        found: dict[str, Reached] = {}
        queue: deque[tuple[Node, int]] = deque()
        for iri in starts:
            found[iri] = Reached(self.thing(iri), 0, "", "")
            queue.append((Node(iri), 0))
        seen = {node for node, _ in queue}
        while queue:
            node, distance = queue.popleft()
            for step in self.back(node):
                if steps is not None:
                    steps.setdefault((node.iri, step.to.iri), step.how)
                if step.to.iri not in found:
                    found[step.to.iri] = Reached(self.thing(step.to.iri), distance + 1, step.how, node.iri)
                if step.to not in seen:
                    seen.add(step.to)
                    queue.append((step.to, distance + 1))
        return list(found.values())

    def impact(self) -> dict[Node, list[Node]]:
        """Return every step that leads to some data, turned around: from what was used to what came of it."""
        forth: dict[Node, list[Node]] = defaultdict(list)
        seen = {Node(iri) for iri in (*self._generated, *self._derived, *self._users, *self._members)}
        stack = list(seen)
        while stack:
            node = stack.pop()
            for step in self.back(node):
                forth[step.to].append(node)
                if step.to not in seen:
                    seen.add(step.to)
                    stack.append(step.to)
        return forth


def _keep_earliest(times: dict[str, int | None], iri: str, at: int | None) -> None:
    known = times.get(iri)
    times[iri] = at if known is None else known if at is None else min(at, known)


def _keep_first(times: dict[str, int | None], iri: str, at: int | None) -> None:
    """Keep the earliest time; one that is not known may be any, and so comes before all others."""
    if iri not in times or at is None:
        times[iri] = at
    elif (known := times[iri]) is not None:
        times[iri] = min(at, known)


def _things(engine: Engine) -> dict[str, Thing]:
    classes: dict[str, list[str]] = defaultdict(list)
    rows: dict[str, Row] = {}
    for row in engine.select(part("things")):
        classes[str(row["thing"])].append(str(row["class"]))
        rows[str(row["thing"])] = row
    found = {}
    for iri in sorted(rows):
        row = rows[iri]
        found[iri] = Thing(
            iri,
            most_special(classes[iri]),
            name=_text(row["name"]),
            path=_text(row["path"]),
            select=_text(row["select"]),
            digest=_text(row["digest"]),
            algorithm=_text(row["algorithm"]),
            size=_number(row["size"]),
            start=_number(row["startNs"]),
            end=_number(row["endNs"]),
            outcome=_text(row["outcome"]),
            section_kind=_text(row["sectionKind"]),
            section_index=_number(row["sectionIndex"]),
            step=_number(row["step"]),
            phase=_text(row["phase"]),
        )
    return found


def _text(value: Value) -> str:
    return "" if value is None else str(value)


def _number(value: Value) -> int | None:
    return value if isinstance(value, int) else None
