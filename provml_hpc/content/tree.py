"""The digest of a directory: of the names and digests of the files in it."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable, MutableMapping
from typing import NamedTuple

from provml_hpc.content.digests import (
    Digest,
    DigestCancelledError,
    StatKey,
    check_stop,
    digest_file,
    full_digest_limit,
    is_sampled,
    key_of_status,
    stat_key,
)
from provml_hpc.errors import UsageError

TREE_FACTOR = 16
"""How many times the limit of one file a directory may hold before its large files are fingerprinted."""

MEMBER_LIMIT = 10_000
FILE_LIMIT = 1_000_000


class Member(NamedTuple):
    """A file of a directory: its path relative to it, with ``/``, its digest and its state."""

    path: str
    digest: Digest
    key: StatKey


class TreeDigest(NamedTuple):
    """A directory's digest and what it was made of.

    Attributes
    ----------
    digest
        Algorithm ``"sha256-tree"``, or ``"provml-sample-tree-1"`` (weak) if a member's digest is weak or a member could
        not be read.
    members
        The members in the order of the digest, at most `MEMBER_LIMIT` of them unless more were asked for.
    member_count
        How many there are in all.
    skipped
        What has no bytes in the digest, with the reason; at most `MEMBER_LIMIT` entries.
    """

    digest: Digest
    members: tuple[Member, ...]
    member_count: int
    skipped: tuple[tuple[str, str], ...]


class _Found(NamedTuple):
    """A file to digest: sort name, path as the reader opens it, state."""

    name: bytes
    path: str
    key: StatKey


def digest_directory(
    path: str | os.PathLike[str],
    *,
    full_limit: int | None = None,
    whole: bool = False,
    member_limit: int = MEMBER_LIMIT,
    stop: threading.Event | None = None,
    known: MutableMapping[tuple[StatKey, bool], Digest] | None = None,
) -> TreeDigest:
    r"""Digest a directory over its members, hidden ones included.

    The digest is the SHA-256 over one line for each member, in the order of the relative paths as bytes (with ``/``
    between folders): ``ALGORITHM:HEXDIGEST SIZE PATH`` and a zero byte. An empty folder leaves no trace.

    A link to a file inside the directory counts as a file of its own name. Any other link (out of the directory,
    broken, or to a folder) is not followed: its line is ``link TARGET PATH``, with a zero byte also between the last
    two, so that a directory of links into a store of named blobs still has an identity. Pipes, sockets and devices are
    left out. A file that cannot be read has the line ``unread PATH`` and makes the digest weak.

    Parameters
    ----------
    path
        The directory.
    full_limit
        Largest file that is digested whole, in bytes (see `digest_file`). In a directory with more than sixteen times
        as much, only the files of at most 4 MiB are.
    whole
        Digest all bytes whatever the size.
    member_limit
        How many members are listed in the result; the digest covers all.
    stop
        Give up when this is set.
    known
        Digests found before, by state and weakness; new ones are added.

    Raises
    ------
    UsageError
        It is not a directory, or has more than a million files.
    DigestCancelledError
        `stop` was set.
    OSError
        The directory itself cannot be read.
    """
    root = stat_key(path)
    if not root.is_directory:
        raise UsageError(f"{root.path} is not a directory; use digest_file for it")
    limit = full_digest_limit() if full_limit is None else full_limit
    walk = _Walk(root.path, stop)
    walk.run()
    if sum(found.key.size for found in walk.files) > limit * TREE_FACTOR:
        limit = 0
    lines = [(name, b"link " + target + b"\0" + name) for name, target in walk.links]
    members: list[Member] = []
    size, weak, changed = 0, False, False
    for found in walk.files:
        # A digest of the other strength would make the directory's digest depend on what was asked before.
        place = (found.key, is_sampled(found.key.size, limit, whole))
        digest = None if known is None else known.get(place)
        if digest is None:
            try:
                digest = digest_file(found.path, full_limit=limit, whole=whole, expected=found.key, stop=stop)
            except DigestCancelledError:
                raise
            except (OSError, UsageError) as error:
                walk.skip(found.name, f"cannot be read: {getattr(error, 'strerror', None) or error}")
                continue
            if known is not None and not digest.changed:
                known[place] = digest
        members.append(Member(os.fsdecode(found.name), digest, found.key))
        size += digest.size or 0
        weak, changed = weak or digest.weak, changed or digest.changed
        lines.append(_line(found.name, digest))
    lines += [(name, b"unread " + name) for name in walk.unread]
    members.sort(key=lambda member: os.fsencode(member.path))
    digest = _sum_up(lines, size, weak or bool(walk.unread), changed or walk.moved())
    skipped = tuple((os.fsdecode(name), reason) for name, reason in sorted(walk.skipped)[:member_limit])
    return TreeDigest(digest, tuple(members[:member_limit]), len(members), skipped)


def digest_of_members(members: Iterable[tuple[str, Digest]]) -> Digest:
    """Return the digest that a directory of just these files has, from their relative paths and digests."""
    found = [(os.fsencode(path), digest) for path, digest in members]
    size = sum(digest.size or 0 for _, digest in found)
    return _sum_up([_line(*one) for one in found], size, any(digest.weak for _, digest in found), False)


def _line(name: bytes, digest: Digest) -> tuple[bytes, bytes]:
    return name, f"{digest} {digest.size} ".encode() + name


def _sum_up(lines: list[tuple[bytes, bytes]], size: int, weak: bool, changed: bool) -> Digest:
    import hashlib

    hasher = hashlib.sha256(usedforsecurity=False)
    for _, line in sorted(lines):
        hasher.update(line + b"\0")
    return Digest("provml-sample-tree-1" if weak else "sha256-tree", hasher.hexdigest(), size, weak, changed)


class _Walk:
    """One look at all names below a directory."""

    def __init__(self, root: str, stop: threading.Event | None) -> None:
        self._root = root
        self._real = os.path.realpath(root)
        self._stop = stop
        self._folders: list[StatKey] = []
        self.files: list[_Found] = []
        self.links: list[tuple[bytes, bytes]] = []
        self.skipped: list[tuple[bytes, str]] = []
        self.unread: list[bytes] = []

    def run(self) -> None:
        """List every folder once. Links to folders are not entered, so there is no loop to fall into."""
        pending = [(self._root, b"")]
        while pending:
            check_stop(self._stop)
            folder, prefix = pending.pop()
            try:
                self._folders.append(stat_key(folder))
                with os.scandir(folder) as entries:
                    listed = list(entries)
            except OSError as error:
                if not prefix:
                    raise
                self.skip(prefix.rstrip(b"/"), f"cannot be read: {error.strerror}")
                continue
            for entry in listed:
                name = prefix + os.fsencode(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, name + b"/"))
                else:
                    self._take(entry, name)
            if len(self.files) > FILE_LIMIT:
                raise UsageError(
                    f"{self._root} has more than {FILE_LIMIT} files; give its digest yourself, or record its parts"
                )

    def _take(self, entry: os.DirEntry[str], name: bytes) -> None:
        try:
            if entry.is_symlink():
                real = os.path.realpath(entry.path)
                inside = real.startswith(self._real.rstrip("/") + "/")
                if not inside or not os.path.isfile(real):  # noqa: PTH113 - beside realpath, in text
                    self.links.append((name, os.fsencode(os.readlink(entry.path))))  # noqa: PTH115
                    self.skipped.append((name, "a link that is not followed: its target's name stands for it"))
                    return
            status = entry.stat()
        except OSError as error:
            self.skip(name, f"cannot be read: {error.strerror}")
            return
        if stat.S_ISREG(status.st_mode):
            self.files.append(_Found(name, entry.path, key_of_status(entry.path, status)))
        else:
            self.skipped.append((name, "not a regular file"))

    def skip(self, name: bytes, reason: str) -> None:
        """Note something that should have been read but could not."""
        self.unread.append(name)
        self.skipped.append((name, reason))

    def moved(self) -> bool:
        """Tell whether names came or went since the look: that moves the time of their folder."""
        return any(_try(stat_key, key.path) != key for key in self._folders)


def _try(look: Callable[[str], StatKey], path: str) -> StatKey | None:
    try:
        return look(path)
    except OSError:
        return None
