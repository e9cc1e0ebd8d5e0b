"""The identity of records: from what is said of them to one uuid, the same in every job that says the same.

The three kinds of identity are explained in ``docs/vocabulary.md``: Content (bytes), named things, and all else, which
is known by its run and its place in it.
"""

from __future__ import annotations

import json
from functools import lru_cache
from uuid import UUID, uuid5

NAMESPACE = UUID("5d8f3d5e-6a0b-5c86-9d65-6f5f6a1c6a11")
"""The uuid namespace of this project; changing it would part every new file from every old one."""

_CONTENT = uuid5(NAMESPACE, "content")
_NAMED = uuid5(NAMESPACE, "named")
_GRAPH = uuid5(NAMESPACE, "graph")
_uuid = lru_cache(maxsize=64)(UUID)


def content(algorithm: str, digest: str, size: int) -> str:
    """Return the uuid of the bytes that have this digest and size (in bytes)."""
    return str(uuid5(_CONTENT, f"{algorithm}:{digest}:{size}"))


def named(authority: str, kind: str, name: str, scope: str = "") -> str:
    """Return the uuid of a named thing: equal wherever authority, kind, name and scope are equal."""
    return str(uuid5(_NAMED, json.dumps([authority, kind, name, scope], ensure_ascii=True)))


def local(run: str, *place: object) -> str:
    """Return the uuid of a record that is known by its run and its place in it."""
    return str(uuid5(_uuid(run), json.dumps(place, ensure_ascii=True)))


def graph(run: str) -> str:
    """Return the uuid of the named graph (the prov:Bundle) that holds what is said of a run."""
    return str(uuid5(_GRAPH, run))
