"""Mutations of HDF5 files: its metadata with checksums made anew, its tables with values that no run would write."""

from __future__ import annotations

import functools
import io
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from provml_hpc.storage import careful
from provml_hpc.storage.log_format import COMMIT, EXTENT, commit_crc
from provml_hpc.storage.metadata import checksum
from tests.faults.fuzz import frames, plain


def blocks(data: bytes) -> list[tuple[int, int, int]]:
    """Return where blocks of metadata lie that have a checksum: start, end of what it is over, its place.

    It is over the block up to itself; that of a direct block of a heap is over all of it, with zeros in its place.
    """
    found = [(0, 44, 44)] if data[8] >= 2 else []
    for sign in (
        b"OHDR",
        b"OCHK",
        b"FRHP",
        b"BTHD",
        b"BTLF",
        b"FADB",
        b"FAHD",
        b"EAHD",
        b"EAIB",
        b"FHIB",
        b"FSHD",
    ):
        at = data.find(sign)
        while at >= 0:
            end = _end(data, at, sign)
            if end and data[end : end + 4] == checksum(data[at:end]).to_bytes(4, "little"):
                found.append((at, end, end))
            at = data.find(sign, at + 4)
    return found + list(_heap_blocks(data))


def _heap_blocks(data: bytes) -> Iterator[tuple[int, int, int]]:
    at = data.find(b"FHDB")
    while at >= 0:
        heap = int.from_bytes(data[at + 5 : at + 13], "little")
        if data[heap : heap + 4] == b"FRHP":
            size = int.from_bytes(data[heap + 112 : heap + 120], "little")
            place = at + 13 + -(-int.from_bytes(data[heap + 128 : heap + 130], "little") // 8)
            for _ in range(12):
                end = at + size
                if _sum(data, at, end, place) == data[place : place + 4]:
                    yield at, end, place
                    break
                size *= 2
        at = data.find(b"FHDB", at + 4)


def _sum(data: bytes | bytearray, start: int, end: int, place: int) -> bytes:
    over = data[start:end] if place >= end else data[start:place] + bytes(4) + data[place + 4 : end]
    return checksum(bytes(over)).to_bytes(4, "little")


def _end(data: bytes, at: int, sign: bytes) -> int:
    """Return where the checksum of a block stands, or 0 where that is not known."""
    if sign == b"OHDR":
        flags = data[at + 5]
        width = 1 << (flags & 3)
        start = at + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        return start + width + int.from_bytes(data[start : start + width], "little")
    if sign == b"OCHK":
        told = data.find(at.to_bytes(8, "little"))  # its length stands where its address does
        while told >= 0:
            end = at + int.from_bytes(data[told + 8 : told + 16], "little") - 4
            if at < end < len(data) and data[end : end + 4] == checksum(data[at:end]).to_bytes(4, "little"):
                return end
            told = data.find(at.to_bytes(8, "little"), told + 1)
        return 0
    if sign == b"BTHD":
        return at + 34
    if sign == b"BTLF":  # its records are counted elsewhere: look where the checksum fits
        return next(
            (e for e in range(at + 6, at + 600) if data[e : e + 4] == checksum(data[at:e]).to_bytes(4, "little")), 0
        )
    return {b"FRHP": at + 142, b"FAHD": at + 24, b"EAHD": at + 68}.get(sign, 0)


def metadata(data: bytes, rng: random.Random, cache: dict[str, Any], key: str) -> bytes:
    """Return an HDF5 file with changed metadata, whose checksums hold."""
    if key not in cache:
        cache[key] = blocks(data)
    mutant = bytearray(data)
    touched = [rng.choice(cache[key]) for _ in range(rng.choice((1, 1, 2, 4)))]
    for start, end, _ in touched:
        plain.in_place(mutant, rng, start + (4 if rng.random() < 0.95 else 0), end)
    for start, end, place in set(touched):
        mutant[place : place + 4] = _sum(mutant, start, end, place)
    return bytes(mutant)


def any_bytes(data: bytes, rng: random.Random, donor: bytes) -> bytes:
    """Return a file with some bytes changed, moved, or gone."""
    mutant = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        plain.anywhere(mutant, rng, donor)
    return bytes(mutant)


# The log: frames, extents and commits are plain bytes in it.


def _layout_of_log(data: bytes) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile(suffix=".partial") as file:
        file.write(data)
        file.flush()
        from provml_hpc.storage.log_reader import LogReader

        with LogReader(file.name) as log:
            extents, commits = log.extents.copy(), log.commits.copy()
            held = log.read(0, int(commits["frames_end"][-1])).tobytes()
    return {
        "extents": extents,
        "commits": commits,
        "at": {
            "frames": data.find(held[:4096]),
            "extents": data.find(extents.tobytes()),
            "commits": data.find(commits.tobytes()),
        },
    }


def log(data: bytes, rng: random.Random, cache: dict[str, Any]) -> bytes:
    """Return a log whose frames, extents or commits were changed, with the checksums made anew."""
    if "log" not in cache:
        cache["log"] = _layout_of_log(data)
    known = cache["log"]
    mutant, base = bytearray(data), known["at"]
    extents, commits = known["extents"].copy(), known["commits"].copy()
    for _ in range(rng.choice((1, 1, 3))):
        way = rng.randrange(5)
        if way < 3:
            row = extents[rng.randrange(len(extents))]
            start = base["frames"] + int(row["offset"])
            held = frames.frames_of(mutant[start : start + int(row["size"])])
            if held and base["frames"] >= 0:
                one = rng.choice(held)
                where = start + sum(len(x) for x in held[: held.index(one)])
                size = len(one)
                frames.change(one, rng, keep_size=True)
                mutant[where : where + size] = one[:size].ljust(size, b"\0")
        else:
            rows, dtype = (extents, EXTENT) if way == 3 else (commits, COMMIT)
            name = rng.choice(dtype.names or ())
            info = np.iinfo(rows.dtype[name])
            value = plain.word(rng) if rng.random() < 0.6 else rng.randrange(4)
            rows[rng.randrange(len(rows))][name] = (
                int(info.min) + value % (1 << info.bits) if info.min else value % (1 << info.bits)
            )
    if rng.random() < 0.9:
        _check_anew(mutant, extents, commits, base)
    mutant[base["extents"] : base["extents"] + extents.nbytes] = extents.tobytes()
    mutant[base["commits"] : base["commits"] + commits.nbytes] = commits.tobytes()
    return bytes(mutant)


def _check_anew(mutant: bytearray, extents: Any, commits: Any, base: dict[str, int]) -> None:
    import zlib

    for row in extents:
        start, size = base["frames"] + int(row["offset"]), int(row["size"])
        if size < len(mutant):
            row["crc32"] = zlib.crc32(mutant[start : start + size])
    first = 0
    for at in range(len(commits)):
        last = min(int(commits[at]["extents_end"]), len(extents))
        commits[at]["crc32"] = commit_crc(commits[at].tobytes(), extents[first : max(first, last)].tobytes())
        first = max(first, last)


# The closed file: anything that h5py can write into it.


def tables(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """Return a closed file into which h5py wrote what no run would."""
    path, names = folder / "mutant.tmp", _names(data)
    path.write_bytes(data)
    with h5py.File(path, "r+", locking=False) as file:
        for _ in range(rng.choice((1, 1, 2, 4))):
            edit = rng.choice(_EDITS)
            try:
                edit(file, rng, names)
            except (KeyError, ValueError, TypeError, OSError, RuntimeError, AttributeError, IndexError, OverflowError):
                continue  # what one edit removed or moved, another may want
    mutant = path.read_bytes()
    os.unlink(path)  # noqa: PTH108
    return mutant


class _Names(NamedTuple):
    """What an original has, by its paths."""

    datasets: list[str]
    groups: list[str]


@functools.lru_cache(maxsize=16)
def _names(data: bytes) -> _Names:
    names = _Names([], [])
    with h5py.File(io.BytesIO(data)) as file:
        file.visititems(lambda name, thing: names[isinstance(thing, h5py.Group)].append(name))
    return names


def _numbers(file: Any, rng: random.Random, names: _Names) -> None:
    dataset = file[rng.choice(names.datasets)]
    if dataset.dtype.kind not in "iuf" or not dataset.shape[0]:
        return
    for _ in range(rng.choice((1, 1, 5))):
        at = rng.randrange(dataset.shape[0])
        info = np.iinfo(dataset.dtype) if dataset.dtype.kind in "iu" else None
        value = rng.randrange(-2, 80) if rng.random() < 0.5 else plain.word(rng)
        if info is not None:
            value = (value - int(info.min)) % (1 << info.bits) + int(info.min)
        dataset[at] = value if info is not None else rng.choice((float("nan"), float("inf"), -0.0, 1e308, float(value)))


def _text(file: Any, rng: random.Random, names: _Names) -> None:
    dataset = file[rng.choice(names.datasets)]
    if h5py.check_string_dtype(dataset.dtype) is None or not dataset.shape[0]:
        return
    text = rng.choice(plain.TEXTS).encode("utf-8", "surrogatepass")
    dataset[rng.randrange(dataset.shape[0])] = (
        text if rng.random() < 0.5 else bytes(dataset[rng.randrange(dataset.shape[0])])
    )


def _remove(file: Any, rng: random.Random, names: _Names) -> None:
    if rng.random() < 0.5:
        del file[rng.choice(names.datasets + names.groups)]
    else:
        thing = file[rng.choice(names.datasets + names.groups)] if rng.random() < 0.6 else file
        del thing.attrs[rng.choice(list(thing.attrs))]


def _attribute(file: Any, rng: random.Random, names: _Names) -> None:
    thing = file[rng.choice(names.datasets + names.groups)] if rng.random() < 0.6 else file
    known = list(thing.attrs)
    if not known:
        return
    values: tuple[Any, ...] = (
        *plain.TEXTS[:12], 0, -1, 2**63 - 1, 10**15, 1.5, np.array([1, 2]), np.zeros(0), h5py.Empty("f"),
        np.array([["a"]], "S3"), np.bool_(True), np.array([(1, 2)], [("a", "i4"), ("b", "i4")]),
    )  # fmt: skip
    value = rng.choice(values)
    thing.attrs[rng.choice(known)] = (
        value.replace("\0", "").encode("utf-8", "replace") if isinstance(value, str) else value
    )


def _details(file: Any, rng: random.Random, names: _Names) -> None:
    """Put something odd somewhere into the JSON of the details."""
    told = json.loads(careful.attribute(file, "details"))
    at: Any = told
    while True:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        if not keys:
            return
        key = rng.choice(list(keys))
        if rng.random() < 0.4 or not isinstance(at[key], dict | list):
            break
        at = at[key]
    at[key] = rng.choice((None, "x", -1, 2**70, 1e308, float("nan"), [], {}, [[1]], {"a": {"b": 1}}, True, [None]))
    careful.put_text(file, "details", json.dumps(told))


def _replace(file: Any, rng: random.Random, names: _Names) -> None:
    """Put something else under the name of a dataset or group."""
    name = rng.choice(names.datasets + names.groups)
    old = file[name]
    shape = getattr(old, "shape", (3,)) or (3,)
    del file[name]
    makers: tuple[Callable[[], Any], ...] = (
        lambda: file.create_group(name),
        lambda: file.__setitem__(name, h5py.SoftLink("/records")),
        lambda: file.__setitem__(name, h5py.SoftLink("/nowhere")),
        lambda: file.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/")),
        lambda: file.__setitem__(name, h5py.ExternalLink("mutant.tmp", "/records")),
        lambda: file.__setitem__(name, file["/"]),
        lambda: file.__setitem__(name, file["records"]),
        lambda: file.create_dataset(name, shape, "f4"),
        lambda: file.create_dataset(name, shape, "u8", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]),
        lambda: file.create_dataset(name, (2**40,), "i8", chunks=(1024,), compression="gzip"),
        lambda: file.create_dataset(name, (2**33,), "i1", chunks=(2**31,)),
        lambda: file.create_dataset(name, (*shape, 2), "i8"),
        lambda: file.create_dataset(name, (), "i8"),
        lambda: file.create_dataset(name, dtype="i8"),
        lambda: file.create_dataset(name, shape, h5py.vlen_dtype(np.int64)),
        lambda: file.create_dataset(name, shape, h5py.ref_dtype),
        lambda: file.create_dataset(name, shape, [("a", "i4"), ("b", "S3")]),
        lambda: file.create_dataset(name, shape, "S7", data=np.full(shape, b"\xff\xfe")),
        lambda: file.create_dataset(name, shape, "i8", chunks=True, scaleoffset=3),
        lambda: file.create_dataset(name, shape, "c16"),
        lambda: file.create_dataset(name, shape, "V4"),
        lambda: _virtual(file, name, shape),
    )
    rng.choice(makers)()


def _virtual(file: Any, name: str, shape: tuple[int, ...]) -> None:
    layout = h5py.VirtualLayout(shape, "i8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape)
    file.create_virtual_dataset(name, layout)


def _exchange(file: Any, rng: random.Random, names: _Names) -> None:
    """Exchange two datasets or tables for each other."""
    one, other = rng.choice(names.datasets), rng.choice(names.datasets)
    if rng.random() < 0.3:
        one, other = rng.choice(names.groups), rng.choice(names.groups)
    file.move(one, "exchanged")
    file.move(other, one)
    file.move("exchanged", other)


def _grow(file: Any, rng: random.Random, names: _Names) -> None:
    """Add a table, a column or a name that nobody knows."""
    group = file[rng.choice(["", *names.groups]) or "/"]
    name = rng.choice(("new", "é\n", ".hidden", "x" * 3000, "Robot", "id", "step"))
    source = rng.choice(names.groups)
    if rng.random() < 0.5 and not f"{group.name}/".startswith(f"/{source}/"):  # HDF5 copies into the copy, for ever
        file.copy(source, group, name)
    else:
        group.create_dataset(name, data=np.arange(3))


_EDITS: tuple[Callable[[Any, random.Random, _Names], None], ...] = (
    _numbers, _numbers, _numbers, _text, _text, _remove, _attribute, _attribute, _details, _replace, _replace,
    _exchange, _grow,
)  # fmt: skip
