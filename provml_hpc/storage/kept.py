"""The records of a run as they were logged, kept in its closed file for a later attempt in the same file."""

from __future__ import annotations

from typing import Any

import numpy as np

from provml_hpc import records
from provml_hpc.assembly import FrameSource
from provml_hpc.assembly.frames import split
from provml_hpc.records import Source

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
                last = max(last, int(records.HEADER.unpack_from(block, at)[2]))
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
    if FRAMES not in file:
        return {}
    return {Source(int(e["attempt"]), int(e["rank"]), int(e["lane"])): int(e["last_seq"]) for e in _extents(file)}


def _extents(file: Any) -> np.ndarray[Any, Any]:
    found = file[FRAMES]["extents"]
    if found.dtype.names is None or not set(_EXTENT.names or ()) <= set(found.dtype.names):
        raise KeyError(f"{FRAMES}/extents")
    return np.asarray(found[:])


def _size(block: bytes | memoryview, at: int) -> int:
    return int(records.HEADER.unpack_from(block, at)[0])
