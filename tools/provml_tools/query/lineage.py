"""The two questions that follow the steps of provenance: back from a model, and forth from data."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from provml_tools.query.answer import Answer, Options, kind_of, when
from provml_tools.query.engine import Engine, Iri
from provml_tools.query.folding import fold, name_of
from provml_tools.query.measured import Measures
from provml_tools.query.named import NamedQuery
from provml_tools.query.people import people_of, who_did
from provml_tools.query.provenance import Node, Provenance, Reached
from provml_tools.query.things import Thing

if TYPE_CHECKING:
    from provml_tools.query.picture import Drawing

_COLUMNS = ["distance", "kind", "name", "link", "of", "job", "who", "when", "path", "digest", "details", "iri"]


def model_lineage(engine: Engine, query: NamedQuery, options: Options) -> Answer:
    """Return all that a model came from, as a tree for people and in order of distance for programs."""
    known = Provenance(engine)
    answer = Answer(_COLUMNS, [], query.title, shown=["what", "kind", "link", "job", "when", "details"])
    start = choose_model(known, engine, query, options, answer)
    if start is None:
        return answer
    known.load_facts()
    people = people_of(engine)
    reached = known.lineage([start])
    for one in reached:
        answer.rows.append(_row(known, people, one))
    whole = options.get("unfold") is not None
    _plant(answer, [[one] for one in reached] if whole else fold(known, reached, start))
    answer.draw = lambda: _draw(engine, known, people, start)
    return answer


def _draw(engine: Engine, known: Provenance, people: dict[str, dict[str, list[str]]], start: str) -> Drawing:
    """Return the picture of a lineage, in which the model has what was measured on it."""
    from provml_tools.query.picture import draw

    found: dict[str, Any] = {}
    by_source = Measures(engine, known).by_source(start)
    for by_name in (by_source[source] for source in ("training", "validation", "evaluation")):
        # An evaluation tells most of a model, and comes last.
        found |= {name: one.value for name, one in by_name.items() if isinstance(one.value, (int, float))}
    return draw(known, people, start, found)


def choose_model(known: Provenance, engine: Engine, query: NamedQuery, options: Options, answer: Answer) -> str | None:
    """Return the model that was meant, the latest where several fit, and note what was chosen."""
    found = [str(row["thing"]) for row in engine.select(query.bind(options.values))]
    if not found:
        models = sorted({thing.name for thing in known.things.values() if thing.cls == "Model"})
        if options.get("model") is None:
            answer.notes.append("there is no model in these files")
        else:
            listed = ", ".join(models[:20]) + (f" and {len(models) - 20} more" if len(models) > 20 else "")
            answer.notes.append(f"no model is called {options.get('model')!r}; there are: {listed or 'none'}")
        return None
    made = [iri for iri in found if known.generations(iri)] or found
    made.sort(key=lambda iri: (known.made_at(iri) or known.used_at(iri) or 0, iri))
    if len(made) > 1:
        chosen = known.thing(made[-1])
        why = "no --model was given" if options.get("model") is None else "several versions fit"
        made_when = when(known.made_at(chosen.iri)) or "at an unknown time"
        answer.notes.append(
            f"{why}: of {len(made)} models this is the one made last, {chosen.name} ({made_when}); "
            "--model takes another by name, digest or IRI"
        )
    return made[-1]


def _row(known: Provenance, people: dict[str, dict[str, list[str]]], one: Reached) -> dict[str, Any]:
    thing = one.thing
    run = known.run_of(thing.iri)
    made = known.made_at(thing.iri) if thing.start is None else thing.start
    details = thing.details
    if thing.step is not None and thing.cls == "Model":
        details = {"step": thing.step, **details}
    if thing.select:
        details = {"part": thing.select, **details}
    if thing.outcome not in ("", "completed"):
        details = {"outcome": thing.outcome, **details}
    return {
        "distance": one.distance,
        "kind": thing.cls,
        "name": thing.name or thing.path,
        "link": one.how,
        "of": known.thing(one.parent).name if one.parent else "",
        "job": run.name if run else "",
        "who": who_did(known, people, thing),
        "when": when(made if made is not None else known.used_at(thing.iri)),
        "path": thing.path,
        "digest": f"{thing.algorithm}:{thing.digest}" if thing.digest else "",
        "details": details,
        "iri": Iri(thing.iri),
        "what": thing.name or thing.path or thing.iri,
        "parent": one.parent,
    }


def _plant(answer: Answer, groups: list[list[Reached]]) -> None:
    """Keep the rows in order of distance, and give those that a person reads as a tree: one for what is alike."""
    place = {str(row["iri"]): at for at, row in enumerate(answer.rows)}
    head = {one.thing.iri: group[0].thing.iri for group in groups for one in group}
    children: dict[str, list[int]] = {}
    for group in groups:
        at = place[group[0].thing.iri]
        above = next((head[one.parent] for one in group if one.parent and head[one.parent] != head[one.thing.iri]), "")
        children.setdefault(above, []).append(at)
        if len(group) > 1:
            _sum_up(answer.rows[at], [answer.rows[place[one.thing.iri]] for one in group])
    tree: list[tuple[int, int]] = []
    stack = [(at, 0) for at in reversed(children.get("", []))]
    while stack:
        at, depth = stack.pop()
        tree.append((at, depth))
        stack.extend((one, depth + 1) for one in reversed(children.get(str(answer.rows[at]["iri"]), [])))
    answer.tree = tree
    for row in answer.rows:
        row["kind for people"] = kind_of(row["kind"])
    if len(tree) < len(answer.rows):
        answer.remarks.append("what is alike is one line, with its number; --unfold shows each")


def _sum_up(row: dict[str, Any], alike: list[dict[str, Any]]) -> None:
    row["what for people"] = f"{name_of([one['what'] for one in alike])} ({len(alike)})"
    same = {n: v for n, v in row["details"].items() if all(one["details"].get(n) == v for one in alike)}
    row["details for people"] = same


def data_impact(engine: Engine, query: NamedQuery, options: Options) -> Answer:
    """Return the models that each file touched, nearest first."""
    shown = ["data", "path", "model", "model path", "experiment", "made", "distance"]
    answer = Answer([*shown, "digest", "model digest", "data iri", "model iri"], [], query.title, shown=shown)
    known = Provenance(engine)
    bound = {name: value for name, value in options.values.items() if name != "model"}
    found = [str(row["thing"]) for row in engine.select(query.bind(bound))]
    if options.get("data") is None:
        found = [iri for iri in found if _is_raw(known, iri)]
    if not found:
        what = "data" if options.get("data") is None else f"data is called {options.get('data')!r}"
        answer.notes.append(f"no {what}" if options.get("data") is not None else "no raw data in these files")
        return answer
    forth = known.impact()
    untouched = []
    for group in _by_bytes(known, found):
        thing = known.thing(group[0])
        models = _models_from(known, forth, [same for iri in group for same in known.same_bytes(iri)])
        wanted = options.get("model")
        if wanted is not None:
            models = [(one, far) for one, far in models if _is_called(one, wanted)]
        if not models:
            untouched.append(thing.name or thing.path)
        for model, far in models:
            run = known.run_of(model.iri)
            answer.rows.append(
                {
                    "data": thing.name,
                    "path": thing.path,
                    "digest": f"{thing.algorithm}:{thing.digest}" if thing.digest else "",
                    "model": model.name,
                    "model path": model.path,
                    "model digest": f"{model.algorithm}:{model.digest}" if model.digest else "",
                    "experiment": run.name if run else "",
                    "made": when(known.made_at(model.iri)),
                    "distance": far,
                    "data iri": Iri(thing.iri),
                    "model iri": Iri(model.iri),
                }
            )
    for path, name in (("path", "data"), ("model path", "model")):
        # The path is shown where the name does not tell which one it is.
        if len({(row[name], row[path]) for row in answer.rows}) == len({row[name] for row in answer.rows}):
            answer.shown.remove(path)
    if untouched:
        listed = ", ".join(sorted(untouched)[:20]) + (f" and {len(untouched) - 20} more" if len(untouched) > 20 else "")
        answer.notes.append(f"touched no model: {listed}")
    return answer


def _is_called(thing: Thing, wanted: str) -> bool:
    return wanted in (thing.iri, thing.name, thing.path) or thing.path.endswith(f"/{wanted}")


def _is_raw(known: Provenance, iri: str) -> bool:
    return next(known.back(Node(iri)), None) is None and bool(known.users(iri) or known.collections(iri))


def _by_bytes(known: Provenance, found: list[str]) -> list[list[str]]:
    """Put versions with the same bytes and path together, in order of path and first use."""
    groups: dict[tuple[str, str], list[str]] = {}
    for iri in found:
        thing = known.thing(iri)
        groups.setdefault((thing.path or thing.name, thing.digest or iri), []).append(iri)
    for group in groups.values():
        group.sort(key=lambda iri: (known.used_at(iri) or 0, iri))
    return [groups[key] for key in sorted(groups)]


def _models_from(known: Provenance, forth: dict[Node, list[Node]], starts: list[str]) -> list[tuple[Thing, int]]:
    """Return the models that were made from some data, with the number of steps between."""
    distances = {Node(iri): 0 for iri in starts}
    queue = deque(distances)
    while queue:
        node = queue.popleft()
        for other in forth.get(node, ()):
            if other not in distances:
                distances[other] = distances[node] + 1
                queue.append(other)
    found: dict[str, int] = {}
    for node, far in distances.items():
        # A model that was only read is the same one as where it was made, if that is known.
        if not node.making and known.thing(node.iri).cls == "Model" and not known.origins(node.iri):
            found[node.iri] = min(far, found.get(node.iri, far))
    things = [(known.thing(iri), far) for iri, far in found.items()]
    return sorted(things, key=lambda pair: (pair[1], known.made_at(pair[0].iri) or 0, pair[0].name, pair[0].iri))
