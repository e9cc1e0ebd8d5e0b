"""What a record is on the wire: the one encoding that serves as buffer, crash journal and message.

A rank writes *frames*. All numbers are little endian and every frame is a multiple of 8 bytes long::

    u32 size | u32 layout | u64 sequence | i64 clock_ns | body

`clock_ns` is the rank's monotonic clock; the :class:`Started` record that opens every source says what to add to get
nanoseconds since the epoch. `layout` 0 means a record, whose body is

    u16 kind | u16 numbers | u32 texts | numbers (8 bytes each) | texts (u32 length + UTF-8 each) | zeros

and any other layout means a sample: ``i64 step | u64 section`` and one float64 for each measure of the
:class:`Layout` record, or counter of the :class:`Counters` record, that has that number. A *source* is what one thread
of one rank wrote in one attempt: (attempt, rank, lane). Its sequence counts from 1 without gaps, and a reference from
one record to another is the sequence of the record referred to, in lane 0 of the same rank; references to a
:class:`Device` are within their own lane.

Schema evolution: append only. A new field gets a default and stands after the older ones of its sort; a reader fills
up what an older writer did not know and passes over what a newer one added, kinds included.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple, get_type_hints

HEADER = struct.Struct("<IIQq")
SAMPLE_HEAD = struct.Struct("<IIQqqQ")
_BODY = struct.Struct("<HHI")
_LENGTH = struct.Struct("<I")

NO_STEP = -(2**63)
"""The step of what was said for no step."""

RUN_LANE = 0
"""The lane of the thread that the run was opened in."""
SIDE_LANE = 1
"""The lane that all other threads of a rank share."""
TELEMETRY_LANE = 2
"""The lane of the thread that samples counters, on one rank a node."""

SHARED, OWN = 0, 1
"""Whether an activity is shared by the ranks that open it, or belongs to one."""

BY_PROCESS = "process"
"""How one knows that a rank used a device: the driver told of its process there."""

COMPLETED, FAILED, LEFT, OPEN = "completed", "failed", "left", "open"
"""How an activity ended; ``left`` takes the outcome of what encloses it."""


class Source(NamedTuple):
    """What one thread of one rank wrote in one attempt of a run."""

    attempt: int
    rank: int
    lane: int


class Started(NamedTuple):
    """The first record of every source."""

    clock_to_wall_ns: int
    size: int
    pid: int
    host: str


class Opened(NamedTuple):
    """An activity begins; its sequence is its handle. `code` is the class's; `ordinal` counts equal openings from 1.

    `measures` (a JSON list of names) and `procedure` say how what it makes is to be judged.
    """

    code: int
    parent: int
    own: int
    ordinal: int
    section_index: int
    name: str
    key: str
    section_kind: str
    item_type: str
    item: str
    task: str
    algorithm: str
    signature: str
    procedure: str = ""
    measures: str = ""


class Closed(NamedTuple):
    """An activity ends, and with it all that is still open inside it."""

    activity: int
    outcome: str
    reason: str


class Layout(NamedTuple):
    """The samples that carry this number belong to `activity` and have these measures (a JSON list of names)."""

    number: int
    activity: int
    measures: str


class Named(NamedTuple):
    """A value under a name: a hyperparameter, attribute or characteristic, of an activity or (if not 0) of an entity.

    `used` is 1 for a value that the activity was given, 0 for one that was found out about it.
    """

    code: int
    activity: int
    entity: int
    used: int
    name: str
    type: str
    text: str


class Declared(NamedTuple):
    """Data or a model as this rank saw it; its sequence is its handle.

    `code` 0 means whatever the run knows under that path. `activity` is where it was said, and the one that made it
    where `generated` is 1. `collection` is 1 for what has members.
    """

    code: int
    activity: int
    generated: int
    collection: int
    step: int
    inode: int
    size: int
    modified_ns: int
    label: str
    path: str
    select: str
    store: str
    identifier: str
    algorithm: str
    digest: str


class Settled(NamedTuple):
    """How a generated file looked when the activity that made it ended."""

    entity: int
    inode: int
    size: int
    modified_ns: int


class Used(NamedTuple):
    """An activity read an entity."""

    activity: int
    entity: int
    role: str


class Derived(NamedTuple):
    """An entity was made from another, as the user said, or (`revision`) is a later version of it."""

    entity: int
    source: int
    revision: int


class Member(NamedTuple):
    """An entity is a part of a collection."""

    collection: int
    entity: int


class Evaluated(NamedTuple):
    """A measure had a value; `on` and `model` are entities, or 0."""

    activity: int
    on: int
    model: int
    step: int
    name: str
    type: str
    text: str


class Associated(NamedTuple):
    """A person took part in an activity; or, where `entity` is not 0, the entity is that person's work.

    `organization` is 1 where it is no single person.
    """

    activity: int
    name: str
    identifier: str
    role: str
    entity: int = 0
    organization: int = 0


class Digested(NamedTuple):
    """The digest of the file that looked like this; `state` is whole, sampled, changed, missing or failed.

    `content_size` counts the bytes that went into the digest, which for a directory are those of its files.
    """

    inode: int
    modified_ns: int
    size: int
    content_size: int
    state: str
    path: str
    algorithm: str
    digest: str
    reason: str


class Contained(NamedTuple):
    """A file within the directory that looked like this (path, inode, modified_ns)."""

    inode: int
    modified_ns: int
    size: int
    path: str
    relative: str
    algorithm: str
    digest: str


class Fact(NamedTuple):
    """Something found out about the run, the node, the rank or a device (`scope`), or about the capture itself."""

    scope: str
    name: str
    type: str
    text: str
    device: int = 0


class Clock(NamedTuple):
    """What this rank's clock lacked to that of the writer rank when this was written, and by how much that may be off.

    Both in nanoseconds. It is said at the start of an attempt and, where machines differ, again at its end.
    """

    offset_ns: int
    uncertainty_ns: int


class Dropped(NamedTuple):
    """So many of what was logged on an activity could not be kept, and why."""

    activity: int
    lost: int
    reason: str
    name: str


class Continued(NamedTuple):
    """The run goes on from another run."""

    run: str
    file: str


class Ended(NamedTuple):
    """The rank's part of the attempt is over."""

    outcome: str
    reason: str
    error: str


class Device(NamedTuple):
    """An accelerator of this rank's node, or (with a `parent`) a slice of one; its sequence is its handle."""

    number: int
    parent: int
    identifier: str
    label: str
    model: str


class Placed(NamedTuple):
    """A rank of this node used a device: its process was seen there, or `by` names the variable that gave it."""

    device: int
    rank: int
    by: str


class Counters(NamedTuple):
    """The samples that carry this number are counters: of a device, else of the process of a rank, else of the node.

    A `device` of 0 and a `rank` of -1 mean that they are not of one. `names` and `units` are JSON lists of one length.
    """

    number: int
    device: int
    rank: int
    names: str
    units: str


class Lost(NamedTuple):
    """The run goes on without a rank; `adopted` is 1 if what its journal held was brought in by another."""

    rank: int
    adopted: int
    reason: str


Record = (
    Started
    | Opened
    | Closed
    | Layout
    | Named
    | Declared
    | Settled
    | Used
    | Derived
    | Member
    | Evaluated
    | Associated
    | Digested
    | Contained
    | Fact
    | Dropped
    | Continued
    | Ended
    | Device
    | Placed
    | Counters
    | Lost
    | Clock
)

_KINDS: dict[int, type[Any]] = {
    1: Started, 2: Opened, 3: Closed, 4: Layout, 5: Named, 6: Declared, 7: Used, 8: Settled, 9: Derived, 10: Member,
    11: Evaluated, 12: Associated, 13: Digested, 14: Contained, 15: Fact, 16: Dropped, 17: Continued, 18: Ended,
    19: Device, 20: Placed, 21: Counters, 22: Lost, 23: Clock,
}  # fmt: skip
"""Stable codes: a new kind takes the next number, and a number is never used again."""


class _Schema(NamedTuple):
    code: int
    numbers: tuple[int, ...]  # positions of the number fields
    texts: tuple[int, ...]  # positions of the text fields
    head: struct.Struct


def _schema(code: int, kind: type[Any]) -> _Schema:
    types = list(get_type_hints(kind).values())
    numbers = tuple(i for i, t in enumerate(types) if t is int)
    texts = tuple(i for i, t in enumerate(types) if t is str)
    return _Schema(code, numbers, texts, struct.Struct(f"<IIQqHHI{len(numbers)}q"))


_SCHEMAS = {kind: _schema(code, kind) for code, kind in _KINDS.items()}
_DEFAULTS: dict[type[Any], tuple[Any, ...]] = {
    kind: tuple(t() for t in get_type_hints(kind).values()) for kind in _SCHEMAS
}


def encode(record: Record, sequence: int, clock_ns: int) -> bytes:
    """Return the frame of a record.

    Raises
    ------
    OverflowError
        A number does not fit into int64, or the frame would pass 4 GiB.
    """
    schema = _SCHEMAS[type(record)]
    texts = [str(record[i]).encode("utf-8", "backslashreplace") for i in schema.texts]
    size = schema.head.size + 4 * len(texts) + sum(map(len, texts))
    padding = -size % 8
    if size + padding >= 2**32:
        raise OverflowError(f"a record of {size} bytes is larger than a frame can be")
    try:
        head = schema.head.pack(
            size + padding, 0, sequence, clock_ns, schema.code, len(schema.numbers), len(texts),
            *[record[i] for i in schema.numbers],
        )  # fmt: skip
    except struct.error as error:
        raise OverflowError(f"a number of {type(record).__name__} does not fit into 64 bits: {error}") from None
    parts = [head]
    for text in texts:
        parts += (_LENGTH.pack(len(text)), text)
    parts.append(bytes(padding))
    return b"".join(parts)


class Frame(NamedTuple):
    """A decoded record with its place in its source."""

    sequence: int
    clock_ns: int
    record: Record


def decode(data: bytes | memoryview, offset: int = 0) -> Frame | None:
    """Return the record whose frame begins at `offset`, or None where a newer release wrote a kind unknown to this one.

    Raises
    ------
    ValueError
        The bytes there are no record.
    """
    try:
        size, layout, sequence, clock = HEADER.unpack_from(data, offset)
        code, n_numbers, n_texts = _BODY.unpack_from(data, offset + HEADER.size)
        at = offset + HEADER.size + _BODY.size
        end = offset + size
        if layout or size % 8 or end > len(data) or at + 8 * n_numbers + 4 * n_texts > end:
            raise ValueError(f"no record at byte {offset}")
        kind = _KINDS.get(code)
        if kind is None:
            return None
        schema = _SCHEMAS[kind]
        numbers = struct.unpack_from(f"<{n_numbers}q", data, at)
        at += 8 * n_numbers
        texts = []
        for _ in range(min(n_texts, len(schema.texts))):
            (length,) = _LENGTH.unpack_from(data, at)
            at += 4
            if at + length > end:
                raise ValueError(f"the record at byte {offset} has a text that passes its end")
            texts.append(str(data[at : at + length], "utf-8", "replace"))
            at += length
    except struct.error:
        raise ValueError(f"no record at byte {offset}") from None
    values = list(_DEFAULTS[kind])
    for place, number in zip(schema.numbers, numbers, strict=False):
        values[place] = number
    for place, text in zip(schema.texts, texts, strict=False):
        values[place] = text
    return Frame(sequence, clock, kind._make(values))


def least(layout: int) -> int:
    """Return the size in bytes of the smallest frame there can be: a record without fields, a sample of one measure."""
    return SAMPLE_HEAD.size + 8 if layout else HEADER.size + _BODY.size


def walk(data: bytes | memoryview, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """Yield (offset, size, layout, sequence) of each whole frame; stop where the bytes are no frame any more.

    For short stretches and for recovery. :func:`provml_hpc.assembly.frames.split` is its bulk form, and accepts what
    this one walked over.
    """
    at, end = start, len(data) if end is None else min(end, len(data))
    sizes: dict[int, int] = {}
    while at + HEADER.size <= end:
        size, layout, sequence, _ = HEADER.unpack_from(data, at)
        if size < least(layout) or size % 8 or at + size > end:
            return
        if layout and sizes.setdefault(layout, size) != size:  # all samples of a layout have the same measures
            return
        yield at, size, layout, sequence
        at += size
