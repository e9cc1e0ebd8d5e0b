"""The records of a run as they were logged, kept in its closed file for a later attempt in the same file."""

from __future__ import annotations

from typing import Any

import numpy as np

from provml_hpc import wire
from provml_hpc.assembly import FrameSource
from provml_hpc.assembly.frames import split
from provml_hpc.records import Source
from provml_hpc.storage import careful

FRAMES = "frames"
_EXTENT = np.dtype(
    [
        ("attempt", "<u4"),
        ("rank", "<u4"),
        ("lane", "<u4"),
        ("offset", "<u8"),
        ("size", "<u8"),
        ("count", "<u8"),
        ("last_seq", "<u8"),
    ]
)
"""Whose records lie where; `count` and `last_seq` are of all frames of the source, its samples too."""


def keep_records(file: Any, frames: FrameSource) -> None:
    """Put the records of all sources into a closed file, without the samples."""
    group = file.create_group(FRAMES)
    options = {"chunks": (1 << 18,), "compression": "gzip", "compression_opts": 1}
    data = group.create_dataset("bytes", shape=(0,), maxshape=(None,), dtype=np.uint8, **options)
    extents = []
    for source in map(Source._make, frames.sources()):
        offset = data.shape[0]
        count = last = 0
        for block in frames.blocks(source):
            parts = split(block)
            kept = b"".join(bytes(block[at : at + _size(block, at)]) for at in parts.records)
            count += len(parts.records) + sum(map(len, parts.samples.values()))
            for at in parts.records[-1:]:
                last = max(last, int(wire.HEADER.unpack_from(block, at)[2]))
            for rows in parts.samples.values():
                last = max(last, int(rows[-1, 1]))
            start = data.shape[0]
            data.resize((start + len(kept),))
            data[start:] = np.frombuffer(kept, np.uint8)
        extents.append((*source, offset, data.shape[0] - offset, count, last))
    # HDF5 only prints what goes wrong when a dataset is let go, so everything is written out before.
    data.flush()
    group.create_dataset("extents", data=np.array(extents, _EXTENT)).flush()


def last_sequences(file: Any) -> dict[Source, int]:
    """Return for each source in a closed file the sequence of its last record or sample."""
    if not careful.has(file, FRAMES):
        return {}
    return {Source(int(e["attempt"]), int(e["rank"]), int(e["lane"])): int(e["last_seq"]) for e in extents(file)}


def extents(file: Any) -> np.ndarray[Any, Any]:
    """Return whose records lie where in a closed file.

    Raises
    ------
    KeyError, ValueError
        It does not say so, or what cannot be.
    """
    group = careful.member(file, FRAMES)
    found, data = careful.member(group, "extents"), careful.member(group, "bytes")
    if found.dtype.names is None or not set(_EXTENT.names or ()) <= set(found.dtype.names) or found.ndim != 1:
        raise KeyError(f"{FRAMES}/extents")
    if data.ndim != 1 or data.dtype != np.uint8:
        raise KeyError(f"{FRAMES}/bytes")
    rows = np.asarray(found[:]).astype(_EXTENT, copy=False) if found.dtype == _EXTENT else _narrowed(found)
    end = np.uint64(data.shape[0])
    if (rows["offset"] > end).any() or (rows["size"] > end - rows["offset"]).any():
        raise ValueError(f"{FRAMES}/extents names bytes that are not there")
    return rows


def kept_bytes(file: Any, offset: int, size: int) -> bytes:
    """Return a stretch of the kept records."""
    data: bytes = careful.member(careful.member(file, FRAMES), "bytes")[offset : offset + size].tobytes()
    return data


def _narrowed(found: Any) -> np.ndarray[Any, Any]:
    rows = np.zeros(found.shape, _EXTENT)
    for name in _EXTENT.names or ():
        rows[name] = found[name]
    return rows


def _size(block: bytes | memoryview, at: int) -> int:
    return int(wire.HEADER.unpack_from(block, at)[0])
