"""The bounded, crash-safe buffer of one thread of one rank: a mapped file that outlives its process.

A call packs its frame behind the last one and then publishes the new length in one aligned store, so that whoever
reads the file after a kill -9 finds whole frames only. After a commit the journal begins anew at its first frame:
what it held is in the HDF5 file by then.

Layout of a journal file, little endian::

    0     magic "PROVMLJ1"
    8     u64 published length: the end of the last whole frame, counted from the start of the file
    16    u64 sealed length | 24 u64 CRC-32 of the bytes from 4096 to there; 0 and 0 while it is not sealed
    32    u32 attempt | 36 u32 rank | 40 u32 lane | 44 u32 segment
    48    u64 bytes of the file | 56 u32 length of the description
    64    the description: JSON text with the run's uuid, name, phase, study and output
    4096  frames

One journal is a chain of *segments*. Samples go into the first only, whose size is the bound that the user set.
Structure (everything but samples) goes on in further segments when the first is full. A record larger than a segment
gets one of its own size.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import mmap
import os
import stat
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic_ns
from typing import Any

from provml_hpc import records
from provml_hpc.errors import FormatError, StateError, StorageError
from provml_hpc.records import Source

MAGIC = b"PROVMLJ1"
FIRST = 4096
"""Where the frames begin."""
_IDENTITY = struct.Struct("<IIIIQI")
_FURTHER = 1 << 20
KEPT_FREE = 1024
"""Bytes of a segment that only counts may take, so that a full disk still takes the count of what was dropped."""
_FURTHER_ONES = "further ones"
"""The name under which is counted what finds no room for a name of its own."""
_LOST_AT = records.HEADER.size + 16
"""Where in its frame a :class:`~provml_hpc.records.Dropped` has its count."""
_PIECE = 1 << 26
"""What is read of a dead journal at once, and the largest record that is believed there."""
_ZEROS = bytes(1 << 20)
# FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and FS_NOCOW_FL of <linux/fs.h>; btrfs is the one that listens.
_GET_FLAGS, _SET_FLAGS, _NO_COPY = 0x80086601, 0x40086602, 0x00800000

Recorder = Callable[..., None]


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
            _IDENTITY.pack_into(head, 32, source.attempt, source.rank, source.lane, number, size, len(description))
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

    def seal(self) -> int:
        """Write the checksum of all frames, as a commit or a crash path does, and return it."""
        length = self.length
        self._words[2] = 0
        self._words[3] = checksum = zlib.crc32(self.view[FIRST:length])
        self._words[2] = length
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


def safe_folder(folder: Path) -> Path:
    """Make (or accept) a folder of mode 0700 that belongs to this user and is no link.

    Raises
    ------
    StorageError
        The folder cannot be made, or is not ours.
    """
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700, parents=False)
        status = folder.lstat()
    except OSError as error:
        raise StorageError(error.errno, f"{folder}: {error.strerror}; choose another place with journal=") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise StorageError(
            errno.EPERM, f"{folder}: is a link or belongs to somebody else; remove it or choose another place"
        )
    if status.st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def pid_namespace() -> str:
    """Return what tells the process numbers that this process sees from those of a container; empty if nothing does."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no path, but text such as "pid:[4026531836]"
    except OSError:
        return ""


def own_folder(run: str) -> str:
    """Return the name of this user's folder for the journals of a run, in a place that others use too."""
    return f"provml-{os.geteuid()}-{run[:8]}"


def node_folders(run: str) -> Iterator[Path]:
    """Yield the folders of this node in which journals of a run may lie, best first."""
    for variable in ("SLURM_TMPDIR", "TMPDIR"):
        if os.environ.get(variable):
            yield Path(os.environ[variable]) / own_folder(run)
    yield Path("/dev/shm") / own_folder(run)
    import tempfile  # here, since with what it imports it is a megabyte that few ranks need

    yield Path(tempfile.gettempdir()) / own_folder(run)


def _describe(description: dict[str, Any]) -> bytes:
    """Return the description as JSON that fits; what is too long for that is cut, the longest text first."""
    fitting = dict(description)
    while len(text := json.dumps(fitting, ensure_ascii=False).encode("utf-8", "backslashreplace")) > FIRST - 64:
        longest = max(fitting, key=lambda name: len(str(fitting[name])))
        value = str(fitting[longest])
        if len(value) > 36:  # a uuid stays whole
            fitting[longest] = value[: max(36, len(value) // 2)]
        else:
            fitting.popitem()
    return text


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
        What recovery must know if nothing else is left; JSON of at most 4 KiB.
    bound
        The size of the first segment in bytes, header included.
    """

    def __init__(self, folder: Path | None, source: Source, run: str, description: dict[str, Any], bound: int) -> None:
        self.source = source
        self._folder, self._run, self._bound = folder, run, bound
        self._description = _describe({**description, "pid": os.getpid(), "pid_namespace": pid_namespace()})
        self._segments: list[Segment] = []
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
        number = len(self._segments)
        path = None if self._folder is None else self._folder / file_name(self._run, self.source, number)
        segment = Segment(path, size, self.source, number, self._description)
        self._segments.append(segment)
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
        frame = records.encode(record, sequence, monotonic_ns() if clock_ns is None else clock_ns)
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
        frame = records.encode(record, self.state[1], monotonic_ns())
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
        size = records.SAMPLE_HEAD.size + 8 * len(values)
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

    def seal(self) -> int:
        """Checksum all that is pending, segment by segment, and return the checksum of the whole."""
        self._counts.clear()  # the checksum covers them as they are
        whole = self._segments[0].seal()
        for segment in self._segments[1:]:
            segment.seal()
            whole = zlib.crc32(segment.view[FIRST : segment.length], whole)
        return whole

    def chunks(self) -> list[memoryview]:
        """Return the pending frames, in order, as views that are good until :meth:`restart`."""
        return [segment.view[FIRST : segment.length] for segment in self._segments if segment.length > FIRST]

    def restart(self) -> None:
        """Begin anew after a commit; further segments go."""
        self._counts.clear()
        while len(self._segments) > 1:
            self._segments.pop().close(remove=True)
        self.first.restart()
        self.state[0] = FIRST

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
        self._lock = threading.RLock()
        self._journal: Journal | None = None
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
        with self._lock:
            return self._open().write(record)

    def _open(self) -> Journal:
        if self._closed:
            raise StateError("the journal is closed; end the threads that log before the run")
        if self._journal is None:
            self._journal = self._make()
        return self._journal

    def count(self, activity: int, reason: str, name: str, lost: int) -> None:
        """Count what could not be kept, from any thread; see :meth:`Journal.count`.

        Raises
        ------
        StateError, StorageError
            As :meth:`write`.
        """
        with self._lock:
            self._open().count(activity, reason, name, lost)

    @contextlib.contextmanager
    def held(self) -> Any:
        """Keep the other threads out while a flush point reads the journal; gives the journal, or None."""
        with self._lock:
            yield None if self._closed else self._journal

    def close(self, *, remove: bool) -> None:
        """Close the journal, if there is one; none is made any more."""
        with self._lock:
            self._closed = True
            if self._journal is not None:
                self._journal.close(remove=remove)


class DeadSegment:
    """A journal segment read after its process is gone. Frames are believed one by one; see :meth:`frames`.

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
            size = os.fstat(descriptor).st_size
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FormatError(f"{path}: not a regular file; remove it")
            head = os.pread(descriptor, FIRST, 0)
            if len(head) < FIRST or head[:8] != MAGIC:
                raise FormatError(f"{path}: not a journal of this format; remove it")
            self.published, self.sealed, self.crc = struct.unpack_from("<QQQ", head, 8)
            # A journal is as large as its bound from the first moment; only what was published is worth reading.
            self.data = head + _read(descriptor, FIRST, min(max(self.published, FIRST), size))
        finally:
            os.close(descriptor)
        self.path = path
        attempt, rank, lane, self.number, self._bound, length = _IDENTITY.unpack_from(head, 32)
        self.source = Source(attempt, rank, lane)
        try:
            self.description = json.loads(head[64 : 64 + min(length, FIRST - 64)])
        except (ValueError, RecursionError):
            self.description = {}
        if not isinstance(self.description, dict):
            self.description = {}

    @property
    def seal_holds(self) -> bool | None:
        """Whether the checksum fits; None if the segment was not sealed."""
        if not self.sealed:
            return None
        return FIRST <= self.sealed <= len(self.data) and bool(zlib.crc32(self.data[FIRST : self.sealed]) == self.crc)

    def frames(self) -> tuple[memoryview, int, int, int]:
        """Return the whole frames in unbroken sequence, their first and last sequence, and the bytes given up.

        With no frame at all the sequences are 0.
        """
        view = memoryview(self.data)
        at, first, last = FIRST, 0, 0
        for offset, size, _, sequence in records.walk(view, FIRST):
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
                for offset, size, _, _ in records.walk(view, at):
                    at = offset + size
            size = int.from_bytes(found[at : at + 4], "little")
            if len(found) - at >= records.HEADER.size and not len(found) - at < size <= _PIECE:
                break
    return bytes(found)
