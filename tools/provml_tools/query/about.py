"""Questions about one model: who worked on it, how to run it again, and where its checkpoints came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from provml_tools.query.answer import Answer, Options, kind_of, when
from provml_tools.query.engine import Engine, Iri
from provml_tools.query.lineage import choose_model
from provml_tools.query.measured import Measures
from provml_tools.query.named import NamedQuery, part
from provml_tools.query.people import people_of
from provml_tools.query.provenance import Provenance
from provml_tools.query.things import Thing

_TRIES = {"ValidationExecution": "validated", "EvaluationExecution": "evaluated"}
_BY_PHASE = {"curation": "curated", "preparation": "prepared"}
_FACTS = {
    "code": ("code.repository", "code.remote", "code.branch", "code.commit", "code.dirty", "command.script_sha256"),
    "command": ("command.line", "command.directory", "command.script"),
    "environment": ("python.version", "os.distribution", "mpi.library", "mpi.world_size", "packages.digest"),
}


def who(engine: Engine, query: NamedQuery, options: Options) -> Answer:
    """Return the persons of every job that a model went through, and what they did."""
    columns = ["did", "person", "role", "job", "activity", "when", "iri"]
    answer = Answer(columns, [], query.title, shown=columns[:-1])
    known = Provenance(engine)
    model = choose_model(known, engine, query, options, answer)
    if model is None:
        return answer
    people = people_of(engine)
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for thing, did in sorted(_activities(known, engine, model), key=lambda pair: (pair[0].start or 0, pair[0].iri)):
        run = known.run_of(thing.iri)
        job = run.name if run else ""
        holder = next((whole for whole in known.wholes(thing.iri) if whole in people), None)
        for person, roles in sorted(people[holder].items()) if holder else [("", [])]:
            row = found.setdefault(
                (did, person, job),
                {
                    "did": did,
                    "person": person,
                    "job": job,
                    "when": when(thing.start),
                    "iri": Iri(thing.iri),
                    "names": {},
                },
            )
            row["role"] = ", ".join(roles)
            row["names"][thing.name] = None
    for row in found.values():
        names = list(row.pop("names"))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        answer.rows.append(row | {"activity": ", ".join(names[:3]) + more})
    return answer


def _activities(known: Provenance, engine: Engine, model: str) -> Iterator[tuple[Thing, str]]:
    """Yield the activities that a model came from and those that tried it, each with what was done there."""
    for reached in known.lineage([model]):
        if reached.thing.start is not None:
            run = known.run_of(reached.thing.iri)
            yield reached.thing, _BY_PHASE.get(run.phase if run else "", "trained")
    measures = Measures(engine, known)
    for version in known.same_bytes(model):
        tries = [*known.users(version), *measures.tried(version)]
        for activity in dict.fromkeys(tries):
            for whole in known.wholes(activity):
                thing = known.thing(whole)
                if thing.cls in _TRIES:
                    yield thing, _TRIES[thing.cls]
                    break


def reproduce(engine: Engine, query: NamedQuery, options: Options) -> Answer:
    """Return what ran, was set, went in and came out in every job that a model went through, in order of time."""
    answer = Answer(["job", "what", "of", "name", "value", "iri"], [], query.title)
    answer.shown = answer.columns[:-1]
    known = Provenance(engine)
    model = choose_model(known, engine, query, options, answer)
    if model is None:
        return answer
    known.load_facts()
    code: dict[str, list[dict[str, Any]]] = {}
    for row in engine.select(part("code")):
        code.setdefault(str(row["run"]), []).append(row)
    jobs: dict[str, list[Thing]] = {}
    for reached in known.lineage([model]):
        run = known.run_of(reached.thing.iri)
        if run is not None:
            jobs.setdefault(run.iri, []).append(reached.thing)
    for iri in sorted(jobs, key=lambda one: (known.thing(one).start or 0, one)):
        run = known.thing(iri)
        lines = [*_ran(run, code.get(iri, [])), *_set(known, jobs[iri]), *_moved(known, jobs[iri])]
        names = ("what", "of", "name", "value", "iri")
        answer.rows += [{"job": run.name, **dict(zip(names, line, strict=True))} for line in lines]
    return answer


Line = tuple[str, str, str, Any, Iri]


def _ran(run: Thing, code: list[dict[str, Any]]) -> Iterator[Line]:
    facts = run.facts.get("attribute", {})
    for what, names in _FACTS.items():
        for name in names:
            if facts.get(name) not in (None, ""):
                yield what, "job", name, facts[name], Iri(run.iri)
    seen = set()
    for row in code:
        if row["code"] not in seen:
            seen.add(row["code"])
            yield "code", "job", str(row["code"]), row["version"], Iri(run.iri)
        if row["package"]:
            yield "package", "job", str(row["package"]), row["packageVersion"], Iri(run.iri)


def _set(known: Provenance, things: list[Thing]) -> Iterator[Line]:
    """Yield the parameters of the activities on the way and of all around them; equal ones of many activities once."""
    activities: dict[str, None] = {}
    for thing in things:
        if thing.start is not None:
            activities |= dict.fromkeys(reversed(known.wholes(thing.iri)))
    seen = set()
    for activity in activities:
        thing = known.thing(activity)
        for name, value in thing.facts.get("parameter", {}).items():
            key = (thing.cls, thing.name, name, repr(value))
            if key not in seen:
                seen.add(key)
                yield "parameter", thing.name, name, value, Iri(thing.iri)


def _moved(known: Provenance, things: list[Thing]) -> Iterator[Line]:
    for thing in sorted(things, key=lambda one: (known.is_made(one.iri), one.name, one.iri)):
        if thing.start is None:
            what = "output" if known.is_made(thing.iri) else "input"
            yield what, kind_of(thing.cls), thing.name or thing.path, _content(thing), Iri(thing.iri)


def _content(thing: Thing) -> str:
    return f"{thing.algorithm}:{thing.digest}" if thing.digest else "digest unknown"


def checkpoints(engine: Engine, query: NamedQuery, options: Options) -> Answer:
    """Return where each stored model was made, in order of time, and what was measured on it."""
    answer = Answer([], [], query.title)
    known = Provenance(engine)
    measures = Measures(engine, known)
    found = [str(row["thing"]) for row in engine.select(query.bind(options.values))]
    if not found and options.get("model") is not None:
        answer.notes.append(f"no model is called {options.get('model')!r}")
    origins = {origin: None for iri in found for origin in (known.origins(iri) or [iri]) if known.generations(origin)}
    names: dict[str, None] = {}
    for iri in sorted(origins, key=lambda one: (known.made_at(one) or 0, one)):
        model = known.thing(iri)
        wholes = [known.thing(whole) for activity in known.generations(iri) for whole in known.wholes(activity)]
        sections = [one for one in wholes if one.cls == "LearningStageSectionExecution"]
        training = next((one for one in wholes if one.cls == "TrainingExecution"), None)
        run = known.run_of(iri)
        by_source = measures.by_source(iri)
        # What an evaluation found later was not known then.
        values = {what: one.value for what, one in (by_source["training"] | by_source["validation"]).items()}
        names |= dict.fromkeys(values)
        answer.rows.append(
            {
                "model": model.name,
                "training": training.name if training else "",
                "section": " / ".join(_section(one) for one in reversed(sections)),
                "step": model.step,
                **{name: value for name, value in values.items() if name not in _FIXED},
                "experiment": run.name if run else "",
                "made": when(known.made_at(iri)),
                "path": model.path,
                "digest": _content(model),
                "iri": Iri(iri),
            }
        )
    measured = [name for name in names if name not in _FIXED]
    answer.columns = [*_FIXED[:4], *measured, *_FIXED[4:]]
    answer.shown = [*_FIXED[:4], *measured, "made"]
    return answer


_FIXED = ("model", "training", "section", "step", "experiment", "made", "path", "digest", "iri")


def _section(thing: Thing) -> str:
    return f"{thing.section_kind} {thing.section_index}" if thing.section_index is not None else thing.name
