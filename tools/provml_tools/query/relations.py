"""What the loaded runs say of how things belong together: made, used, derived, members, parts, same bytes."""

from __future__ import annotations

from collections import defaultdict, deque

from provml_hpc import vocabulary
from provml_tools.query.engine import Engine, Value
from provml_tools.query.named import part
from provml_tools.query.things import Thing, things_of


class Relations:
    """All relations of the loaded runs, each looked up from both its ends."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.things = things_of(engine)
        self._generated: dict[str, dict[str, int | None]] = defaultdict(dict)
        self._used: dict[str, dict[str, int | None]] = defaultdict(dict)
        self._users: dict[str, dict[str, int | None]] = defaultdict(dict)
        self._derived: dict[str, list[str]] = defaultdict(list)
        self._members: dict[str, list[str]] = defaultdict(list)
        self._collections: dict[str, list[str]] = defaultdict(list)
        self._wholes: dict[str, list[str]] = defaultdict(list)
        self._parts: dict[str, list[str]] = defaultdict(list)
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


def _keep_earliest(times: dict[str, int | None], iri: str, at: int | None) -> None:
    known = times.get(iri)
    times[iri] = at if known is None else known if at is None else min(at, known)
