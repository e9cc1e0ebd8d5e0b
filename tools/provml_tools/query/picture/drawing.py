"""What is in the picture of a lineage: a lane for each job, boxes for data, models and activities, and arrows.

The same bytes in two jobs are one box, in the lane of the job that made them. What is alike is one box with a count
(see `provml_tools.query.folding`), and so are many files that have the same part in the same steps. An arrow that only
repeats what a way through an activity says is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from provml_hpc import vocabulary
from provml_tools.query.answer import kind_of, when
from provml_tools.query.folding import fold, name_of
from provml_tools.query.provenance import Provenance, Reached
from provml_tools.query.things import Thing

CROWD = 6
"""More boxes than this that have the same part in the same steps are one."""

DATA, FEATURES, MODEL, STEP, LEARNING = "data", "features", "model", "step", "learning"
_SECTION = "LearningStageSectionExecution"


@dataclass
class Box:
    """Something in the picture; `lane` and the ends of arrows are places in the lists of the drawing."""

    title: str
    kind: str
    what: str
    """The kind in words: "learning dataset"."""
    lane: int
    count: int = 1
    details: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    path: str = ""
    start: bool = False
    """Whether it is the model that the question is about."""

    @property
    def is_activity(self) -> bool:
        """Whether something was done, rather than made or read."""
        return self.kind in (STEP, LEARNING)


@dataclass
class Lane:
    """One job."""

    name: str
    phase: str
    who: str
    when: str


@dataclass
class Drawing:
    """A picture before it has a size. Arrows go from what was there to what was made of it."""

    title: str
    boxes: list[Box]
    arrows: list[tuple[int, int]]
    lanes: list[Lane]


def draw(
    known: Provenance,
    people: Mapping[str, Mapping[str, list[str]]],
    start: str,
    measured: Mapping[str, Any] | None = None,
) -> Drawing:
    """Return the picture of all that a model came from.

    Parameters
    ----------
    known
        The runs, with their facts loaded.
    people
        The persons of each activity, by its IRI.
    start
        The IRI of the model.
    measured
        What was measured on it, by name.
    """
    steps: dict[tuple[str, str], str] = {}
    reached = known.lineage([start], steps)
    same = _SameBytes(steps)
    start = same.find(start)
    groups = fold(known, [one for one in reached if same.find(one.thing.iri) == one.thing.iri], start)
    arrows = {(same.find(to), same.find(of)): how for (of, to), how in steps.items() if same.find(of) != same.find(to)}
    groups = _crowds(known, groups, arrows, start)
    place = {one.thing.iri: at for at, group in enumerate(groups) for one in group}
    drawing = Drawing(known.thing(start).name, [], [], [])
    lanes: dict[str, int] = {}
    for group in groups:
        run = known.run_of(group[0].thing.iri)
        iri = run.iri if run else ""
        if iri not in lanes:
            lanes[iri] = len(drawing.lanes)
            drawing.lanes.append(_lane(run, people.get(iri, {})))
        drawing.boxes.append(_box(group, lanes[iri], start))
        if drawing.boxes[-1].start:
            drawing.boxes[-1].details = {**(measured or {}), **drawing.boxes[-1].details}
    said = {how: {(place[a], place[b]) for (a, b), one in arrows.items() if one == how} for how in set(arrows.values())}
    drawing.arrows = sorted(_needed(drawing.boxes, said))
    return drawing


class _SameBytes:
    """Versions that are one box: those that a job found, with the one that some job had made."""

    def __init__(self, steps: Mapping[tuple[str, str], str]) -> None:
        self._made: dict[str, str] = {}
        for (of, to), how in steps.items():
            if how == "same bytes as":
                one, other = self.find(of), self.find(to)
                if one != other:
                    self._made[one] = other

    def find(self, iri: str) -> str:
        """Return the version that stands for all with its bytes."""
        while iri in self._made:
            iri = self._made[iri]
        return iri


def _crowds(
    known: Provenance, groups: list[list[Reached]], arrows: Mapping[tuple[str, str], str], start: str
) -> list[list[Reached]]:
    """Put data of different names together where very many have the same part in the same steps."""
    place = {one.thing.iri: at for at, group in enumerate(groups) for one in group}
    before: dict[int, set[int]] = defaultdict(set)
    after: dict[int, set[int]] = defaultdict(set)
    for a, b in arrows:
        before[place[b]].add(place[a])
        after[place[a]].add(place[b])
    alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for at, group in enumerate(groups):
        thing = group[0].thing
        run = known.run_of(thing.iri)
        part = (run.iri if run else "", thing.cls, frozenset(before[at]), frozenset(after[at]))
        alike[part if thing.iri != start else ("",)].append(at)
    into = {at: crowd[0] for crowd in alike.values() if len(crowd) > CROWD for at in crowd}
    merged: dict[int, list[Reached]] = {}
    for at, group in enumerate(groups):
        merged.setdefault(into.get(at, at), []).extend(group)
    return list(merged.values())


def _needed(boxes: list[Box], said: Mapping[str, set[tuple[int, int]]]) -> set[tuple[int, int]]:
    """Return the arrows, without derivations that a way through an activity says too, and without those to itself."""
    arrows = {arrow for how, found in said.items() for arrow in found if arrow[0] != arrow[1]}
    steps = {arrow for how, found in said.items() if how != "derived from" for arrow in found}
    out: dict[int, set[int]] = defaultdict(set)
    for a, b in steps:
        out[a].add(b)
    return {
        (a, b)
        for a, b in arrows
        if (a, b) in steps or not any(boxes[way].is_activity and b in out[way] for way in out[a])
    }


def _lane(run: Thing | None, people: Mapping[str, list[str]]) -> Lane:
    if run is None:
        return Lane("", "", "", "")
    return Lane(run.name, run.phase, ", ".join(sorted(people)), (when(run.start) or "")[:10])


def _box(group: list[Reached], lane: int, start: str) -> Box:
    things = [one.thing for one in group]
    first = things[0]
    details = {
        name: value
        for name, value in first.details.items()
        if all(thing.details.get(name) == value for thing in things)
    }
    if first.cls == "Model" and first.step is not None and len(things) == 1:
        details = {"step": first.step, **details}
    steps = [thing.step for thing in things if thing.step is not None]
    if len(things) > 1 and first.cls == "Model" and len(steps) == len(things):
        details = {"steps": f"{min(steps)} to {max(steps)}", **details}
    if first.outcome not in ("", "completed"):
        details = {"outcome": first.outcome, **details}
    return Box(
        name_of([thing.name or thing.path or thing.iri for thing in things]),
        _kind(first.cls),
        kind_of(first.cls) if first.cls != _SECTION else first.section_kind or "section",
        lane,
        len(things),
        details,
        f"{first.algorithm}:{first.digest}" if first.digest and len(things) == 1 else "",
        name_of([thing.path for thing in things]),
        first.iri == start,
    )


def _kind(cls: str) -> str:
    if cls == "Model":
        return MODEL
    if cls == "FeatureSetData":
        return FEATURES
    if vocabulary.allows(("Dataset",), cls):
        return DATA
    return LEARNING if vocabulary.allows(("LearningStageExecution", _SECTION), cls) else STEP
