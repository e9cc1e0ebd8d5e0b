"""What a rank writes down: each kind of record once, with its fields and its code.

A *source* is what one thread of one rank wrote in one attempt: (attempt, rank, lane). A reference from one record to
another is the sequence of the record referred to, in lane 0 of the same rank; references to a :class:`Device` are
within their own lane. How records become bytes is in :mod:`provml_hpc.wire`.

Schema evolution: append only. A new field gets a default and stands after the older ones of its sort; a reader fills
up what an older writer did not know and passes over what a newer one added, kinds included.
"""

from __future__ import annotations

from typing import Any, NamedTuple

NO_STEP = -(2**63)
"""The step of what was said for no step."""

RUN_LANE = 0
"""The lane of the thread that the run was opened in."""
SIDE_LANE = 1
"""The lane that all other threads of a rank share."""
TELEMETRY_LANE = 2
"""The lane of the thread that samples counters, on one rank a node."""

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
    """The first record of every source. `parts` is how many files the run has, all of which are there by then."""

    clock_to_wall_ns: int
    size: int
    pid: int
    host: str
    parts: int = 1


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

KINDS: dict[int, type[Any]] = {
    1: Started, 2: Opened, 3: Closed, 4: Layout, 5: Named, 6: Declared, 7: Used, 8: Settled, 9: Derived, 10: Member,
    11: Evaluated, 12: Associated, 13: Digested, 14: Contained, 15: Fact, 16: Dropped, 17: Continued, 18: Ended,
    19: Device, 20: Placed, 21: Counters, 22: Lost, 23: Clock,
}  # fmt: skip
"""The kinds by their stable codes: a new kind takes the next number, and a number is never used again."""
