"""The uuids of nodes that only RDF has: as `identity.local` makes them, but fast enough for millions."""

from __future__ import annotations

import hashlib


def seed(uuid: str) -> bytes:
    """Return the 16 bytes of a uuid, as the namespace of others."""
    return bytes.fromhex(uuid.replace("-", ""))


def below(namespace: bytes, name: str) -> str:
    """Return the uuid5 of a name in a namespace (RFC 9562, 5.5) as text, without the objects of `uuid.uuid5`."""
    digest = hashlib.sha1(namespace + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def place(*parts: str | int) -> str:
    """Return the name that `identity.local` gives to a place of uuids, plain words and integers: nothing to escape."""
    # That is JSON, as `repr` would have it but for the quotes.
    return repr([*parts]).replace("'", '"')
