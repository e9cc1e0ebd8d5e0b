"""The records of a run as they were logged, kept in its closed file for a later attempt in the same file."""

from __future__ import annotations

from typing import Any

import numpy as np

from provml_hpc import records
from provml_hpc.assembly import FrameSource
from provml_hpc.assembly.frames import split
from provml_hpc.records import Source

FRAMES = "frames"
_EXTENT = np.dtype([("attempt", "<u4"), ("rank", "<u4"), ("lane", "<u4"), ("offset", "<u8"), ("size", "<u8")])


def keep_records(file: Any, frames: FrameSource) -> None:
    """Put the records of all sources into a closed file, without the samples."""
    group = file.create_group(FRAMES)
    options = {"chunks": (1 << 18,), "compression": "gzip", "compression_opts": 1}
    data = group.create_dataset("bytes", shape=(0,), maxshape=(None,), dtype=np.uint8, **options)
    extents = []
    for source in map(Source._make, frames.sources()):
        offset = data.shape[0]
        for block in frames.blocks(source):
            kept = b"".join(bytes(block[at : at + _size(block, at)]) for at in split(block).records)
            start = data.shape[0]
            data.resize((start + len(kept),))
            data[start:] = np.frombuffer(kept, np.uint8)
        extents.append((*source, offset, data.shape[0] - offset))
    group.create_dataset("extents", data=np.array(extents, _EXTENT))


def _size(block: bytes | memoryview, at: int) -> int:
    return int(records.HEADER.unpack_from(block, at)[0])
