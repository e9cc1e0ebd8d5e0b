"""Tell whether a working tree is what its commit says: yes, no, or honestly unknown.

*Dirty* means what ``git describe --dirty`` means: a tracked path differs from the commit, staged or not. Untracked
files do not count. A file whose size and modification time are those in the index is taken as unchanged, as git does by
default; git's rule for files changed in the same instant as the index was written is kept too.
"""

from __future__ import annotations

import os
import re
import stat
import time
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
    tree_of,
)
from provml_hpc.environment.git_objects import GitFormatError, commit_tree
from provml_hpc.environment.git_repository import Repository, open_repository, read_head
from provml_hpc.environment.yielding import give_way

HASH_LIMIT = 32 * 2**20
"""Largest file that is read to compare its bytes, in bytes."""

_NESTING = 8
_ATTRIBUTES_LIMIT = 2**20
_CONVERSION = re.compile(rb"\b(filter|ident|working-tree-encoding)\b")


class State(NamedTuple):
    """The answer: ``"true"``, ``"false"`` or ``"unknown"``, and the reason for the first and the last."""

    dirty: str
    reason: str


def working_tree_state(repository: Repository, seconds: float = 2.0) -> State:
    """Tell whether tracked files differ from the commit that HEAD names.

    Parameters
    ----------
    repository
        Where.
    seconds
        After this time the answer is ``"unknown"``: on a busy shared file system a look at 100,000 files takes long.
    """
    return _state(repository, time.monotonic() + seconds, 0)


def _state(repository: Repository, deadline: float, nesting: int) -> State:
    head = read_head(repository)
    if head.commit is None:
        return State("unknown", head.reason)
    try:
        try:
            index = read_index(repository.git / "index", repository.algorithm)
        except FileNotFoundError:
            index = Index([], 0)
        for entry in index.entries:
            if entry.stage:
                return State("true", f"{_text(entry.path)} has a merge conflict")
            if entry.intended:
                return State("true", f"{_text(entry.path)} is added but not staged")
        tree = commit_tree(repository.common / "objects", bytes.fromhex(head.commit))
        if tree is not None and tree != tree_of(index.entries, repository.algorithm):
            return State("true", "changes are staged")
    except (GitFormatError, ValueError) as error:
        return State("unknown", str(error))
    except OSError as error:
        return State("unknown", f"the repository cannot be read: {error.strerror}")
    state = _Look(repository, index, deadline, nesting).state()
    if state.dirty == "false" and tree is None:
        return State("unknown", "the commit cannot be read, so staged changes cannot be seen")
    return state


class _Look:
    """One pass over the tracked files. It ends at the first file that surely differs."""

    def __init__(self, repository: Repository, index: Index, deadline: float, nesting: int) -> None:
        self._root = os.fsencode(repository.root)
        self._repository = repository
        self._index = index
        self._deadline = deadline
        self._nesting = nesting
        self._modes_count = repository.settings.get("core.filemode", "true").lower() != "false"
        self._folders = {b""}
        self._converted: bool | None = None

    def state(self) -> State:
        doubt = ""
        for entry in self._index.entries:
            give_way()
            if time.monotonic() > self._deadline:
                return State("unknown", "the look at the tracked files took too long")
            if entry.unwatched or entry.mode == SPARSE_DIRECTORY:
                continue
            try:
                state = self._compare(entry)
            except OSError as error:
                state = State("unknown", f"{_text(entry.path)} cannot be read: {error.strerror}")
            if state is not None:
                if state.dirty == "true":
                    return state
                doubt = doubt or state.reason
        return State("unknown", doubt) if doubt else State("false", "")

    def _compare(self, entry: IndexEntry) -> State | None:
        name = _text(entry.path)
        path = os.path.join(self._root, entry.path)  # noqa: PTH118 - once a tracked file, in bytes
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return State("true", f"{name} is deleted")
        if not self._plain_folder(entry.path.rpartition(b"/")[0]):
            return State("true", f"{name} is behind a link that replaced its folder")
        if entry.mode == GITLINK:
            return self._compare_submodule(entry, name, found)
        is_link = entry.mode == SYMLINK
        if (stat.S_ISLNK(found.st_mode) if is_link else stat.S_ISREG(found.st_mode)) is False:
            return State("true", f"{name} changed its kind")
        if self._modes_count and not is_link and bool(entry.mode & 0o100) != bool(found.st_mode & 0o100):
            return State("true", f"{name} changed its mode")
        if self._index.as_recorded(entry, found):
            return None
        if is_link:
            target = os.readlink(path)  # noqa: PTH115 - in bytes
            same = hash_object(b"blob", target, self._repository.algorithm) == entry.oid
            return None if same else State("true", f"{name} points elsewhere")
        return self._compare_bytes(entry, name, path, found)

    def _compare_bytes(self, entry: IndexEntry, name: str, path: bytes, found: os.stat_result) -> State | None:
        if found.st_size > HASH_LIMIT:
            if entry.size and entry.size != found.st_size & 0xFFFFFFFF and not self._conversions():
                return State("true", f"{name} changed")
            return State("unknown", f"{name} has a new time and is too large to compare")
        with open(path, "rb") as file:  # noqa: PTH123 - the path is in bytes
            body = file.read(HASH_LIMIT + 1)
        algorithm = self._repository.algorithm
        if hash_object(b"blob", body, algorithm) == entry.oid:
            return None
        if b"\r\n" in body and hash_object(b"blob", body.replace(b"\r\n", b"\n"), algorithm) == entry.oid:
            return State("unknown", f"{name} differs in line ends only, which settings of git may allow")
        if self._conversions():
            return State("unknown", f"{name} differs, but git's attributes may convert it (a filter such as LFS)")
        return State("true", f"{name} changed")

    def _compare_submodule(self, entry: IndexEntry, name: str, found: os.stat_result) -> State | None:
        if not stat.S_ISDIR(found.st_mode):
            return State("true", f"{name} is no longer a submodule")
        inner = open_repository(self._repository.root / os.fsdecode(entry.path))
        if inner is None:
            return None  # not checked out, which git takes as unchanged
        head = read_head(inner)
        if head.commit is None:
            return State("unknown", f"submodule {name}: {head.reason}")
        if head.commit != entry.oid.hex():
            return State("true", f"submodule {name} is at another commit")
        if self._nesting >= _NESTING:
            return State("unknown", f"submodule {name} is nested too deeply")
        state = _state(inner, self._deadline, self._nesting + 1)
        return None if state.dirty == "false" else State(state.dirty, f"submodule {name}: {state.reason}")

    def _plain_folder(self, folder: bytes) -> bool:
        if folder in self._folders:
            return True
        path = os.path.join(self._root, folder)  # noqa: PTH118 - in bytes
        if not self._plain_folder(folder.rpartition(b"/")[0]) or not stat.S_ISDIR(os.lstat(path).st_mode):
            return False
        self._folders.add(folder)
        return True

    def _conversions(self) -> bool:
        """Tell whether any attributes file names a conversion, so that the bytes in the tree are not those in git."""
        if self._converted is None:
            files = [self._repository.common / "info" / "attributes"]
            files += [
                self._repository.root / os.fsdecode(entry.path)
                for entry in self._index.entries
                if entry.path.rpartition(b"/")[2] == b".gitattributes"
            ]
            self._converted = any(map(_names_conversion, files))
        return self._converted


def _names_conversion(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _CONVERSION.search(file.read(_ATTRIBUTES_LIMIT)) is not None
    except OSError:
        return False


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
