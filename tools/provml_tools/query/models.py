"""What was measured on each model, and which is the best."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from provml_tools.query.answer import Answer, Options, when
from provml_tools.query.engine import Engine, Iri
from provml_tools.query.lineage import people_of, who_did
from provml_tools.query.measures import deciding, is_lower_better, sort_key
from provml_tools.query.named import NamedQuery, part
from provml_tools.query.provenance import Node, Provenance, Thing

_COLUMNS = [
    *("experiment", "model", "measure", "value", "measured by"),
    *("dataset", "prepared by", "job", "who", "parameter", "setting"),
    *("made", "model path", "model digest", "dataset path", "dataset digest", "model iri", "dataset iri"),
]
_SECTION = "LearningStageSectionExecution"
_TRIES = ("ValidationExecution", "EvaluationExecution")


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


def best_model_data(engine: Engine, query: NamedQuery, options: Options) -> Answer:
    """Return the best model of each experiment, what it learned from, and how that was prepared."""
    answer = Answer(_COLUMNS, [], query.title, shown=_COLUMNS[:11])
    known = Provenance(engine)
    measures = Measures(engine, known)
    experiments: dict[str, list[str]] = defaultdict(list)
    for row in engine.select(query.bind(options.values)):
        experiments[str(row["experiment"] or "")].append(str(row["thing"]))
    if not experiments:
        answer.notes.append("no experiment in these files made a model")
        return answer
    known.load_facts()
    people = people_of(engine)
    by_source = {iri: measures.by_source(iri) for models in experiments.values() for iri in models}
    counts = Counter(what for found in by_source.values() for what in {what for one in found.values() for what in one})
    judged = judged_by(engine)
    makers = {whole for iri in by_source for activity in known.generations(iri) for whole in known.wholes(activity)}
    said = {what for training in makers & judged.keys() for what in judged[training]}
    among = counts.keys() & said if options.get("measure") is None else set()
    best = deciding({what: counts[what] for what in sorted(among or counts)}, options.get("measure"))
    lower = best is not None and is_lower_better(best, options.get("direction"))
    taken = _alike(by_source, best) if best is not None else {}
    for experiment, models in sorted(experiments.items()):

        def rank(iri: str) -> tuple[tuple[int, float], int, str]:
            one = taken.get(iri)
            return (sort_key(one.value if one else None, lower), -(known.made_at(iri) or 0), iri)

        chosen = known.thing(min(models, key=rank))
        one = taken.get(chosen.iri)
        base = {
            "experiment": experiment,
            "model": chosen.name,
            "measure": best if one else None,
            "value": one.value if one else None,
            "measured by": _stage(known, one.activity) if one else None,
            "made": when(known.made_at(chosen.iri)),
            "model path": chosen.path,
            "model digest": f"{chosen.algorithm}:{chosen.digest}" if chosen.digest else "",
            "model iri": Iri(chosen.iri),
        }
        rows = [row for data in learned_from(known, chosen.iri) for row in _prepared(known, people, data)]
        answer.rows += [base | row for row in rows or [{}]]
        if not rows:
            answer.notes.append(f"no dataset is known that {chosen.name} learned from")
    if best is None:
        answer.notes.append("nothing was measured, so the model that was made last is shown")
    else:
        answer.notes.append(f"best by {best} ({'lower' if lower else 'higher'} is better) of {len(by_source)} models")
    answer.rows = [{name: row.get(name) for name in _COLUMNS} for row in answer.rows]
    return answer


def _alike(by_source: dict[str, dict[str, dict[str, Measured]]], what: str) -> dict[str, Measured]:
    """Return one value a model, all of the source that most models have: like is compared with like.

    A model that this source tells nothing of has no value. Of equally frequent sources the first counts: validations,
    evaluations, the training itself.
    """
    counts = Counter(source for found in by_source.values() for source, one in found.items() if what in one)
    sources = ("validation", "evaluation", "training")
    chosen = max(sources, key=lambda source: (counts[source], -sources.index(source)))
    return {iri: found[chosen][what] for iri, found in by_source.items() if what in found[chosen]}


def learned_from(known: Provenance, model: str) -> list[Thing]:
    """Return the datasets that a model learned from, not those that only its validations read."""
    found: dict[str, Thing] = {}
    queue = [model]
    seen = {model}
    while queue and not found:
        one = queue.pop(0)
        for step in known.back(Node(one)):
            if step.to.making:
                for use in known.back(step.to):
                    thing = known.thing(use.to.iri)
                    users = {known.thing(user).cls for user in known.users(thing.iri)}
                    if thing.cls != "Model" and not users <= set(_TRIES):
                        found[thing.iri] = thing
                    elif thing.cls == "Model" and thing.iri not in seen:
                        seen.add(thing.iri)
                        queue.append(thing.iri)
            elif step.to.iri not in seen:
                seen.add(step.to.iri)
                if known.thing(step.to.iri).cls == "Model":
                    queue.append(step.to.iri)
                else:
                    found[step.to.iri] = known.thing(step.to.iri)
    return list(found.values())


def _prepared(known: Provenance, people: dict[str, dict[str, list[str]]], data: Thing) -> list[dict[str, Any]]:
    """Return a row for each parameter of each activity that a dataset went through."""
    base = {
        "dataset": data.name,
        "dataset path": data.path,
        "dataset digest": f"{data.algorithm}:{data.digest}" if data.digest else "",
        "dataset iri": Iri(data.iri),
    }
    # Many activities of one name with the same parameters, such as one a file, are one line.
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for reached in known.lineage([data.iri]):
        thing = reached.thing
        if thing.start is None:
            continue
        run = known.run_of(thing.iri)
        about = {"prepared by": thing.name, "job": run.name if run else "", "who": who_did(known, people, thing)}
        settings: dict[str, Any] = {}
        for whole in known.wholes(thing.iri):
            settings = known.thing(whole).facts.get("parameter", {}) | settings
        for name, value in settings.items() or [(None, None)]:
            key = (*about.values(), name, repr(value))
            rows.setdefault(key, base | about | {"parameter": name, "setting": value})
    return list(rows.values()) or [base]


def _stage(known: Provenance, activity: str) -> str:
    thing = known.thing(activity)
    for whole in known.wholes(activity):
        if known.thing(whole).cls not in (_SECTION, "RankExecution"):
            thing = known.thing(whole)
            break
    run = known.run_of(activity)
    return f"{thing.name} ({run.name})" if run and run.iri != thing.iri else thing.name
