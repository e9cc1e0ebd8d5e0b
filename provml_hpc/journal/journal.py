"""The journal of one source: a chain of segments that a rank fills and begins anew after each commit."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns
from typing import Any, NamedTuple

from provml_hpc import records, wire
from provml_hpc.errors import StateError, StorageError
from provml_hpc.journal.folders import pid_namespace
from provml_hpc.journal.segment import FIRST, HEAD_ROOM, KEPT_FREE, Segment, describe, file_name
from provml_hpc.records import Source

_FURTHER = 1 << 20
_FURTHER_ONES = "further ones"
"""The name under which is counted what finds no room for a name of its own."""
_NOTHING = memoryview(b"")
_LOST_AT = wire.HEADER.size + 16
"""Where in its frame a :class:`~provml_hpc.records.Dropped` has its count."""


class Mark(NamedTuple):
    """How far a journal was filled when it was sealed."""

    sequence: int
    """That of the last frame."""
    segment: int
    """The segment that it lies in, counted from 0."""
    length: int
    """Where it ends there."""


class Sealed(NamedTuple):
    """All of a journal that was not committed when it was sealed."""

    chunks: list[memoryview]
    """Its frames in order, as views that are good until :meth:`Journal.restart` or :meth:`Journal.keep_later`."""
    checksum: int
    """The CRC-32 of them all."""
    mark: Mark
    """How far the journal was filled."""
    lead: memoryview
    """The first of the chunks, with the room before it."""

    def behind(self, head: bytes) -> list[memoryview]:
        """Return the chunks with a head of at most `HEAD_ROOM` bytes before the first of them, without a copy."""
        lead = self.lead[HEAD_ROOM - len(head) :]
        lead[: len(head)] = head
        return [lead, *self.chunks[1:]]


class Journal:
    """The journal of one source.

    Parameters
    ----------
    folder
        Where the segments go; see :func:`safe_folder`. None keeps them in memory, where they die with the process.
    source
        Whose frames these are.
    run
        The uuid of the run.
    description
        What recovery must know if nothing else is left; as JSON it is cut to what fits into the head.
    bound
        The size of the first segment in bytes, header included.
    """

    def __init__(self, folder: Path | None, source: Source, run: str, description: dict[str, Any], bound: int) -> None:
        self.source = source
        self._folder, self._run, self._bound = folder, run, bound
        self._description = describe({**description, "pid": os.getpid(), "pid_namespace": pid_namespace()})
        self._segments: list[Segment] = []
        self._numbered = 0
        self._open_segment(bound)
        first = self._segments[0]
        # Samples are thinned in the last eighth, so the prepared recorders see only what lies before it.
        self._soft_end = FIRST + (first.size - FIRST) * 7 // 8 // 8 * 8
        self.window = first.view[: self._soft_end]
        # [next position in the first segment, next sequence, identifier of the one thread that may write]
        self.state: list[int] = [FIRST, 1, threading.get_ident()]
        self.pid = os.getpid()
        self._counts: dict[tuple[int, str, str], memoryview] = {}

    def _open_segment(self, size: int) -> Segment:
        number = self._numbered
        path = None if self._folder is None else self._folder / file_name(self._run, self.source, number)
        segment = Segment(path, size, self.source, number, self._description)
        self._segments.append(segment)
        self._numbered += 1
        return segment

    @property
    def first(self) -> Segment:
        """The segment that samples go into."""
        return self._segments[0]

    @property
    def sequence(self) -> int:
        """The sequence of the last frame; 0 if there is none yet."""
        return self.state[1] - 1

    @property
    def pending(self) -> int:
        """Bytes of frames that are not committed yet."""
        return sum(segment.length - FIRST for segment in self._segments)

    @property
    def fill(self) -> float:
        """How full the bounded part is, from 0 to 1."""
        return (self.first.length - FIRST) / (self.first.size - FIRST)

    def write(self, record: records.Record, clock_ns: int | None = None) -> int:
        """Append a record and return its sequence. Structure is never refused: it goes on in a further segment.

        Raises
        ------
        StorageError
            A further segment was needed and there is no room for it.
        """
        sequence = self.state[1]
        frame = wire.encode(record, sequence, monotonic_ns() if clock_ns is None else clock_ns)
        segment = self._segments[-1]
        at = segment.length
        if at + len(frame) > segment.size - KEPT_FREE:
            try:
                segment = self._open_segment(max(_FURTHER, FIRST + len(frame) + KEPT_FREE))
            except OSError as error:
                raise StorageError(
                    error.errno, f"{self._folder}: no room to go on: {error.strerror}; free some, or flush more often"
                ) from error
            # From here to the next commit the first segment takes no more samples, so that frames stay in order.
            self.state[0] = self.first.size
            at = FIRST
        self._put(segment, at, frame)
        return sequence

    def _put(self, segment: Segment, at: int, frame: bytes) -> None:
        """Write a frame and publish it."""
        sequence = self.state[1]
        segment.view[at : at + len(frame)] = frame
        words, state, end = segment.words, self.state, at + len(frame)
        bounded = segment is self._segments[0]
        # No call from here on, so that an exception out of a signal handler cannot come between these.
        words[1] = end
        state[1] = sequence + 1
        if bounded:
            state[0] = end

    def count(self, activity: int, reason: str, name: str, lost: int) -> None:
        """Count what could not be kept, such that a kill takes nothing from the count.

        The count stands in a record of its own, which is raised where it lies until the journal is sealed; then the
        next is begun. Where a full disk leaves no room for one, it goes to that of the further ones.

        Raises
        ------
        StorageError
            There is no room even for that.
        """
        key = activity, reason, name
        place = self._counts.get(key)
        if place is None:
            try:
                self._begin_count(key)
            except StorageError:
                key = 0, reason, _FURTHER_ONES
                if key not in self._counts:
                    self._begin_count(key, last=True)
            place = self._counts[key]
        place[0] += lost  # one aligned store

    def _begin_count(self, key: tuple[int, str, str], *, last: bool = False) -> None:
        """Write a count of zero: in the part that is kept free where the journal cannot grow, but for one `last`."""
        record = records.Dropped(key[0], 0, key[1], key[2])
        frame = wire.encode(record, self.state[1], monotonic_ns())
        segment = self._segments[-1]
        at = segment.length
        if at + len(frame) + (0 if last else KEPT_FREE // 4) <= segment.size:
            self._put(segment, at, frame)
        else:
            self.write(record)
            segment = self._segments[-1]
            at = segment.length - len(frame)
        self._counts[key] = segment.view[at + _LOST_AT : at + _LOST_AT + 8].cast("Q")

    def write_sample(self, layout: int, step: int, section: int, values: tuple[float, ...]) -> bool:
        """Append a sample the slow way, also in the part that the recorders leave free; False if there is no room.

        As the free part shrinks, only every second, fourth, eighth ... step is taken, so that what is left of a long
        stretch without a flush point is spread over it evenly and predictably.
        """
        first = self.first
        if len(self._segments) > 1:
            return False
        at = first.length
        size = wire.SAMPLE_HEAD.size + 8 * len(values)
        if at + size > first.size - KEPT_FREE:
            return False
        if at + size > self._soft_end:
            reserve_size = first.size - KEPT_FREE - self._soft_end
            level, left = 1, reserve_size // 2
            while first.size - KEPT_FREE - at < left and level < 32:
                level, left = level + 1, left // 2
            if step % (1 << level):
                return False
        state, words = self.state, first.words
        sequence = state[1]
        struct.pack_into(
            f"<IIQqqQ{len(values)}d", first.view, at, size, layout, sequence, monotonic_ns(), step, section, *values
        )
        words[1] = state[0] = at + size
        state[1] = sequence + 1
        return True

    def seal(self) -> Sealed:
        """Checksum all that is pending, segment by segment, and return it."""
        # A signal handler or a finaliser may log something between any two steps of this. So first it is settled how
        # much is sealed; what comes while that is read lies behind it.
        while True:
            following = self.state[1]
            self._counts.clear()  # the checksum covers them as they are
            ends = [segment.length for segment in self._segments]
            if self.state[1] == following:
                break
        chunks: list[memoryview] = []
        whole, lead = 0, _NOTHING
        for segment, end in zip(self._segments, ends, strict=False):
            checksum = segment.seal(end)
            if end > FIRST:
                if chunks:
                    checksum = zlib.crc32(segment.view[FIRST:end], whole)
                else:
                    lead = segment.view[FIRST - HEAD_ROOM : end]
                whole = checksum
                chunks.append(segment.view[FIRST:end])
        return Sealed(chunks, whole, Mark(following - 1, len(ends) - 1, ends[-1]), lead)

    def restart(self, mark: Mark) -> bool:
        """Begin anew after a commit of all up to a mark, and return True; do nothing where more was logged since."""
        further = self._segments[1:]
        state, words = self.state, self.first.words
        self._counts.clear()
        if state[1] != mark.sequence + 1:
            return False
        # No call from here on, so that nothing that a signal handler logs can come between these, and be lost.
        words[2] = 0
        words[1] = FIRST
        state[0] = FIRST
        del self._segments[1:]
        for segment in further:
            segment.close(remove=True)
        self._numbered = 1
        return True

    def keep_later(self, mark: Mark) -> None:
        """Begin anew after a commit of all up to a mark, with the frames that were written since then.

        They go by way of a segment of their own, so that whoever reads the journal after a kill finds each of them,
        once or twice. Where there is no room for that, all stays as it is and is sent once more.
        """
        if self.restart(mark):
            return
        ends = [FIRST] * len(self._segments)
        ends[mark.segment] = mark.length
        later = b"".join(one.view[ends[n] : one.length] for n, one in enumerate(self._segments) if n >= mark.segment)
        try:
            aside = self._open_segment(FIRST + len(later) + KEPT_FREE)
        except OSError:
            return
        self._counts.clear()  # their places are gone
        end = FIRST + len(later)
        aside.view[FIRST:end] = later
        aside.words[1] = end
        for segment in self._segments[1:-1]:
            segment.close(remove=True)
        first = self.first
        first.restart()
        if end <= self._soft_end:
            first.view[FIRST:end] = later
            first.words[1] = self.state[0] = end
            aside.close(remove=True)
            self._segments, self._numbered = [first], 1
        else:
            self._segments = [first, aside]
            self.state[0] = first.size

    def close(self, *, remove: bool) -> None:
        """Unmap; remove the files if all that they held is committed."""
        self.window = memoryview(b"")
        self._counts.clear()
        for segment in self._segments:
            segment.close(remove=remove)


class SideJournal:
    """The journal that all threads but the run's own share; made at its first record, guarded by a lock."""

    def __init__(self, make: Callable[[], Journal]) -> None:
        self._make = make
        self.lock = threading.RLock()
        """Held while the journal is written to; so whoever reads it holds it too."""
        self.journal: Journal | None = None
        """The journal, where there is one: none before the first record, and none once it is closed."""
        self._closed = False

    def write(self, record: records.Record) -> int:
        """Append a record from any thread.

        Raises
        ------
        StateError
            The journal is closed: a thread went on after the run had ended.
        StorageError
            There is no room.
        """
        with self.lock:
            return self._open().write(record)

    def _open(self) -> Journal:
        if self._closed:
            raise StateError("the journal is closed; end the threads that log before the run")
        if self.journal is None:
            self.journal = self._make()
        return self.journal

    def count(self, activity: int, reason: str, name: str, lost: int) -> None:
        """Count what could not be kept, from any thread; see :meth:`Journal.count`.

        Raises
        ------
        StateError, StorageError
            As :meth:`write`.
        """
        with self.lock:
            self._open().count(activity, reason, name, lost)

    def close(self, *, remove: bool, spare: bool = False) -> bool:
        """Close the journal, if there is one; none is made any more.

        Parameters
        ----------
        remove
            Remove its files.
        spare
            But not where it has frames that are not committed; the answer is then True.
        """
        with self.lock:
            self._closed = True
            journal, self.journal = self.journal, None
            if journal is None:
                return False
            spared = spare and journal.pending > 0
            journal.close(remove=remove and not spared)
            return spared
