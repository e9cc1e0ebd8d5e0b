"""How tracked files differ from the commit: a digest of that, and the difference itself for who asks.

The digest is the SHA-256 of a line for each path that differs, in order: the path, the name of what the commit has, and
the SHA-256 of what lies there now. So two runs of one commit with the same changes have the same digest, on any
machine.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from provml_hpc.environment.git_index import (
    GITLINK,
    SPARSE_DIRECTORY,
    SYMLINK,
    Index,
    IndexEntry,
    hash_object,
    read_index,
)
from provml_hpc.environment.git_objects import GitFormatError, commit_tree, read_object
from provml_hpc.environment.git_repository import Repository, read_head
from provml_hpc.environment.yielding import give_way

TEXT_LIMIT = 1 << 20
"""Longest difference that is recorded, in characters."""

_FILE_LIMIT = 32 << 20
_NOTHING = "-"


class Change(NamedTuple):
    """A path that differs: what the commit has there (an object's name; empty for nothing) and what lies there now."""

    path: bytes
    before: bytes
    now: bytes | None


def changes(repository: Repository, seconds: float = 2.0) -> list[Change]:
    """Return the tracked paths that differ from the commit, in order.

    Raises
    ------
    GitFormatError
        The repository cannot be read, or not in time.
    OSError
        A file of it cannot be read.
    """
    deadline = time.monotonic() + seconds
    head = read_head(repository)
    objects = repository.common / "objects"
    tree = commit_tree(objects, bytes.fromhex(head.commit)) if head.commit else None
    if tree is None:
        raise GitFormatError("the commit cannot be read")
    index = read_index(repository.git / "index", repository.algorithm)
    tracked = {entry.path: entry for entry in index.entries if entry.mode not in (GITLINK, SPARSE_DIRECTORY)}
    before = dict(_files(objects, tree, b"", deadline))
    found = []
    for path in sorted(before.keys() | tracked.keys()):
        give_way()
        if time.monotonic() > deadline:
            raise GitFormatError("the look at the tracked files took too long")
        entry, oid = tracked.get(path), before.get(path, b"")
        if entry is not None and entry.unwatched:
            continue
        if entry is not None and entry.oid == oid and _untouched(repository, index, entry):
            continue  # without reading it: the look at a large checkout is a look at what changed
        now = None if entry is None else _now(repository, entry)
        if entry is not None and entry.oid == oid and _unchanged(repository, entry, now):
            continue
        if now is not None and oid and hash_object(b"blob", now, repository.algorithm) == oid:
            continue
        if now is not None or oid:
            found.append(Change(path, oid, now))
    return found


def digest(found: list[Change]) -> str:
    """Return the digest of changes, in hexadecimal."""
    said = hashlib.sha256()
    for one in found:
        now = _NOTHING if one.now is None else hashlib.sha256(one.now).hexdigest()
        said.update(one.path + f"\0{one.before.hex() or _NOTHING}\0{now}\n".encode())
    return said.hexdigest()


def text(repository: Repository, found: list[Change]) -> str:
    """Return changes as a unified difference; of what is no text only that it differs."""
    parts: list[str] = []
    size = 0
    for one in found:
        for line in _lines(repository, one):
            give_way()
            size += len(line)
            if size > TEXT_LIMIT:
                parts.append("[cut]\n")
                return "".join(parts)
            parts.append(line)
    return "".join(parts)


def _lines(repository: Repository, one: Change) -> Iterator[str]:
    name = one.path.decode("utf-8", "backslashreplace")
    old = read_object(repository.common / "objects", one.before) if one.before else None
    before = b"" if old is None else old[1]
    now = one.now or b""
    if b"\0" in before or b"\0" in now:
        yield f"Binary files a/{name} and b/{name} differ\n"
        return
    old_lines, new_lines = (body.decode("utf-8", "replace").splitlines(keepends=True) for body in (before, now))
    old_name, new_name = f"a/{name}" if one.before else "/dev/null", f"b/{name}" if one.now is not None else "/dev/null"
    for line in difflib.unified_diff(old_lines, new_lines, old_name, new_name):
        yield line if line.endswith("\n") else line + "\n\\ No newline at end of file\n"


def _now(repository: Repository, entry: IndexEntry) -> bytes | None:
    """Return what lies at a tracked path, or None where it is gone; a link is what it points at."""
    path = os.path.join(os.fsencode(repository.root), entry.path)  # noqa: PTH118 - in bytes
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            return os.readlink(path)  # noqa: PTH115 - in bytes
        if not stat.S_ISREG(found.st_mode):
            return None
        with open(path, "rb") as file:  # noqa: PTH123 - in bytes
            return file.read(_FILE_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _untouched(repository: Repository, index: Index, entry: IndexEntry) -> bool:
    """Return whether a path is as git left it, by its kind, size and time."""
    try:
        found = os.lstat(os.path.join(os.fsencode(repository.root), entry.path))  # noqa: PTH118 - in bytes
    except OSError:
        return False
    kind = stat.S_ISLNK if entry.mode == SYMLINK else stat.S_ISREG
    return kind(found.st_mode) and index.as_recorded(entry, found)


def _unchanged(repository: Repository, entry: IndexEntry, now: bytes | None) -> bool:
    if now is None:
        return False
    if hash_object(b"blob", now, repository.algorithm) == entry.oid:
        return True
    # As git checks files out on some machines.
    plain = now.replace(b"\r\n", b"\n")
    return entry.mode != SYMLINK and hash_object(b"blob", plain, repository.algorithm) == entry.oid


def _files(objects: Path, tree: bytes, above: bytes, deadline: float) -> Iterator[tuple[bytes, bytes]]:
    """Yield (path, object name) of every file in a tree."""
    if time.monotonic() > deadline:
        raise GitFormatError("the look at the commit's files took too long")
    read = read_object(objects, tree)
    if read is None or read[0] != b"tree":
        raise GitFormatError("a tree of the commit cannot be read")
    body, at, width = read[1], 0, len(tree)
    while at < len(body):
        give_way()
        end = body.index(b"\0", at)
        mode, _, name = body[at:end].partition(b" ")
        oid = body[end + 1 : end + 1 + width]
        at = end + 1 + width
        kind = int(mode, 8)
        if kind == SPARSE_DIRECTORY:  # in a tree: a folder
            yield from _files(objects, oid, above + name + b"/", deadline)
        elif kind != GITLINK:
            yield above + name, oid
