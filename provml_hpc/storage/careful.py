"""Looking into an HDF5 file that anybody may have spoiled: what it says is checked before it is believed.

HDF5 follows what a file says: into other files (external links, external and virtual storage), and to sizes that are
not there. No file of this project has any of that, so whatever asks for it is refused before it is opened.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Iterable, Iterator
from math import prod
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5i, h5l, h5o, h5s, h5t

MOST_PACKED = 1100
"""No filter of ours packs better than so many to one: deflate ends at 1032."""
LARGEST_CHUNK = 1 << 26
"""Bytes of the largest chunk that is read: HDF5 takes the memory for a whole one at once."""

SMALL = 1 << 16
"""Bytes that anything may claim to have: checking that would cost more than they do."""

_FILTERS = frozenset({h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32})


_seconds: float | None = None
_depth = 0


def limit_calls(seconds: float) -> None:
    """Let the system end this process where HDF5 does not come back from one stretch of work, see :func:`in_time`.

    For a process that was started to read files of strangers, as the commands do. Nothing else can stop the library:
    no exception gets through it.
    """
    global _seconds
    _seconds = seconds
    signal.signal(signal.SIGPROF, signal.SIG_DFL)


@contextlib.contextmanager
def in_time(size: int = 0) -> Iterator[None]:
    """Mark a stretch of work of HDF5 on a file of `size` bytes; a limit on its processor time holds until its end."""
    global _depth
    if _seconds is None:
        yield
        return
    _depth += 1
    if _depth == 1:
        signal.setitimer(signal.ITIMER_PROF, _seconds + size / (1 << 20))
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0:
            signal.setitimer(signal.ITIMER_PROF, 0)


def check_regular(path: str | os.PathLike[str]) -> os.stat_result:
    """Refuse what is no regular file: opening a pipe waits for its writer, for ever.

    Raises
    ------
    OSError
        There is no such file.
    ValueError
        It is a folder, a pipe, a socket or a device.
    """
    status = os.stat(path)  # noqa: PTH116 - a str will do
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
        raise ValueError(f"it is {kind}")
    return status


def put_text(thing: Any, name: str, text: str) -> None:
    """Write a text attribute. It has a fixed length: the heap where HDF5 keeps others has no checksum."""
    _put(thing, name, [clean(text).encode("utf-8")], h5s.create(h5s.SCALAR))


def put_texts(thing: Any, name: str, texts: Iterable[str]) -> None:
    """Write an attribute that is a list of texts, likewise."""
    data = [clean(text).encode("utf-8") for text in texts]
    _put(thing, name, data, h5s.create_simple((len(data),)))


def _put(thing: Any, name: str, data: list[bytes], space: Any) -> None:
    kind = text_type(max(map(len, data), default=0))
    if h5a.exists(thing.id, name.encode()):
        h5a.delete(thing.id, name.encode())
    h5a.create(thing.id, name.encode(), kind, space).write(padded(data, kind).reshape(space.shape))


def text_type(longest: int) -> Any:
    """Return the type of text of up to so many bytes, ended by NUL: other tools show the padding of the other kind."""
    kind = h5t.C_S1.copy()
    kind.set_size(longest + 1)
    kind.set_strpad(h5t.STR_NULLTERM)
    kind.set_cset(h5t.CSET_UTF8)
    return kind


def padded(data: list[bytes], kind: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """Return texts as HDF5 takes them for a type that :func:`text_type` gave."""
    return np.array(data, kind.dtype)


def clean(text: str) -> str:
    """Return text as HDF5 can hold it: no NUL, which would cut it off, and nothing that is not Unicode."""
    if "\0" in text:
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text


def names(thing: Any) -> list[str]:
    """Return the names of an object's attributes."""
    return [str(name) for name in thing.attrs]


def attribute(thing: Any, name: str, default: Any = None) -> Any:
    """Return an attribute as a Python value: a str, an int, a float, or a list of those.

    Raises
    ------
    ValueError
        It is larger than its file, or of a type that no attribute of ours has.
    """
    encoded = name.encode("utf-8", "surrogateescape")
    if not h5a.exists(thing.id, encoded):
        return default
    found = h5a.open(thing.id, encoded)
    shape, kind = found.shape, found.get_type()
    if shape is None:
        return default
    size = prod(shape) * kind.get_size()
    if size > SMALL and size > file_size(thing):
        raise ValueError(f"the attribute {name} is larger than its file")
    if kind.get_class() not in (h5t.STRING, h5t.INTEGER, h5t.FLOAT, h5t.ENUM):
        raise ValueError(f"the attribute {name} is of a type that is not used here")
    value = np.zeros(shape, found.dtype)  # not by `thing.attrs`, which opens it once more
    found.read(value)
    return _plain(value[()] if not shape else value)


def attributes(thing: Any) -> dict[str, Any]:
    """Return all attributes; one of a type that is not used here is left out, since a newer release may have it."""
    found: dict[str, Any] = {}
    for name in names(thing):
        try:
            found[name] = attribute(thing, name)
        except (ValueError, TypeError):
            continue
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value.ravel().tolist()]
    return value.item() if isinstance(value, np.generic) else value


def members(group: Any) -> list[str]:
    """Return the names in a group."""
    return [str(name) for name in group] if isinstance(group, h5py.Group) else []


def has(group: Any, name: str) -> bool:
    """Tell whether a group has something of that name."""
    return isinstance(group, h5py.Group) and bool(name) and group.id.links.exists(_encoded(name))


def member(group: Any, name: str, *, sized: bool = True) -> Any:
    """Return a group or dataset of a group.

    Parameters
    ----------
    group
        The group, or the file for its root.
    name
        A name in it, no path.
    sized
        Whether what a dataset says of its size must fit what is stored of it, as in any file that is not written to
        any more.

    Raises
    ------
    KeyError
        There is none of that name.
    ValueError
        It is a link, or its data lies elsewhere, is packed in an unusual way, or claims to be larger than can be.
    """
    if not has(group, name):
        raise KeyError(name)
    encoded = _encoded(name)
    if group.id.links.get_info(encoded).type != h5l.TYPE_HARD:
        raise ValueError(f"{name} is a link to somewhere else")
    found = _opened(h5o.open(group.id, encoded))
    if isinstance(found, h5py.Dataset):
        packed = check_storage(found)
        if sized:
            _check_size(found, packed)
    return found


def _opened(thing: Any) -> Any:
    """Return what is open as h5py has it, as its own `group[name]` does in twice the time."""
    kind = h5i.get_type(thing)
    if kind == h5i.GROUP:
        return h5py.Group(thing)
    if kind == h5i.DATASET:
        return h5py.Dataset(thing, readonly=h5i.get_file_id(thing).get_intent() == h5f.ACC_RDONLY)
    raise ValueError("a type is stored where a group or a dataset should be")


def find(group: Any, name: str) -> Any:
    """Return a group or dataset of a group, or None if there is none of that name; else as :func:`member`."""
    return member(group, name) if has(group, name) else None


def table(file: Any, path: str) -> Any:
    """Return the group or dataset at an absolute path of a file, going from one name to the next."""
    found = file
    for name in path.strip("/").split("/"):
        found = member(found, name)
    return found


def _encoded(name: str) -> bytes:
    # A name with a slash would be a path, and could lead through a link.
    if "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is no name")
    return name.encode("utf-8", "surrogateescape")


def file_size(thing: Any) -> int:
    """Return the bytes of the file that something lies in."""
    # What the system says: HDF5 would believe the file itself.
    return os.fstat(h5i.get_file_id(thing.id).get_vfd_handle()).st_size


def check_storage(dataset: Any) -> bool:
    """Refuse a dataset whose data lies in another file, or is packed in an unusual way; tell whether it is packed.

    Raises
    ------
    ValueError
        It is so.
    """
    made = dataset.id.get_create_plist()
    layout = made.get_layout()
    if layout == h5d.VIRTUAL or (layout == h5d.CONTIGUOUS and made.get_external_count()):
        raise ValueError(f"the data of {dataset.name} lies in another file")
    if layout != h5d.CHUNKED:
        return False
    if prod(made.get_chunk()) * dataset.id.get_type().get_size() > LARGEST_CHUNK:
        raise ValueError(f"{dataset.name} has chunks that are larger than any of ours")
    codes = {made.get_filter(at)[0] for at in range(made.get_nfilters())}
    if codes - _FILTERS:
        raise ValueError(f"{dataset.name} is packed in a way that is not used here")
    return h5py.h5z.FILTER_DEFLATE in codes


def _check_size(dataset: Any, packed: bool) -> None:
    """Refuse a dataset that asks for memory and nothing else."""
    item, shape = dataset.id.get_type().get_size(), dataset.shape
    if shape is None:
        raise ValueError(f"{dataset.name} has no shape")
    size = prod(shape) * item
    if size <= SMALL:
        return
    stored, limit = dataset.id.get_storage_size(), file_size(dataset)
    if stored > limit or size > (stored * MOST_PACKED if packed else stored):
        raise ValueError(f"{dataset.name} says that it has {size} bytes, which its file has not")
