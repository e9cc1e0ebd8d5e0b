"""From bytes to records and arrays, in bulk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from provml_hpc import records, wire
from provml_hpc.assembly.clocks import Correction
from provml_hpc.errors import FormatError
from provml_hpc.records import Source

Words = np.ndarray[Any, np.dtype[np.uint64]]
Values = np.ndarray[Any, np.dtype[np.float64]]

_CHUNK = 8192
_NEVER = 2**62
"""No clock counts to this many nanoseconds: 146 years."""
_MOST_RANKS = 1 << 20
"""No job has more: who is silent is told rank by rank, so a number that is damaged would take all memory."""
_RUN, _MOST = 64, 1 << 16
_SAMPLE_WORDS = wire.SAMPLE_HEAD.size // 8
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
    """Take a block of whole frames apart: where its records are, and its samples as one array a layout.

    Raises
    ------
    ValueError
        The block is not made of whole frames, or two samples of one layout differ in size.
    """
    words: Words = np.frombuffer(block, np.uint64)
    found: list[int] = []
    pieces: dict[int, list[Words]] = {}
    at, end = 0, len(words)
    while at < end:
        head = int(words[at])
        size, layout = head & 0xFFFFFFFF, head >> 32
        width = size >> 3
        if size < wire.least(layout) or size % 8 or at + width > end:
            raise ValueError(f"no whole frame at byte {at * 8}")
        if layout:  # the usual case: a long run of samples of one layout
            count = _alike(words[at:], width, _RUN)
            if count == _RUN:
                count = _alike(words[at:], width, _MOST)
            if count >= _RUN or at + count * width == end:
                pieces.setdefault(layout, []).append(words[at : at + count * width].reshape(count, width))
                at += count * width
                continue
        starts, at = _reached(words, at)
        heads = words[starts]
        sizes, layouts = heads & _LOW, heads >> np.uint64(32)
        if at > end or (sizes % 8).any() or (sizes < np.where(layouts, wire.least(1), wire.least(0))).any():
            raise ValueError(f"no whole frame between the bytes {int(starts[0]) * 8} and {at * 8}")
        found += (starts[layouts == 0] * 8).tolist()
        for number in np.unique(layouts[layouts > 0]):
            mine = layouts == number
            width = int(sizes[mine][0]) >> 3
            if (sizes[mine] != width * 8).any():
                raise ValueError(f"samples of layout {number} differ in size")
            pieces.setdefault(int(number), []).append(words[starts[mine][:, None] + np.arange(width)])
    return Split(found, {n: p[0] if len(p) == 1 else np.concatenate(p) for n, p in pieces.items()})


def _alike(words: Words, width: int, most: int) -> int:
    """Return how many frames at the beginning are like the first, which is `width` words long; at most `most`."""
    most = min(len(words) // width, most)
    same = words[: most * width : width] == words[0]
    return most if same.all() else int(same.argmin())


class Samples(NamedTuple):
    """Decoded rows of one layout."""

    clock_ns: np.ndarray[Any, np.dtype[np.int64]]
    step: np.ndarray[Any, np.dtype[np.int64]]
    section: np.ndarray[Any, np.dtype[np.int64]]
    values: Values


def samples(rows: Words) -> Samples:
    """Return the columns of rows; the values have shape (n, measures)."""
    signed = rows.view(np.int64)
    return Samples(signed[:, 2], signed[:, 3], signed[:, 4], rows[:, _SAMPLE_WORDS:].view(np.float64))


def _bounded(clock_ns: int) -> int:
    return max(-_NEVER, min(clock_ns, _NEVER))


def _sane(start: records.Started) -> bool:
    return 0 < start.size <= _MOST_RANKS and abs(start.clock_to_wall_ns) < _NEVER


class Summary(NamedTuple):
    """The samples of one layout summed up; the arrays have one item a measure."""

    minimum: Values
    maximum: Values
    last: Values
    last_ns: int


class Stream(NamedTuple):
    """What one source said: its start, its records with wall-clock times, and its samples counted block by block."""

    source: Source
    start: records.Started
    started_ns: int
    records: list[tuple[int, int, records.Record]]
    """(sequence, nanoseconds since the epoch, record)."""
    counts: list[dict[int, int]]
    """For each block the rows of each layout."""
    widths: dict[int, int]
    """For each layout how many measures its rows have."""
    summaries: dict[int, Summary]
    last_ns: int
    damaged: int
    """Records that could not be decoded."""
    correction: Correction | None = None
    """What its times were corrected by, those of its samples excepted."""

    def corrected(self, by: Correction | None) -> Stream:
        """Return the same with its times on the writer rank's clock."""
        if by is None:
            return self
        return self._replace(
            started_ns=by(self.started_ns),
            records=[(sequence, by(at), record) for sequence, at, record in self.records],
            last_ns=by(self.last_ns),
            correction=by,
        )


def read(frames: FrameSource, source: Source, clock_to_wall_ns: int = 0) -> Stream:
    """Read one source whole: records decoded, samples counted and summed up.

    Parameters
    ----------
    frames
        Where the frames are.
    source
        Whose frames to read.
    clock_to_wall_ns
        What to add to the rank's clock if the record that says so is lost.

    Raises
    ------
    FormatError
        The bytes are not frames.
    """
    entries: list[tuple[int, int, records.Record]] = []
    counts: list[dict[int, int]] = []
    widths: dict[int, int] = {}
    sums: dict[int, Summary] = {}
    start = records.Started(clock_to_wall_ns, 0, 0, "")
    first: int | None = None
    last = damaged = 0
    for block in frames.blocks(source):
        try:
            parts = split(block)
        except ValueError as error:
            raise FormatError(
                f"the records of attempt {source.attempt}, rank {source.rank} are damaged ({error}); run provml recover"
            ) from error
        for offset in parts.records:
            try:
                frame = wire.decode(block, offset)
            except ValueError:
                damaged += 1
                continue
            if frame is None:
                continue
            if isinstance(frame.record, records.Started) and not start.size and _sane(frame.record):
                start = frame.record
            if abs(frame.clock_ns) >= _NEVER:
                damaged += 1
                continue
            entries.append((frame.sequence, frame.clock_ns, frame.record))
            first = frame.clock_ns if first is None else first
            last = max(last, frame.clock_ns)
        counts.append({layout: len(rows) for layout, rows in parts.samples.items()})
        for layout, rows in parts.samples.items():
            columns = samples(rows)
            if widths.setdefault(layout, columns.values.shape[1]) != columns.values.shape[1]:
                raise FormatError(
                    f"the samples of attempt {source.attempt}, rank {source.rank} are damaged; run provml recover"
                )
            clock = _bounded(int(columns.clock_ns[-1]))
            first = _bounded(int(columns.clock_ns[0])) if first is None else first
            last = max(last, clock)
            values = columns.values
            low, high = np.fmin.reduce(values), np.fmax.reduce(values)
            if layout in sums:
                low, high = np.fmin(low, sums[layout].minimum), np.fmax(high, sums[layout].maximum)
            sums[layout] = Summary(low, high, values[-1].copy(), clock)
    offset = start.clock_to_wall_ns
    stamped = [(s, c + offset, r) for s, c, r in entries]
    return Stream(source, start, (first or 0) + offset, stamped, counts, widths, sums, last + offset, damaged)
