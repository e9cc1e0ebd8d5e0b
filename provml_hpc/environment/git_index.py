"""Read git's index (versions 2, 3 and 4) and work out the tree that it stands for.

The tree follows from the index alone, so staged changes show by comparing one object name with HEAD's tree; no other
tree has to be read. Format: gitformat-index(5) of git's own documentation.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from provml_hpc.environment.git_objects import GitFormatError, offset_number
from provml_hpc.environment.yielding import give_way

INDEX_LIMIT = 256 * 2**20
"""Largest index file that is read, in bytes (about two million tracked files)."""

SPARSE_DIRECTORY, SYMLINK, GITLINK = 0o040000, 0o120000, 0o160000
_VALID, _EXTENDED, _SKIP, _INTENT = 0x8000, 0x4000, 0x4000, 0x2000


class IndexEntry(NamedTuple):
    """One tracked path: what git knows of it."""

    path: bytes
    mode: int
    oid: bytes
    size: int
    mtime_s: int
    mtime_ns: int
    stage: int
    unwatched: bool
    intended: bool


class Index(NamedTuple):
    """The index: its entries in git's order, and its own modification time in nanoseconds."""

    entries: list[IndexEntry]
    mtime_ns: int

    def as_recorded(self, entry: IndexEntry, found: os.stat_result) -> bool:
        """Return whether a file has the size and time at which git last saw that its content is the entry's."""
        seconds, nanoseconds = divmod(found.st_mtime_ns, 10**9)
        recorded = entry.mtime_s * 10**9 + entry.mtime_ns
        return (
            entry.size == found.st_size & 0xFFFFFFFF
            and entry.mtime_s == seconds & 0xFFFFFFFF
            and entry.mtime_ns in (nanoseconds, 0)
            # A file written in the same instant as the index may have changed again without a trace ("racy git").
            and recorded < self.mtime_ns
        )


def read_index(path: Path, algorithm: str) -> Index:
    """Read an index file.

    Parameters
    ----------
    path
        The file ``index``.
    algorithm
        ``"sha1"`` or ``"sha256"``, the repository's object format.

    Raises
    ------
    GitFormatError
        The index is damaged, too large, or split in two.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        stat = path.stat()
        if stat.st_size > INDEX_LIMIT:
            raise GitFormatError("the index is too large to read")
        data = file.read(INDEX_LIMIT)
    hash_size = hashlib.new(algorithm, usedforsecurity=False).digest_size
    body, checksum = data[:-hash_size], data[-hash_size:]
    # `index.skipHash` leaves zeros where the checksum would be.
    if any(checksum) and hashlib.new(algorithm, body, usedforsecurity=False).digest() != checksum:
        raise GitFormatError("the index is damaged")
    try:
        entries, place = _read_entries(data, hash_size)
        while place + 8 <= len(body):
            name, size = struct.unpack_from(">4sI", data, place)
            # An extension with a small first letter changes what the entries mean. "sdir" is served by the entries.
            if name[:1].islower() and name != b"sdir":
                raise GitFormatError(f"the index needs its extension {name.decode('ascii', 'replace')!r}")
            place += 8 + size
    except (struct.error, IndexError):
        raise GitFormatError("the index is cut short") from None
    return Index(entries, stat.st_mtime_ns)


def _read_entries(data: bytes, hash_size: int) -> tuple[list[IndexEntry], int]:
    magic, version, count = struct.unpack_from(">4sII", data, 0)
    if magic != b"DIRC" or version not in (2, 3, 4):
        raise GitFormatError(f"the index has a form that is not read here (version {version})")
    fixed = struct.Struct(f">8xII8xI8xI{hash_size}sH")
    entries: list[IndexEntry] = []
    place, previous = 12, b""
    for _ in range(count):
        give_way()
        start = place
        seconds, nanoseconds, mode, size, oid, flags = fixed.unpack_from(data, place)
        place += fixed.size
        more = 0
        if flags & _EXTENDED:
            (more,) = struct.unpack_from(">H", data, place)
            place += 2
        if version == 4:
            cut, place = offset_number(data, place)
            end = data.index(b"\0", place)
            path = previous[: len(previous) - cut] + data[place:end]
            place = end + 1
        else:
            length = flags & 0xFFF
            end = place + length if length < 0xFFF else data.index(b"\0", place)
            path = data[place:end]
            place = end + 8 - (end - start) % 8
        entries.append(
            IndexEntry(
                path,
                mode,
                oid,
                size,
                seconds,
                nanoseconds,
                stage=(flags >> 12) & 3,
                unwatched=bool(flags & _VALID or more & _SKIP),
                intended=bool(more & _INTENT),
            )
        )
        previous = path
    return entries, place


def tree_of(entries: Iterable[IndexEntry], algorithm: str) -> bytes:
    """Work out the name of the root tree that ``git write-tree`` would give for these entries.

    Entries come in the index's order, which is also the order inside trees: a folder sorts as if its name ended with a
    slash, in both.
    """
    names: list[bytes] = []
    bodies = [bytearray()]

    def close() -> None:
        oid = hash_object(b"tree", bytes(bodies.pop()), algorithm)
        bodies[-1].extend(b"40000 " + names.pop() + b"\0" + oid)

    for entry in entries:
        give_way()
        *folders, name = entry.path.rstrip(b"/").split(b"/")
        while names != folders[: len(names)]:
            close()
        for folder in folders[len(names) :]:
            names.append(folder)
            bodies.append(bytearray())
        bodies[-1].extend(b"%o %s\0%s" % (entry.mode, name, entry.oid))
    while names:
        close()
    return hash_object(b"tree", bytes(bodies[0]), algorithm)


def hash_object(kind: bytes, body: bytes, algorithm: str) -> bytes:
    """Give the name of an object by its type and body."""
    digest = hashlib.new(algorithm, b"%s %d\0" % (kind, len(body)), usedforsecurity=False)
    digest.update(body)
    return digest.digest()
