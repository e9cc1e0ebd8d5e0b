"""Handles of data and models, and how a rank sees what a user names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from provml_hpc import records, vocabulary
from provml_hpc.content import Digest, StatKey, digest_array, parse_digest, stat_key
from provml_hpc.errors import UsageError
from provml_hpc.values import clean_text

if TYPE_CHECKING:
    from provml_hpc.capture.session import Session

TREE_LOOK = 20_000
"""How many entries of a directory are looked at when it is declared."""

UNRESOLVED = 0
"""The class code of a path of which only the run as a whole knows what it is."""


class Entity:
    """Data or a model, as a handle to name it by in later calls. Made by the methods of an activity, never by hand."""

    __slots__ = ("_session", "generated", "handle", "key", "label", "read", "readers", "whole")

    def __init__(
        self,
        session: Session,
        handle: int,
        label: str,
        key: StatKey | None,
        *,
        generated: bool = False,
        whole: bool = False,
        read: bool = True,
    ) -> None:
        self._session = session
        self.handle = handle
        self.label = label
        self.key = key
        self.generated = generated
        self.whole = whole
        self.read = read
        """Whether its bytes are to be digested: not if the user gave the digest, or wants none."""
        self.readers: tuple[str, ...] = ()
        """The readers that are to describe it when the activity that makes it has ended."""

    @property
    def path(self) -> str | None:
        """The absolute path, where it is a file or a directory."""
        return self.key.path if self.key else None

    def __repr__(self) -> str:
        return f"<{'generated' if self.generated else 'used'} entity {self.label!r}>"

    def belongs_to(self, session: Session) -> bool:
        """Tell whether the handle is of this run, on this rank."""
        return self._session is session


class Named(NamedTuple):
    """What a user's `source` was found to be: a file, a reference, or bytes in memory."""

    label: str
    key: StatKey | None = None
    missing: str = ""
    store: str = ""
    identifier: str = ""
    digest: Digest | None = None


def look(source: Any) -> Named:
    """Find out what a source is. A local look: a file's bytes are not read, but an array's are.

    Raises
    ------
    UsageError
        It is nothing that can be data.
    """
    if isinstance(source, (str, os.PathLike)):
        text = os.fsdecode(source)  # as the system knows it: only what is written down is cleaned
        address = None
        if "://" in text:
            from urllib.parse import urlsplit

            address = urlsplit(text)
        if address is not None and address.scheme and address.scheme != "file":
            place = address.hostname or ""
            if address.port:
                place += f":{address.port}"
            # The part before @ may be a password.
            rest = text.partition("://")[2].partition("/")[2]
            store, rest = clean_text(f"{address.scheme}://{place}"), clean_text(rest)
            return Named(f"{store}/{rest}", store=store, identifier=f"/{rest}")
        if address is not None:
            text = address.path
        try:
            return Named(text, state_of(text))
        except OSError as error:
            absolute = os.path.abspath(text)  # noqa: PTH100 - links stay as the user wrote them
            return Named(text, StatKey(absolute, 0, 0, 0, 0, False), missing=error.strerror or "cannot be looked at")
        except ValueError as error:
            raise UsageError(f"{text!r:.80} is no path: {error}") from None
    try:
        digest = digest_array(source)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{type(source).__name__} is neither a path nor an entity nor an array ({error}); "
            "give one of these, or run.reference(...)"
        ) from None
    shape = getattr(source, "shape", None)
    return Named(f"array{list(shape)}" if shape is not None else "array", digest=digest)


def unseen(source: Any) -> tuple[str, StatKey | None]:
    """Return the label and the place of a source without looking at it, for a run that records nothing."""
    try:
        text = os.fsdecode(source)
    except TypeError:
        return type(source).__name__, None
    absolute = os.path.abspath(text)  # noqa: PTH100 - links stay as the user wrote them
    return text, None if "://" in text else StatKey(absolute, 0, 0, 0, 0, False)


def state_of(path: str) -> StatKey:
    """Return the state of a file or directory; equal as long as its bytes are taken to be.

    Raises
    ------
    OSError
        It is not there or cannot be looked at.
    """
    key = stat_key(path)
    return _tree_key(key) if key.is_directory else key


def _tree_key(key: StatKey) -> StatKey:
    """Return a key that changes with the files of a directory: their bytes in all, and the latest change of any.

    A directory's own size and time say nothing of them. Only the first files are looked at, so that this stays a matter
    of milliseconds; the digest covers all.
    """
    size, latest, left = 0, key.mtime_ns, TREE_LOOK
    folders = [key.path]
    while folders and left > 0:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                left -= 1
                status = entry.stat(follow_symlinks=False)
                latest = max(latest, status.st_mtime_ns)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    size += status.st_size
    return key._replace(size=size, mtime_ns=latest)


def declared(
    cls: str,
    activity: int,
    found: Named,
    *,
    label: str | None = None,
    generated: bool = False,
    collection: bool = False,
    select: Any = None,
    digest: Any = None,
    step: int | None = None,
) -> records.Declared:
    """Return the record that says it."""
    given, key = found.digest, found.key
    if isinstance(digest, (str, Digest)):
        given = parse_digest(digest, size=key.size if key and key.mtime_ns else None)
    if label is None:
        label = found.label
    return records.Declared(
        code=vocabulary.CLASS[cls].code if cls else UNRESOLVED,
        activity=activity,
        generated=int(generated),
        collection=int(collection),
        step=records.NO_STEP if step is None else int(step),
        inode=key.inode if key else 0,
        size=key.size if key and key.mtime_ns else (given.size or 0) if given else 0,
        modified_ns=key.mtime_ns if key else 0,
        label=clean_text(str(label)),
        path=clean_text(key.path) if key else "",
        select="" if select is None else clean_text(str(select)),
        store=found.store,
        identifier=found.identifier,
        algorithm=given.algorithm if given else "",
        digest=given.hexdigest if given else "",
    )


def listed(use: Any) -> Iterator[tuple[Any, str]]:
    """Yield (entity or path, role) of whatever the user gave as `use`.

    Raises
    ------
    UsageError
        It is none of: an entity, a path, an iterable of them, or a mapping from roles to them.
    """
    if use is None:
        return
    if isinstance(use, Mapping):
        for role, one in use.items():
            for each, _ in listed(one):
                yield each, str(role)
    elif isinstance(use, (str, Path, os.PathLike, Entity)) or hasattr(use, "shape"):
        yield use, ""
    elif isinstance(use, Iterable):
        for one in use:
            yield from listed(one)
    else:
        raise UsageError(
            f"use={use!r:.80} is no entity, path, list or mapping of them; pass what use_dataset() returned, or a path"
        )
