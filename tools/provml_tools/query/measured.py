"""What was measured, on which model and where."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from provml_tools.query.engine import Engine
from provml_tools.query.named import part
from provml_tools.query.provenance import Provenance


@dataclass
class Measured:
    """A value, and how it belongs to a model."""

    what: str
    value: Any
    time: int
    step: int | None
    activity: str
    model: str | None

    @property
    def order(self) -> tuple[int, int]:
        """What makes one value later than another."""
        return (self.time, self.step if self.step is not None else -1)


class Measures:
    """All measured values of the loaded runs."""

    def __init__(self, engine: Engine, known: Provenance) -> None:
        self._known = known
        self._of_model: dict[str, list[Measured]] = defaultdict(list)
        self._of_activity: dict[str, list[Measured]] = defaultdict(list)
        for row in engine.select(part("measures")):
            one = Measured(
                str(row["what"]),
                row["value"],
                row["time"] if isinstance(row["time"], int) else 0,
                row["step"] if isinstance(row["step"], int) else None,
                str(row["activity"]),
                str(row["model"]) if row["model"] else None,
            )
            if one.model is None:
                self._of_activity[one.activity].append(one)
            else:
                self._of_model[one.model].append(one)

    def _all_on(self, model: str) -> list[Measured]:
        return [one for version in self._known.same_bytes(model) for one in self._of_model.get(version, ())]

    def elsewhere(self, model: str, training: str) -> dict[str, Measured]:
        """Return the latest of what was measured on a model outside the training that made it."""
        found: dict[str, Measured] = {}
        for one in self._all_on(model):
            if training not in self._known.wholes(one.activity) and _is_later(one, found.get(one.what)):
                found[one.what] = one
        return found

    def where_made(self, model: str) -> dict[str, Measured]:
        """Return what was measured where a model was made: in its section, else the latest in its training."""
        found: dict[str, Measured] = {}
        for activity in self._known.generations(model):
            for whole in self._known.wholes(activity):
                cls = self._known.thing(whole).cls
                near: dict[str, Measured] = {}
                for inner in [whole, *self._inner(whole)]:
                    for one in self._of_activity.get(inner, ()):
                        if _is_later(one, near.get(one.what)):
                            near[one.what] = one
                for what, one in near.items():
                    found.setdefault(what, one)
                if cls == "TrainingExecution":
                    break
        return found

    def _inner(self, activity: str) -> list[str]:
        found = []
        stack = list(self._known.parts(activity))
        while stack:
            one = stack.pop()
            if self._known.thing(one).cls != "TrainingExecution":
                found.append(one)
                stack.extend(self._known.parts(one))
        return found

    def tried(self, model: str) -> list[str]:
        """Return the activities that measured a model, this version of it."""
        return [one.activity for one in self._of_model.get(model, ())]

    def by_source(self, model: str) -> dict[str, dict[str, Measured]]:
        """Return the latest of each measure of a model, apart for validations, evaluations and where it was made."""
        found: dict[str, dict[str, Measured]] = {"validation": {}, "evaluation": {}, "training": self.where_made(model)}
        for one in self._all_on(model):
            stages = {self._known.thing(whole).cls for whole in self._known.wholes(one.activity)}
            into = found["validation" if "ValidationExecution" in stages else "evaluation"]
            if _is_later(one, into.get(one.what)):
                into[one.what] = one
        return found


def _is_later(one: Measured, other: Measured | None) -> bool:
    return other is None or one.order >= other.order


def judged_by(engine: Engine) -> dict[str, set[str]]:
    """Return the measures that each training was said to be judged by, by its IRI."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in engine.select(part("judged")):
        found[str(row["training"])].add(str(row["measure"]))
    return found
