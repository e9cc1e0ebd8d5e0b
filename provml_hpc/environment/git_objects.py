"""Read single objects of a git repository, loose or packed, without the git program.

Only what the code version needs: the commit that HEAD names, hence its tree. Formats: gitformat-pack(5) and
gitrepository-layout(5) of git's own documentation.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from provml_hpc.environment.yielding import give_way

OBJECT_LIMIT = 16 * 2**20
"""Largest object that is read, in bytes; a commit has a few hundred."""

_IDX_MAGIC = b"\xfftOc\x00\x00\x00\x02"
_CHAIN_LIMIT = 4096
_OFS_DELTA, _REF_DELTA = 6, 7
_TYPES = {1: b"commit", 2: b"tree", 3: b"blob", 4: b"tag"}


class GitFormatError(Exception):
    """A file of the repository is damaged or of a form that is not read here; the text says which."""


def read_object(objects: Path, oid: bytes) -> tuple[bytes, bytes] | None:
    """Read an object as (type, body), or None where no store that is read here holds it.

    Parameters
    ----------
    objects
        The folder ``objects`` of the repository. Its alternates are searched too.
    oid
        Object name in bytes: 20 of them for SHA-1, 32 for SHA-256.
    """
    for store in _stores(objects):
        found = _read_loose(store, oid) or _read_packed(store, oid)
        if found is not None:
            return found
    return None


def commit_tree(objects: Path, commit: bytes) -> bytes | None:
    """Give the name of a commit's root tree, or None where the commit cannot be found."""
    found = read_object(objects, commit)
    if found is None:
        return None
    kind, body = found
    first = body.partition(b"\n")[0]
    if kind != b"commit" or not first.startswith(b"tree "):
        raise GitFormatError("HEAD does not name a commit")
    try:
        return bytes.fromhex(first[5:].decode("ascii"))
    except ValueError:
        raise GitFormatError("the commit that HEAD names is damaged") from None


def _stores(objects: Path) -> list[Path]:
    stores = [objects]
    for store in stores:
        try:
            lines = (store / "info" / "alternates").read_text("utf-8", "surrogateescape").splitlines()
        except OSError:
            continue
        for line in lines:
            other = store / line.strip()
            # A bound on the number ends a loop of alternates too.
            if line.strip() and not line.startswith("#") and other not in stores and len(stores) < 16:
                stores.append(other)
    return stores


def _read_loose(store: Path, oid: bytes) -> tuple[bytes, bytes] | None:
    name = oid.hex()
    try:
        with (store / name[:2] / name[2:]).open("rb") as file:
            packed = file.read(OBJECT_LIMIT)
    except OSError:
        return None
    try:
        text = zlib.decompressobj().decompress(packed, OBJECT_LIMIT)
    except zlib.error:
        raise GitFormatError(f"object {name} is damaged") from None
    header, _, body = text.partition(b"\0")
    kind, _, size = header.partition(b" ")
    if not size.isdigit() or int(size) != len(body):
        raise GitFormatError(f"object {name} is damaged or larger than {OBJECT_LIMIT} bytes")
    return kind, body


def _read_packed(store: Path, oid: bytes) -> tuple[bytes, bytes] | None:
    try:
        indexes = sorted(path for path in (store / "pack").iterdir() if path.suffix == ".idx")
    except OSError:
        return None
    for index in indexes:
        try:
            offset = _find_in_index(index, oid)
            if offset is not None:
                with _Pack(store, index.with_suffix(".pack"), len(oid)) as pack:
                    return pack.read(offset)
        except FileNotFoundError:
            continue  # a repacking that goes on meanwhile replaces packs; the object is in another one then
        except (struct.error, IndexError, zlib.error) as error:
            raise GitFormatError(f"{index.name} or its pack is damaged: {error}") from None
    return None


def _find_in_index(path: Path, oid: bytes) -> int | None:
    """Find an object's offset in its pack through a version 2 pack index."""
    with path.open("rb") as file:
        handle = file.fileno()
        if os.pread(handle, 8, 0) != _IDX_MAGIC:
            return None
        first = oid[0]
        fanout = struct.unpack(">256I", os.pread(handle, 1024, 8))
        low, high, total = (fanout[first - 1] if first else 0), fanout[first], fanout[255]
        names = 8 + 1024
        while low < high:
            middle = (low + high) // 2
            name = os.pread(handle, len(oid), names + middle * len(oid))
            if name == oid:
                break
            low, high = (middle + 1, high) if name < oid else (low, middle)
        else:
            return None
        offsets = names + total * (len(oid) + 4)
        (offset,) = struct.unpack(">I", os.pread(handle, 4, offsets + middle * 4))
        if offset & 0x80000000:
            (offset,) = struct.unpack(">Q", os.pread(handle, 8, offsets + total * 4 + (offset & 0x7FFFFFFF) * 8))
        return int(offset)


class _Pack:
    """One pack file, open for reading single objects."""

    def __init__(self, store: Path, path: Path, oid_size: int) -> None:
        self._store = store
        self._oid_size = oid_size
        self._file = path.open("rb")

    def __enter__(self) -> _Pack:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, offset: int) -> tuple[bytes, bytes]:
        """Read the object at an offset and undo its chain of deltas."""
        deltas: list[bytes] = []
        while len(deltas) < _CHAIN_LIMIT:
            kind, size, start = self._header(offset)
            if size > OBJECT_LIMIT:
                raise GitFormatError(f"a packed object is larger than {OBJECT_LIMIT} bytes")
            if kind == _OFS_DELTA:
                distance, start = self._distance(start)
                deltas.append(self._inflate(start, size))
                offset -= distance
            elif kind == _REF_DELTA:
                base = os.pread(self._file.fileno(), self._oid_size, start)
                deltas.append(self._inflate(start + self._oid_size, size))
                found = read_object(self._store, base)
                if found is None:
                    raise GitFormatError("the base of a packed object is missing")
                return found[0], _undo(found[1], deltas)
            elif kind in _TYPES:
                return _TYPES[kind], _undo(self._inflate(start, size), deltas)
            else:
                raise GitFormatError(f"a packed object has the unknown type {kind}")
        raise GitFormatError("a packed object has too long a chain of deltas")

    def _header(self, offset: int) -> tuple[int, int, int]:
        data = os.pread(self._file.fileno(), 16, offset)
        place, byte = 1, data[0]
        kind, size, shift = (byte >> 4) & 7, byte & 15, 4
        while byte & 0x80:
            byte = data[place]
            place += 1
            size |= (byte & 0x7F) << shift
            shift += 7
        return kind, size, offset + place

    def _distance(self, start: int) -> tuple[int, int]:
        data = os.pread(self._file.fileno(), 16, start)
        value, used = offset_number(data, 0)
        return value, start + used

    def _inflate(self, start: int, size: int) -> bytes:
        inflater = zlib.decompressobj()
        text = bytearray()
        while len(text) < size and not inflater.eof:
            data = inflater.unconsumed_tail
            if not data:
                data = os.pread(self._file.fileno(), 65536, start)
                start += len(data)
            if not data:
                break
            text += inflater.decompress(data, size - len(text))
        if len(text) != size:
            raise GitFormatError("a packed object is cut short")
        return bytes(text)


def offset_number(data: bytes, place: int) -> tuple[int, int]:
    """Read git's varying-length number of delta offsets and of the index's version 4: (value, next place)."""
    byte = data[place]
    place += 1
    value = byte & 0x7F
    while byte & 0x80:
        byte = data[place]
        place += 1
        value = ((value + 1) << 7) | (byte & 0x7F)
    return value, place


def _undo(base: bytes, deltas: list[bytes]) -> bytes:
    for delta in reversed(deltas):
        base = _apply(base, delta)
    return base


def _apply(base: bytes, delta: bytes) -> bytes:
    expected, place = _plain_number(delta, 0)
    size, place = _plain_number(delta, place)
    if expected != len(base) or size > OBJECT_LIMIT:
        raise GitFormatError("a delta does not fit its base")
    result = bytearray()
    while place < len(delta) and len(result) <= size:
        give_way()
        code = delta[place]
        place += 1
        if code & 0x80:
            start = length = 0
            for bit in range(4):
                if code & (1 << bit):
                    start |= delta[place] << (8 * bit)
                    place += 1
            for bit in range(3):
                if code & (0x10 << bit):
                    length |= delta[place] << (8 * bit)
                    place += 1
            result += base[start : start + (length or 0x10000)]
        else:
            result += delta[place : place + code]
            place += code
    if len(result) != size:
        raise GitFormatError("a delta is damaged")
    return bytes(result)


def _plain_number(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, place
