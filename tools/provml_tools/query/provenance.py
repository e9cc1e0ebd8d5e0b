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
from dataclasses import dataclass
from typing import NamedTuple

from provml_hpc import vocabulary
from provml_tools.query.engine import Engine
from provml_tools.query.relations import Relations
from provml_tools.query.things import Thing

_STAGES = vocabulary.below("LearningStageExecution")
_SECTION = "LearningStageSectionExecution"
_ALWAYS = 2**63


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


class Provenance(Relations):
    """All steps of the loaded runs, ready to be followed."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._shared: dict[str, dict[str, int | None]] = {}

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


def _keep_first(times: dict[str, int | None], iri: str, at: int | None) -> None:
    """Keep the earliest time; one that is not known may be any, and so comes before all others."""
    if iri not in times or at is None:
        times[iri] = at
    elif (known := times[iri]) is not None:
        times[iri] = min(at, known)
