"""A journal read after its process is gone: nothing in it is believed before it was looked at."""

from __future__ import annotations

import json
import os
import stat
import struct
import zlib
from pathlib import Path

from provml_hpc import records, wire
from provml_hpc.errors import FormatError
from provml_hpc.journal.segment import FIRST, IDENTITY, MAGIC
from provml_hpc.records import Source

_PIECE = 1 << 26
"""What is read of a dead journal at once, and the largest record that is believed there."""
_STAYS = 32
"""Where the words of a head end that change."""


class SegmentHead:
    """What the head of a journal segment tells, read in one small piece: whose it is, and how much of it is published.

    Raises
    ------
    FormatError
        It is no journal.
    OSError
        It is a link, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        # Without O_NONBLOCK, opening a planted pipe would wait for its writer.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(path, flags)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise FormatError(f"{path}: not a regular file; remove it")
            head = os.pread(descriptor, FIRST + wire.HEADER.size, 0)
            if len(head) < FIRST or head[:8] != MAGIC:
                raise FormatError(f"{path}: not a journal of this format; remove it")
            self.path = path
            self.owner = status.st_uid
            """The user whose file it is."""
            self.published, self.sealed, self.crc = struct.unpack_from("<QQQ", head, 8)
            self.state = head[8:_STAYS] + head[FIRST:]
            """What differs once more was published, and once the segment began anew, since no sequence comes twice."""
            attempt, rank, lane, self.number, self._bound, length = IDENTITY.unpack_from(head, _STAYS)
            end = 64 + min(length, FIRST - 64)
            self.identity = head[_STAYS:end]
            """All of the head that stays as it is: source, segment, and the description with its process."""
            self._read_frames(descriptor, head[:FIRST])
        finally:
            os.close(descriptor)
        self.source = Source(attempt, rank, lane)
        try:
            self.description = json.loads(head[64:end])
        except (ValueError, RecursionError):
            self.description = {}
        if not isinstance(self.description, dict):
            self.description = {}

    def _read_frames(self, descriptor: int, head: bytes) -> None:
        """Read what comes behind the head, where that is wanted."""


class DeadSegment(SegmentHead):
    """A journal segment read after its process is gone. Frames are believed one by one; see :meth:`frames`.

    Raises
    ------
    FormatError
        It is no journal.
    OSError
        It is a link, or cannot be read.
    """

    def _read_frames(self, descriptor: int, head: bytes) -> None:
        # A journal is as large as its bound from the first moment; only what was published is worth reading.
        size = os.fstat(descriptor).st_size
        self.data = head + _read(descriptor, FIRST, min(max(self.published, FIRST), size))

    @property
    def seal_holds(self) -> bool | None:
        """Whether the checksum fits; None if the segment was not sealed."""
        if not self.sealed:
            return None
        return FIRST <= self.sealed <= len(self.data) and bool(zlib.crc32(self.data[FIRST : self.sealed]) == self.crc)

    @property
    def ended(self) -> bool:
        """Whether its last frame says that the rank's part is over, after which it writes nothing."""
        frames = self.frames()[0]
        last = None
        for offset, _, layout, _ in wire.walk(frames):
            last = None if layout else offset
        if last is None:
            return False
        try:
            frame = wire.decode(frames, last)
        except ValueError:
            return False
        return frame is not None and isinstance(frame.record, records.Ended)

    def frames(self) -> tuple[memoryview, int, int, int]:
        """Return the whole frames in unbroken sequence, their first and last sequence, and the bytes given up.

        With no frame at all the sequences are 0.
        """
        view = memoryview(self.data)
        at, first, last = FIRST, 0, 0
        for offset, size, _, sequence in wire.walk(view, FIRST):
            if sequence == 0 or (first and sequence != last + 1):
                break
            first, last, at = first or sequence, sequence, offset + size
        published = min(max(self.published, FIRST), max(self._bound, len(view)))
        return view[FIRST:at], first, last, published - at


def _read(descriptor: int, start: int, end: int) -> bytes:
    """Return the bytes of frames; no more than a piece beyond the last whole one, since a file may claim any size."""
    found, at = bytearray(), 0
    while start + len(found) < end:
        part = os.pread(descriptor, min(end - start - len(found), _PIECE), start + len(found))
        if not part:
            break
        found += part
        if start + len(found) < end:
            with memoryview(found) as view:
                for offset, size, _, _ in wire.walk(view, at):
                    at = offset + size
            size = int.from_bytes(found[at : at + 4], "little")
            if len(found) - at >= wire.HEADER.size and not len(found) - at < size <= _PIECE:
                break
    return bytes(found)
