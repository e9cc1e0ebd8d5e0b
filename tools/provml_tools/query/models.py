"""The best model of each experiment, and what it learned from."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from provml_tools.query.answer import Answer, Options, when
from provml_tools.query.engine import Engine, Iri
from provml_tools.query.measured import Measured, Measures, judged_by
from provml_tools.query.measures import deciding, is_lower_better, sort_key
from provml_tools.query.named import NamedQuery
from provml_tools.query.people import people_of, who_did
from provml_tools.query.provenance import Node, Provenance
from provml_tools.query.things import Thing

_COLUMNS = [
    *("experiment", "model", "measure", "value", "measured by"),
    *("dataset", "prepared by", "job", "who", "parameter", "setting"),
    *("made", "model path", "model digest", "dataset path", "dataset digest", "model iri", "dataset iri"),
]
_SECTION = "LearningStageSectionExecution"
_TRIES = ("ValidationExecution", "EvaluationExecution")


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
