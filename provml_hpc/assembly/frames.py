"""From bytes to records and arrays, in bulk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from provml_hpc import records
from provml_hpc.records import Source

Words = np.ndarray[Any, np.dtype[np.uint64]]

_CHUNK = 8192
_SAMPLE_WORDS = records.SAMPLE_HEAD.size // 8
_LOW = np.uint64(0xFFFFFFFF)


class FrameSource(Protocol):
    """Whatever holds the frames of a run: the log of a running job, its journals, or both."""

    def sources(self) -> Sequence[tuple[int, int, int]]:
        """Return (attempt, rank, lane) of every source, sorted."""
        ...

    def blocks(self, source: Source, /) -> Iterator[bytes | memoryview]:
        """Yield the frames of a source in order of sequence, in blocks of whole frames, each frame once."""
        ...


class Split(NamedTuple):
    """One block taken apart."""

    records: list[int]
    """Byte offsets of the records."""
    samples: Mapping[int, Words]
    """For each layout its rows, shape (n, 5 + measures), still as 64-bit words: head, sequence, clock, step, section,
    values."""


def _reached(words: Words, start: int) -> tuple[np.ndarray[Any, np.dtype[np.int64]], int]:
    """Return where the frames of one stretch begin, and where the next stretch does.

    A chain of lengths is followed by doubling: knowing the first 2**k frames and a jump over 2**k frames gives the next
    2**k at once, so that numpy does the walking.
    """
    window = words[start : start + _CHUNK]
    width = len(window)
    steps = (window & _LOW).astype(np.int64) >> 3
    steps[steps == 0] = width
    after = np.append(np.minimum(np.arange(width, dtype=np.int64) + steps, width), width)
    reached = np.zeros(1, np.int64)
    jump = after
    while True:
        further = jump[reached]
        further = further[further < width]
        if not len(further):
            break
        reached = np.concatenate((reached, further))
        jump = jump[jump]
    return reached + start, start + int(reached[-1]) + int(steps[reached[-1]])


def split(block: bytes | memoryview) -> Split:
    """Take a block of whole frames apart: where its records are, and its samples as one array a layout."""
    words: Words = np.frombuffer(block, np.uint64)
    found: list[int] = []
    pieces: dict[int, list[Words]] = {}
    at, end = 0, len(words)
    while at < end:
        head = int(words[at])
        width, layout = (head & 0xFFFFFFFF) >> 3, head >> 32
        if width < 3:
            raise ValueError(f"a frame of {width * 8} bytes at byte {at * 8}")
        if layout:  # the usual case: a long run of samples of one layout
            limit = min((end - at) // width, 1 << 16)
            run = words[at : at + limit * width].reshape(limit, width)
            same = run[:, 0] == words[at]
            count = limit if same.all() else int(same.argmin())
            if count >= 64 or count == limit == (end - at) // width:
                pieces.setdefault(layout, []).append(run[:count])
                at += count * width
                continue
        starts, at = _reached(words, at)
        if at > end:
            raise ValueError("the last frame of a block passes its end")
        layouts = words[starts] >> np.uint64(32)
        found += (starts[layouts == 0] * 8).tolist()
        for number in np.unique(layouts[layouts > 0]):
            mine = starts[layouts == number]
            width = int(words[mine[0]] & _LOW) >> 3
            pieces.setdefault(int(number), []).append(words[mine[:, None] + np.arange(width)])
    return Split(found, {n: p[0] if len(p) == 1 else np.concatenate(p) for n, p in pieces.items()})


class Samples(NamedTuple):
    """Decoded rows of one layout."""

    clock_ns: np.ndarray[Any, np.dtype[np.int64]]
    step: np.ndarray[Any, np.dtype[np.int64]]
    section: np.ndarray[Any, np.dtype[np.int64]]
    values: np.ndarray[Any, np.dtype[np.float64]]


def samples(rows: Words) -> Samples:
    """Return the columns of rows; the values have shape (n, measures)."""
    signed = rows.view(np.int64)
    return Samples(signed[:, 2], signed[:, 3], signed[:, 4], rows[:, _SAMPLE_WORDS:].view(np.float64))


class Stream(NamedTuple):
    """What one source said: its start, its records with wall-clock times, and its samples counted block by block."""

    source: Source
    start: records.Started
    started_ns: int
    records: list[tuple[int, int, records.Record]]
    """(sequence, nanoseconds since the epoch, record)."""
    counts: list[dict[int, int]]
    """For each block the rows of each layout."""
    summaries: dict[int, list[np.ndarray[Any, np.dtype[np.float64]]]]
    """For each layout: minimum, maximum and last of each measure."""
    last_ns: int


def read(frames: FrameSource, source: Source) -> Stream:
    """Read one source whole: records decoded, samples counted and summed up."""
    entries: list[tuple[int, int, records.Record]] = []
    counts: list[dict[int, int]] = []
    sums: dict[int, list[np.ndarray[Any, np.dtype[np.float64]]]] = {}
    start = records.Started(0, 0, 0, "")
    first = last = 0
    for block in frames.blocks(source):
        parts = split(block)
        for offset in parts.records:
            frame = records.decode(block, offset)
            if frame is None:
                continue
            if isinstance(frame.record, records.Started):
                start, first = frame.record, frame.clock_ns
            entries.append((frame.sequence, frame.clock_ns, frame.record))
            last = max(last, frame.clock_ns)
        counts.append({layout: len(rows) for layout, rows in parts.samples.items()})
        for layout, rows in parts.samples.items():
            columns = samples(rows)
            last = max(last, int(columns.clock_ns[-1]))
            values = columns.values
            low, high = np.fmin.reduce(values), np.fmax.reduce(values)
            if layout in sums:
                low, high = np.fmin(low, sums[layout][0]), np.fmax(high, sums[layout][1])
            sums[layout] = [low, high, values[-1].copy()]
    offset = start.clock_to_wall_ns
    return Stream(
        source, start, first + offset, [(s, c + offset, r) for s, c, r in entries], counts, sums, last + offset
    )
