"""Who carried activities out, and so made data."""

from __future__ import annotations

from provml_tools.query.engine import Engine
from provml_tools.query.named import part
from provml_tools.query.provenance import Provenance
from provml_tools.query.things import Thing


def people_of(engine: Engine) -> dict[str, dict[str, list[str]]]:
    """Return the persons of each activity, by IRI of the activity: their names, each with the roles it had."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in engine.select(part("people")):
        roles = found.setdefault(str(row["activity"]), {}).setdefault(str(row["name"]), [])
        if row["role"] and str(row["role"]) not in roles:
            roles.append(str(row["role"]))
    return found


def who_did(known: Provenance, people: dict[str, dict[str, list[str]]], thing: Thing) -> str:
    """Return who carried an activity out, or made data: those of the activity itself, else of what it is part of."""
    activities = [thing.iri] if thing.start is not None else list(known.generations(thing.iri))
    for activity in activities:
        for whole in known.wholes(activity):
            if whole in people:
                return ", ".join(sorted(people[whole]))
    return ""
