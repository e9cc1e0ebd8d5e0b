"""The identity of records: from what is said of them to one uuid, the same in every job that says the same.

The three kinds of identity are explained in ``docs/vocabulary.md``: Content (bytes), named things, and all else, which
is known by its run and its place in it.
"""

from __future__ import annotations

import json
from functools import lru_cache
from hashlib import sha1
from uuid import UUID, uuid5

NAMESPACE = UUID("5d8f3d5e-6a0b-5c86-9d65-6f5f6a1c6a11")
"""The uuid namespace of this project; changing it would part every new file from every old one."""

_CONTENT = uuid5(NAMESPACE, "content").bytes
_NAMED = uuid5(NAMESPACE, "named").bytes
_LAUNCHED = uuid5(NAMESPACE, "launched").bytes
_GRAPH = uuid5(NAMESPACE, "graph").bytes


@lru_cache(maxsize=64)
def _bytes(run: str) -> bytes:
    return UUID(run).bytes


def _uuid5(namespace: bytes, name: str) -> str:
    """Return what ``str(uuid.uuid5(...))`` does, in a third of the time: a large run needs a million of them."""
    digest = bytearray(sha1(namespace + name.encode("utf-8", "backslashreplace"), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def content(algorithm: str, digest: str, size: int) -> str:
    """Return the uuid of the bytes that have this digest and size (in bytes; -1 where it is not known)."""
    return _uuid5(_CONTENT, f"{algorithm}:{digest}:{size}")


def named(authority: str, kind: str, name: str, scope: str = "") -> str:
    """Return the uuid of a named thing: equal wherever authority, kind, name and scope are equal."""
    return _uuid5(_NAMED, json.dumps([authority, kind, name, scope]))


def local(run: str, *place: object) -> str:
    """Return the uuid of a record that is known by its run and its place in it."""
    return _uuid5(_bytes(run), json.dumps(place))


def launched(*launch: str) -> str:
    """Return the uuid of a run whose ranks do not speak to each other, from what tells its launch from all others."""
    return _uuid5(_LAUNCHED, json.dumps(launch))


def series(run: str, activity: str, measure: str) -> str:
    """Return the uuid of the series of one measure of an activity, whatever other measures it was logged with."""
    return local(run, "series", activity, measure)


def telemetry(run: str, place: str, label: str, name: str) -> str:
    """Return the uuid of the series of one counter at one place, whatever other counters were sampled with it."""
    return local(run, "telemetry", place, label, name)


def graph(run: str) -> str:
    """Return the uuid of the named graph (the prov:Bundle) that holds what is said of a run."""
    return _uuid5(_GRAPH, run)
