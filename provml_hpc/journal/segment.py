"""One mapped file of a journal: its layout, its reservation, its published and sealed length."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import mmap
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

from provml_hpc.records import Source

MAGIC = b"PROVMLJ1"
FIRST = 4096
"""Where the frames begin."""
IDENTITY = struct.Struct("<IIIIQI")
"""Attempt, rank, lane, segment, bytes of the file, length of the description; at byte 32."""
HEAD_ROOM = 64
"""Bytes before the frames that are kept free for what is to stand before them on their way."""
KEPT_FREE = 1024
"""Bytes of a segment that only counts may take, so that a full disk still takes the count of what was dropped."""
_ZEROS = bytes(1 << 20)
# FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and FS_NOCOW_FL of <linux/fs.h>; btrfs is the one that listens.
_GET_FLAGS, _SET_FLAGS, _NO_COPY = 0x80086601, 0x40086602, 0x00800000


def file_name(run: str, source: Source, segment: int) -> str:
    """Return the name of a journal segment."""
    return f"{run[:8]}-a{source.attempt:03d}-r{source.rank:05d}-l{source.lane}-s{segment:03d}.journal"


def copies_on_write(descriptor: int) -> bool:
    """Tell whether an empty file is on btrfs, where a reservation does not hold.

    Each write takes new room there, of a quota also where the file is written in place; a store into the map that finds
    none kills the process with SIGBUS. Of the file systems of Linux, btrfs alone takes this flag.
    """
    try:
        flags = bytearray(8)
        fcntl.ioctl(descriptor, _GET_FLAGS, flags)
        wanted = int.from_bytes(flags, sys.byteorder) | _NO_COPY
        fcntl.ioctl(descriptor, _SET_FLAGS, wanted.to_bytes(8, sys.byteorder))
    except OSError:
        return False
    return True


def reserve(descriptor: int, size: int) -> None:
    """Reserve `size` bytes of an open file, since a hole on a full file system would kill the process with SIGBUS.

    Raises
    ------
    OSError
        There is no room, or the place takes no such file.
    """
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        at = os.fstat(descriptor).st_size  # a file system without reservations: write what will be mapped
        while at < size:
            at += os.pwrite(descriptor, _ZEROS[: min(len(_ZEROS), size - at)], at)


def describe(description: dict[str, Any]) -> bytes:
    """Return the description as JSON that fits; what is too long for that is cut, the longest text first."""
    fitting = dict(description)
    while (
        len(text := json.dumps(fitting, ensure_ascii=False).encode("utf-8", "backslashreplace"))
        > FIRST - HEAD_ROOM - 64
    ):
        longest = max(fitting, key=lambda name: len(str(fitting[name])))
        value = str(fitting[longest])
        if len(value) > 36:  # a uuid stays whole
            fitting[longest] = value[: max(36, len(value) // 2)]
        else:
            fitting.popitem()
    return text


class Segment:
    """One mapped file. Only :class:`Journal` makes and fills it."""

    __slots__ = ("_map", "_words", "closed", "path", "size", "view")

    def __init__(self, path: Path | None, size: int, source: Source, number: int, description: bytes) -> None:
        self.path = path
        self.size = size = max(-(-size // mmap.PAGESIZE) * mmap.PAGESIZE, FIRST + mmap.PAGESIZE)
        self.closed = False
        self._map = mmap.mmap(-1, size) if path is None else self._mapped(path, size, source, number, description)
        self.view = memoryview(self._map)
        self._words = self.view[:FIRST].cast("Q")
        if path is None:
            self._words[1] = FIRST

    def _mapped(self, path: Path, size: int, source: Source, number: int, description: bytes) -> mmap.mmap:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(path, flags, 0o600)
        try:
            if copies_on_write(descriptor):
                raise OSError(errno.EOPNOTSUPP, "a copy-on-write file system, where reserved room does not hold")
            # The head first: who is killed from here on leaves a journal that is known for what it is.
            head = bytearray(FIRST)
            head[:16] = MAGIC + FIRST.to_bytes(8, "little")
            IDENTITY.pack_into(head, 32, source.attempt, source.rank, source.lane, number, size, len(description))
            head[64 : 64 + len(description)] = description
            if os.pwrite(descriptor, head, 0) < FIRST:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            reserve(descriptor, size)
            return mmap.mmap(descriptor, size)
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        finally:
            os.close(descriptor)

    @property
    def words(self) -> memoryview:
        """The header as aligned 64-bit words; word 1 is the published length."""
        return self._words

    @property
    def length(self) -> int:
        """The end of the last whole frame."""
        return int(self._words[1])

    def seal(self, end: int) -> int:
        """Write the checksum of all frames up to an end, as a commit or a crash path does, and return it."""
        words = self._words
        words[2] = 0
        words[3] = checksum = zlib.crc32(self.view[FIRST:end])
        words[2] = end
        return checksum

    def restart(self) -> None:
        """Begin anew: what was here is safe elsewhere."""
        self._words[2] = 0
        self._words[1] = FIRST

    def close(self, *, remove: bool) -> None:
        """Unmap the file and, if asked, remove it."""
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(
            BufferError
        ):  # a recorder may still hold a view; the map then goes with the last of them
            self._words.release()
            self.view.release()
            self._map.close()
        if remove and self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()
