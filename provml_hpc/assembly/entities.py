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


class Look(NamedTuple):
    """How a file looked: what tells one version of it from another.

    The device is left out, since nodes number a shared one differently.
    """

    path: str
    inode: int
    size: int
    modified_ns: int


class _Made(NamedTuple):
    at: int
    uuid: str


class Entities:
    """The versions of a run.

    What an activity generated is one version by (activity, path, k-th time), however many ranks say so. What was only
    read is one version by how the file looked. Reading what the run itself generated, unchanged, is reading that
    version.
    """

    def __init__(self, run: RunInfo, builder: Builder, activities: Activities, streams: list[Stream]) -> None:
        self.run, self.builder, self.activities = run, builder, activities
        self._streams = streams
        self.of: dict[tuple[records.Source, int], str] = {}
        """The version that a handle means."""
        self._digests: dict[Look, list[records.Digested]] = defaultdict(list)
        self._members: dict[Look, list[records.Contained]] = defaultdict(list)
        self._looks: dict[str, Look] = {}
        self._made: dict[Look, list[_Made]] = defaultdict(list)
        self._known: dict[str, list[_Made]] = defaultdict(list)
        self._settled: dict[tuple[records.Source, int], records.Settled] = {}
        for stream in streams:
            for _, _, record in stream.records:
                if isinstance(record, records.Digested):
                    look = Look(record.path, record.inode, record.size, record.modified_ns)
                    if record not in self._digests[look]:
                        self._digests[look].append(record)
                elif isinstance(record, records.Contained):
                    self._members[Look(record.path, record.inode, 0, record.modified_ns)].append(record)
                elif isinstance(record, records.Settled):
                    self._settled[stream.source, record.entity] = record
        self._generated()
        self._read()
        self._contents()

    def _declared(self) -> Iterator[tuple[records.Source, int, int, records.Declared]]:
        for stream in self._streams:
            for sequence, at, record in stream.records:
                if isinstance(record, records.Declared):
                    yield stream.source, sequence, at, record

    def _family(self, record: records.Declared) -> str:
        cls = vocabulary.CLASS_OF_CODE[record.code].name if record.code else "Dataset"
        return "model" if cls == "Model" else "data"

    def _node(self, uuid: str, cls: str, rank: int, attempt: int, record: records.Declared) -> None:
        fields: dict[str, Any] = {
            "label": record.label,
            "path": record.path or record.identifier,
            "select": record.select,
            "attempt": attempt,
        }
        if record.modified_ns:
            fields |= {"size": record.size, "modified_ns": record.modified_ns}
        elif record.digest:
            fields["size"] = record.size
        if record.step != records.NO_STEP:
            fields["step"] = record.step
        self.builder.node(cls, uuid, rank, **fields)

    def _generated(self) -> None:
        times: dict[tuple[records.Source, str, str, str], int] = defaultdict(int)
        for source, sequence, at, record in self._declared():
            if not record.generated:
                continue
            activity = self.activities.part(source, record.activity).uuid
            family, name = self._family(record), record.path or record.label
            times[source, activity, family, name] += 1
            uuid = identity.local(
                self.run.uuid, "generated", activity, family, name, times[source, activity, family, name]
            )
            settled = self._settled.get((source, sequence))
            if settled:
                record = record._replace(inode=settled.inode, size=settled.size, modified_ns=settled.modified_ns)
            self._node(uuid, vocabulary.CLASS_OF_CODE[record.code].name, source.rank, source.attempt, record)
            self.of[source, sequence] = uuid
            self.builder.relate("wasGeneratedBy", uuid, activity, source.rank, time_ns=at)
            stage = self.activities.stage_of.get(activity)
            if stage:
                self.builder.relate_where_allowed("hasOutput", stage, uuid)
            look = Look(record.path, record.inode, record.size, record.modified_ns)
            if uuid not in self._looks or (not self._looks[uuid].modified_ns and look.modified_ns):
                self._looks[uuid] = look
            self._given(uuid, record)
            if record.path:
                self._made[look].append(_Made(at, uuid))
                self._known[record.path].append(_Made(at, uuid))
        for made in (*self._made.values(), *self._known.values()):
            made.sort()

    def _read(self) -> None:
        later: list[tuple[records.Source, int, int, records.Declared]] = []
        for source, sequence, at, record in self._declared():
            if record.generated:
                continue
            if record.code == 0:
                later.append((source, sequence, at, record))
            else:
                self.of[source, sequence] = self._seen(source, at, record)
        for (
            source,
            sequence,
            at,
            record,
        ) in later:  # "whatever the run knows under that path": so it must be known by now
            look = Look(record.path, record.inode, record.size, record.modified_ns)
            made = self._before(self._made.get(look, []), at) or self._before(self._known.get(record.path, []), at)
            if made is None:
                cls = "LearningDataset" if self.run.phase == "learning" else "Dataset"
                record = record._replace(code=vocabulary.CLASS[cls].code)
                self.of[source, sequence] = self._seen(source, at, record)
            else:
                self.builder.node(self.builder.class_of(made) or "Dataset", made, source.rank)
                self.of[source, sequence] = made

    def _before(self, made: list[_Made], at: int, family: str | None = None) -> str | None:
        """Return the latest version made before a time, or, since ranks' clocks may be apart, the first after it."""
        fitting = [one for one in made if family is None or self._is(one.uuid, family)]
        earlier = [one for one in fitting if one.at <= at]
        return (earlier or fitting)[-1 if earlier else 0].uuid if fitting else None

    def _is(self, uuid: str, family: str) -> bool:
        return (self.builder.class_of(uuid) == "Model") == (family == "model")

    def _seen(self, source: records.Source, at: int, record: records.Declared) -> str:
        cls = vocabulary.CLASS_OF_CODE[record.code].name
        family = self._family(record)
        look = Look(record.path, record.inode, record.size, record.modified_ns)
        if record.path and not record.select:
            made = self._before(self._made.get(look, []), at, family)
            if made is not None:
                self.builder.node(self.builder.class_of(made) or cls, made, source.rank)
                return made
        if record.collection and not record.modified_ns:
            uuid = identity.local(self.run.uuid, "collection", record.path or record.label)
        else:
            uuid = identity.local(
                self.run.uuid,
                "seen",
                family,
                *look,
                record.select,
                record.store,
                record.identifier,
                record.algorithm,
                record.digest,
                "" if record.path else record.label,
            )
        have = self.builder.class_of(uuid)
        self._node(uuid, have or cls, source.rank, source.attempt, record)
        self._looks.setdefault(uuid, look)
        self._given(uuid, record)
        if record.path:
            known = _Made(at, uuid)
            self._known[record.path].append(known)
        return uuid

    def _given(self, uuid: str, record: records.Declared) -> None:
        """Say the digest that the user gave, and the place in a store."""
        if record.digest:
            self._same_bytes(uuid, record.algorithm, record.digest, record.size)
            self.builder.row(uuid)["digest_state"] = "given"
        store, name = record.store, record.identifier
        if not store and record.path:
            store, name = f"file:{self.run.authority}", record.path
        if store:
            authority = self.run.authority
            place = self.builder.node("DataStore", identity.named(authority, "DataStore", store), label=store)
            reference = identity.named(authority, "DataReference", name, store)
            self.builder.node("DataReference", reference, label=name, identifier=name)
            self.builder.relate("atLocation", reference, place)
            self.builder.relate("specializationOf", uuid, reference)

    def _same_bytes(self, uuid: str, algorithm: str, digest: str, size: int) -> None:
        if size == 0:  # every empty file is alike: that says nothing about where it came from
            return
        content = identity.content(algorithm, digest, size)
        self.builder.node("Content", content, algorithm=algorithm, digest=digest, size=size)
        self.builder.relate("specializationOf", uuid, content)

    def _contents(self) -> None:
        for uuid, look in list(self._looks.items()):
            row = self.builder.row(uuid)
            for found in self._digests.get(look, ()):
                if found.digest:
                    self._same_bytes(uuid, found.algorithm, found.digest, found.content_size)
                if row.get("digest_state") != "given":
                    row["digest_state"] = found.state
            for member in self._members.get(look._replace(size=0), ()):
                self._member(uuid, member)

    def _member(self, collection: str, member: records.Contained) -> None:
        cls = self.builder.class_of(collection) or "Dataset"
        path = f"{member.path}/{member.relative}"
        uuid = identity.local(self.run.uuid, "member", collection, member.relative)
        self.builder.node(cls, uuid, label=member.relative, path=path, size=member.size, digest_state="whole")
        self.builder.relate("hadMember", collection, uuid)
        if member.digest:
            self._same_bytes(uuid, member.algorithm, member.digest, member.size)
