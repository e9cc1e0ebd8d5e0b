"""A machine that is lost in the middle of a commit: of the pages that the commit wrote, any may be on the disk.

Pages are whole: a disk that tears one of 4 KiB apart can leave HDF5's own metadata with a checksum that does not hold,
whatever the order in which this library syncs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from provml_hpc.records import Source
from provml_hpc.storage.log import LogReader, LogWriter
from provml_hpc.wire import HEADER

PAGE = 4096
SOURCES = [Source(1, rank, 0) for rank in range(4)]


def frames(source: Source, first: int, last: int) -> bytes:
    fill = bytes([1 + source.rank]) * 176
    return b"".join(HEADER.pack(HEADER.size + 176, 0, seq, seq) + fill for seq in range(first, last + 1))


def images(before: bytes, after: bytes, draw: random.Random, count: int) -> Iterator[bytes]:
    """Yield what the disk may hold when the machine goes down between two states of a file."""
    changed = [at for at in range(0, len(after), PAGE) if before[at : at + PAGE] != after[at : at + PAGE]]
    for _ in range(count):
        image = bytearray(before if draw.random() < 0.5 else before.ljust(len(after), b"\0"))
        share = draw.choice([0.1, 0.5, 0.9])
        for at in changed:
            if draw.random() < share:
                image.extend(bytes(max(0, min(at + PAGE, len(after)) - len(image))))
                image[at : at + PAGE] = after[at : at + PAGE]
        yield bytes(image)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_acknowledged_is_there_and_what_is_said_to_be_committed_too(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    path, copy = tmp_path / "a.h5.partial", tmp_path / "b.h5.partial"
    acknowledged = dict.fromkeys(SOURCES, b"")
    lasts = dict.fromkeys(SOURCES, 0)
    torn = 0
    with LogWriter.create(path, {}) as log:
        before = path.read_bytes()
        for number in range(1, 16):
            offered = dict(acknowledged)
            for source in SOURCES:
                count = draw.choice([0, 1, 3, 50, 700])
                batch = frames(source, lasts[source] + 1, lasts[source] + count)
                log.append(source, batch, lasts[source] + 1, lasts[source] + count)
                offered[source] += batch
            log.commit(number)
            after = path.read_bytes()
            for image in images(before, after, draw, 6):
                copy.write_bytes(image)
                with LogReader(copy) as back:
                    for source in SOURCES:
                        found = b"".join(back.blocks(source))
                        assert found in (acknowledged[source], offered[source])
                        # The journal gives what comes after that: nothing may be missing, and nothing there twice.
                        assert back.committed(source) == len(found) // len(frames(source, 1, 1))
                    torn += bool(back.damage)
            before, acknowledged = after, offered
            lasts = {source: len(data) // len(frames(source, 1, 1)) for source, data in offered.items()}
    assert torn, "no image had a commit without its data"
