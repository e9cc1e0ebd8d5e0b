"""Versions, contents and references: which declarations on which ranks mean the same data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from provml_hpc import identity, records, vocabulary
from provml_hpc.assembly.activities import Activities
from provml_hpc.assembly.builder import Builder
from provml_hpc.assembly.frames import Stream
from provml_hpc.assembly.graph import RunInfo
from provml_hpc.assembly.versions import DATA, EITHER, MODEL, Known, Look, Reader, Register
from provml_hpc.content import Digest

_DATA = frozenset(cls for name in ("Dataset", "Model") for cls in vocabulary.below(name))
_STATES = ("whole", "sampled", "changed", "failed", "missing")
_CLOCKS_APART_NS = 2_000_000_000
"""A file's time may be so much before the moment of writing: file systems count in coarse steps, down to 2 seconds."""
_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class _Said(NamedTuple):
    source: records.Source
    sequence: int
    at: int
    record: records.Declared
    look: Look
    family: str


class Entities:
    """The versions of a run.

    What an activity generated is one version by (activity, path, what was said of it, k-th time), however many ranks
    say so. What was only read is one version by how the file looked. Reading what the run itself generated, unchanged,
    is reading that version.
    """

    def __init__(self, run: RunInfo, builder: Builder, activities: Activities, streams: list[Stream]) -> None:
        self.run, self.builder, self.activities = run, builder, activities
        self.of: dict[tuple[records.Source, int], str] = {}
        """The version that a handle means."""
        self.made_at: dict[str, int] = {}
        """When a version was generated, where the run did so."""
        self.digest_of: dict[str, dict[Digest, None]] = defaultdict(dict)
        """The digests of each version that were made of its bytes here."""
        self.filled: dict[str, dict[str, None]] = {}
        """The members of each directory that was made by naming them."""
        self._digests: dict[Look, dict[records.Digested, None]] = defaultdict(dict)
        self._members: dict[Look, dict[records.Contained, None]] = defaultdict(dict)
        self._looks: dict[str, list[Look]] = defaultdict(list)
        self._unsettled: dict[str, list[Look]] = defaultdict(list)
        self._by_look, self._by_path = Register(), Register()
        self._users: dict[tuple[records.Source, int], list[int]] = defaultdict(list)
        self._holding: dict[tuple[str, str], str] = {}
        settled: dict[tuple[records.Source, int], records.Settled] = {}
        said: list[_Said] = []
        contained: list[tuple[records.Source, records.Member]] = []
        for stream in streams:
            lane0 = stream.source._replace(lane=records.RUN_LANE)
            for sequence, at, record in stream.records:
                match record:
                    case records.Digested():
                        self._digests[Look(record.path, record.inode, record.size, record.modified_ns)][record] = None
                    case records.Contained():
                        self._members[Look(record.path, record.inode, 0, record.modified_ns)][record] = None
                    case records.Settled():
                        settled[lane0, record.entity] = record
                    case records.Used():
                        self._users[lane0, record.entity].append(record.activity)
                    case records.Member():
                        contained.append((stream.source, record))
                    case records.Declared():
                        look = Look(record.path, record.inode, record.size, record.modified_ns)
                        said.append(_Said(stream.source, sequence, at, record, look, _family(record)))
        times: dict[tuple[Any, ...], int] = defaultdict(int)
        for one in said:
            if one.record.generated:
                self._generated(one, settled.get((one.source, one.sequence)), times)
        for one in _in_turn(said):
            self.of[one.source, one.sequence] = self._read(one)
        self._contents()
        for source, record in contained:
            lane0 = source._replace(lane=records.RUN_LANE)
            whole, shard = self.of.get((lane0, record.collection)), self.of.get((lane0, record.entity))
            if whole in self.filled and shard:
                self.filled[whole][shard] = None

    def _reader(self, said: _Said) -> Reader:
        """Return who reads, with the earliest end of the activities that name this handle."""
        activities = self._users.get((said.source, said.sequence)) or [said.record.activity]
        ends = [self.activities.end_of.get(self.activities.part(said.source, one).uuid) for one in activities]
        known = [end for end in ends if end is not None]
        return Reader(said.source, said.at, min(known) if known else None)

    def _generated(self, said: _Said, settled: records.Settled | None, times: dict[tuple[Any, ...], int]) -> None:
        source, sequence, at, record, look, family = said
        part = self.activities.part(source, record.activity)
        cls = _class(record) or "Dataset"
        name = record.path or record.label
        what = [cls, record.select, record.store, record.identifier, record.algorithm, record.digest, record.step]
        times[(source, part.uuid, name, *what)] += 1
        uuid = identity.local(
            self.run.uuid, "generated", source.attempt, part.uuid, name, *what, times[(source, part.uuid, name, *what)]
        )
        if settled:
            look = Look(record.path, settled.inode, settled.size, settled.modified_ns)
        written = look.modified_ns >= part.start_ns - _CLOCKS_APART_NS
        self._node(uuid, cls, said)
        self.of[source, sequence] = uuid
        at = self.activities.within(part.uuid, at)
        self.made_at[uuid] = min(at, self.made_at.get(uuid, at))
        self.builder.relate("wasGeneratedBy", uuid, part.uuid, source.rank, time_ns=at)
        stage = self.activities.stage_of.get(part.uuid)
        if stage:
            self.builder.relate_where_allowed("hasOutput", stage, uuid)
        self._given(uuid, said)
        if not record.path:
            return
        self._by_path.add(record.path, family, Known(at, uuid, source, settled is None))
        if look.missing:
            if settled:
                self.builder.row(uuid).setdefault("digest_state", "missing")
        elif written:
            self._by_look.add(look, family, Known(at, uuid, source, settled is None))
            # Until its activity ends, the file may still be what was there before.
            (self._looks if settled else self._unsettled)[uuid].append(look)
        elif settled:
            # The step left the file as it was: who reads it meanwhile reads what was there before.
            self._looks[uuid].append(look)
            if part.end_ns:
                self._by_look.add(look, family, Known(part.end_ns, uuid, source, False, late=True))

    def _read(self, said: _Said) -> str:
        """Return the version that somebody means who reads, and make it where the run does not know it yet."""
        record, look, reader = said.record, said.look, self._reader(said)
        cls = _class(record)
        family = said.family if cls else EITHER
        if record.collection:
            return self._collection(said)
        if record.path and not record.select:
            known = self._by_look.find(look, family, reader) if not look.missing else None
            if known is None:
                known = self._by_path.find(record.path, family, reader)
                if known and not look.missing:
                    # Another look is another version, unless nobody knows yet how that one looks in the end.
                    collection = known.uuid not in self.made_at and known.unsettled
                    if not (collection or (known.unsettled and not cls)) or known.at > said.at:
                        known = None
                    elif collection:
                        self._looks[known.uuid].append(look)
            if known is not None:
                self.builder.node(cls or "Dataset", known.uuid, said.source.rank)
                return known.uuid
        return self._seen(said)

    def _collection(self, said: _Said) -> str:
        record = said.record
        uuid = identity.local(self.run.uuid, "collection", record.path or record.label)
        self._node(uuid, _class(record) or "Dataset", said)
        self._given(uuid, said)
        if record.path:
            self._by_path.add(record.path, said.family, Known(said.at, uuid, said.source, True))
            self.filled.setdefault(uuid, {})
        return uuid

    def _seen(self, said: _Said) -> str:
        record = said.record
        cls = _class(record) or ("LearningDataset" if self.run.phase == "learning" else "Dataset")
        where = (record.select, record.store, record.identifier, record.algorithm, record.digest)
        label = "" if record.path else record.label
        uuid = identity.local(self.run.uuid, "seen", said.family, *said.look, *where, label)
        self._node(uuid, cls, said)
        self._given(uuid, said)
        if not said.look.missing:
            self._looks[uuid].append(said.look)
            if not record.select:
                known = Known(said.at, uuid, said.source, False)
                self._by_look.add(said.look, said.family, known)
                self._by_path.add(record.path, said.family, known)
        elif record.path:
            self.builder.row(uuid).setdefault("digest_state", "missing")
        return uuid

    def _node(self, uuid: str, cls: str, said: _Said) -> None:
        record = said.record
        fields: dict[str, Any] = {
            "label": record.label,
            "path": record.path or record.identifier,
            "select": record.select,
            "attempt": said.source.attempt,
        }
        if not record.path and record.size:
            fields["size"] = record.size
        if record.step != records.NO_STEP:
            fields["step"] = record.step
        self.builder.node(cls, uuid, said.source.rank, **fields)

    def _given(self, uuid: str, said: _Said) -> None:
        """Say the digest that came with a declaration, and the place of the data in a store."""
        record = said.record
        if record.digest:
            in_memory = record.algorithm.endswith("-array")
            known = record.size > 0 or in_memory or not said.look.missing or record.digest == _EMPTY
            self.same_bytes(uuid, record.algorithm, record.digest, record.size if known else None)
            self.builder.row(uuid)["digest_state"] = "whole" if in_memory else "given"
        if record.store:
            self._place(uuid, record.store, record.identifier)
        elif record.path:
            self._place(uuid, f"file:{self.run.authority}", record.path)

    def _place(self, uuid: str, store: str, name: str) -> None:
        place = identity.named(self.run.authority, "DataStore", store)
        reference = identity.named(self.run.authority, "DataReference", name, store)
        self.builder.node("DataStore", place, label=store)
        self.builder.node("DataReference", reference, label=name, identifier=name)
        self.builder.relate("atLocation", reference, place)
        self.builder.relate("specializationOf", uuid, reference)

    def same_bytes(self, uuid: str, algorithm: str, digest: str, size: int | None) -> None:
        """Say which bytes a version has."""
        if size == 0:  # every empty file is alike: that says nothing about where it came from
            return
        content = identity.content(algorithm, digest, -1 if size is None else size)
        known = {} if size is None else {"size": size}
        self.builder.node("Content", content, algorithm=algorithm, digest=digest, **known)
        self.builder.relate("specializationOf", uuid, content)
        self._holding[str(self.builder.row(uuid).get("path")), content] = uuid

    def _contents(self) -> None:
        """Say what bytes each version has, as far as anybody read them."""
        for uuid, looks in self._unsettled.items():
            if uuid not in self._looks:
                alone = [look for look in looks if self._by_look.versions(look) == {uuid}]
                if alone:
                    self._looks[uuid] = alone
        directories = []
        for uuid, looks in self._looks.items():
            # Ranks that look at a file at different moments may see it half written: the latest look counts.
            latest = max(looks, key=lambda look: (look.modified_ns, look))
            row = self.builder.row(uuid)
            row.update(size=latest.size, modified_ns=latest.modified_ns)
            best = next((look for look in sorted(looks, key=_newest_first) if look in self._digests), latest)
            states = set()
            for found in self._digests.get(best, ()):
                states.add(found.state)
                if found.digest:
                    weak = found.state == "sampled"
                    self.digest_of[uuid][Digest(found.algorithm, found.digest, found.content_size, weak)] = None
                    self.same_bytes(uuid, found.algorithm, found.digest, found.content_size)
            state = next((state for state in _STATES if state in states), "")
            if state and not row.get("digest_state"):
                row["digest_state"] = state
            if best._replace(size=0) in self._members:
                directories.append((uuid, self._members[best._replace(size=0)]))
        for uuid, members in directories:
            for member in members:
                self._member(uuid, member)

    def _member(self, collection: str, member: records.Contained) -> None:
        path = f"{member.path}/{member.relative}"
        content = identity.content(member.algorithm, member.digest, member.size)
        known = self._holding.get((path, content)) if member.digest and member.size else None
        if known is not None and known != collection:
            self.builder.relate("hadMember", collection, known)
            return
        uuid = identity.local(self.run.uuid, "member", collection, member.relative)
        state = "changed" if not member.digest else "sampled" if "sample" in member.algorithm else "whole"
        cls = self.builder.class_of(collection) or "Dataset"
        self.builder.node(cls, uuid, label=member.relative, path=path, size=member.size, digest_state=state)
        self.builder.relate("hadMember", collection, uuid)
        self._place(uuid, f"file:{self.run.authority}", path)
        if member.digest:
            self.same_bytes(uuid, member.algorithm, member.digest, member.size)


def _class(record: records.Declared) -> str:
    """Return the class that was declared; empty for whatever the run knows, and for what only a newer release knows."""
    cls = vocabulary.CLASS_OF_CODE.get(record.code)
    return cls.name if cls and cls.name in _DATA else ""


def _family(record: records.Declared) -> str:
    return MODEL if _class(record) == "Model" else DATA


def _newest_first(look: Look) -> tuple[int, Look]:
    return -look.modified_ns, look


def _in_turn(said: list[_Said]) -> Iterator[_Said]:
    """Yield the declarations of what was read, so that each finds what it may mean.

    Collections come first; then what was seen and is said to be data or a model; then paths without a class; last what
    was not there to be seen, which only its path tells.
    """
    read = [one for one in said if not one.record.generated]
    yield from (one for one in read if one.record.collection)
    rest = [one for one in read if not one.record.collection]
    for missing in (False, True):
        for named in (True, False):
            for one in rest:
                if (bool(one.record.path) and one.look.missing) == missing and bool(_class(one.record)) == named:
                    yield one
