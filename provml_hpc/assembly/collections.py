"""The bytes of a directory that ranks filled shard by shard: from those of its members, as if it had been read."""

from __future__ import annotations

from provml_hpc.assembly.builder import Builder
from provml_hpc.assembly.entities import Entities
from provml_hpc.content import Digest, digest_of_members


def say_contents(build: Builder, entities: Entities) -> None:
    """Give each directory that was made by ``member_of`` the Content that a later reader of it finds.

    Only where the digest of every member is known: a member without one would make the digest that of another
    directory.
    """
    for collection, members in entities.filled.items():
        if entities.digest_of.get(collection):  # somebody read it
            continue
        root = str(build.row(collection).get("path") or "").rstrip("/") + "/"
        latest: dict[str, str] = {}
        for member in sorted(members, key=lambda uuid: (entities.made_at.get(uuid, 0), uuid)):
            path = str(build.row(member).get("path") or "")
            if not path.startswith(root):
                latest.clear()
                break
            latest[path.removeprefix(root)] = member
        digests = {path: _digest(entities, member) for path, member in latest.items()}
        known = [(path, digest) for path, digest in digests.items() if digest is not None]
        if known and len(known) == len(digests):
            whole = digest_of_members(known)
            entities.same_bytes(collection, whole.algorithm, whole.hexdigest, whole.size)
            build.row(collection).update(size=whole.size, digest_state="sampled" if whole.weak else "whole")


def _digest(entities: Entities, member: str) -> Digest | None:
    """Return the digest of a version as its directory's digest has it; None where there is none, or no telling."""
    found = entities.digest_of.get(member, {})
    return next(iter(found)) if len(found) == 1 else None
