"""The file while the job runs: ``NAME.h5.partial``, an append-only log that readers may follow and no kill can spoil.

Frames are stored as they came, undecoded, in one dataset of bytes, so that a flush point costs the writer no more than
a raw append; readers, and the close, decode them. Three datasets, all numeric and uncompressed, exist before
single-writer/multiple-reader (SWMR) mode starts, since text of variable length and partly filled compressed chunks do
not survive a kill:

- ``frames``: the bytes of all sources, batch after batch;
- ``extents``: which bytes are whose, with their first and last sequence number and a checksum;
- ``commits``: one row a flush point, with a checksum over itself and its extents. What no commit covers does not count.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import h5py

from provml_hpc.errors import OutputExistsError, StateError, StorageError
from provml_hpc.records import Source
from provml_hpc.storage.abandon import abandon
from provml_hpc.storage.appended import Appended
from provml_hpc.storage.log_format import (
    COMMIT_BYTES,
    DATASETS,
    EXTENT_BYTES,
    LOG_VERSION,
    OPTIONS,
    brief,
    commit_crc,
    put_attributes,
)
from provml_hpc.storage.log_reader import LogReader
from provml_hpc.storage.place import FORMAT_NAME, publish, scratch_of, sync_folder

_CHUNKS = {"frames": 4 << 20, "extents": 4096, "commits": 4096}  # rows; what is not written to takes no room
_SYNC = getattr(os, "fdatasync", os.fsync)  # the size of a file is among what it syncs, the time of its change is not
_COPY = 8 * 1024 * 1024
_T = TypeVar("_T")


Piece = tuple[Source, int, int, int, int, "int | None"]
"""Where in a block frames of one source lie: the source, the sequence numbers of the first and last frame of the batch
that this is a piece of, or the whole; where it begins and where it ends, in bytes from the start of the block; its
checksum, where that is known already."""


class LogWriter:
    """The one writer of a log; see :meth:`create` and :meth:`reopen`.

    After any error of HDF5 or the operating system it is `broken`: it takes nothing more, and everything committed
    before stays readable. Not safe for use by two threads at once.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self.path = path
        self.broken: str | None = None
        """What went wrong, or None."""
        self._file = file
        self._pending = bytearray()  # the extents of what no commit covers yet
        self._number = 0
        self._descriptor = int(file.id.get_vfd_handle())
        self._frames, self._extents, self._commits = (
            Appended(file, name, self._descriptor, exact=name != "frames") for name in DATASETS
        )

    @classmethod
    def create(cls, path: str | os.PathLike[str], meta: Mapping[str, str | int | float | bool | None]) -> LogWriter:
        """Create the log of a new run under a name that must be free.

        It is made under another name and takes its own only when it can be followed, so that no reader ever sees half
        of it.

        Parameters
        ----------
        path
            Its name, ``NAME.h5.partial``.
        meta
            What is known of the run from the start; kept as root attributes. What is None is left out.

        Raises
        ------
        OutputExistsError
            There is a file of that name.
        StorageError
            It could not be written.
        """
        final = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
        if os.path.lexists(final):
            raise OutputExistsError(f"{final} exists already: recover or move it, or choose another output")
        writer = cls._make(scratch_of(final), meta)
        try:
            publish(writer.path, final)
        except BaseException:
            temporary = writer.path
            writer.close()
            temporary.unlink(missing_ok=True)
            raise
        writer.path = final
        return writer

    @classmethod
    def reopen(cls, path: str | os.PathLike[str], meta: Mapping[str, Any] = MappingProxyType({})) -> LogWriter:
        """Go on with the log of a run whose writer died, or closed it.

        HDF5 refuses to write to a file whose writer was killed, and what it last said of the file's end may be older
        than the data. So all that is committed is copied into a new log, which then takes the name of the old one. An
        old log with damage is kept beside it.

        Parameters
        ----------
        path
            The log.
        meta
            What the new one is to say of the run besides what the old one does, or instead.

        Raises
        ------
        FileMissingError, FormatError
            There is no such file, or it is not a log.
        StorageError
            The copy could not be written; the old log is as it was.
        """
        final = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
        with LogReader(final) as old:
            writer = cls._make(scratch_of(final), {**old.meta, **meta})
            try:
                writer._copy(old)
                if old.damage:
                    _keep(final)
                writer.path.replace(final)
            except BaseException as error:
                temporary = writer.path
                writer.close()
                temporary.unlink(missing_ok=True)
                if isinstance(error, OSError) and not isinstance(error, StorageError):
                    raise StorageError(
                        f"{final} could not be copied ({brief(error)}): make room, then try again"
                    ) from error
                raise
        writer.path = final
        sync_folder(final.parent)
        return writer

    @classmethod
    def _make(cls, path: Path, meta: Mapping[str, str | int | float | bool | None]) -> LogWriter:
        try:
            file = h5py.File(path, "x", **OPTIONS)
        except OSError as error:
            if not isinstance(error, FileExistsError):
                path.unlink(missing_ok=True)
            raise StorageError(
                f"{path} could not be made ({brief(error)}): check the folder's room and permissions"
            ) from error
        try:
            ours = {"format": FORMAT_NAME, "format_kind": "log", "format_version": LOG_VERSION}
            put_attributes(file, {**meta, **ours})  # a copy of an older log is one of today's
            for name, dtype in DATASETS.items():
                Appended.create(file, name, dtype, _CHUNKS[name])
            file.swmr_mode = True
            return cls(path, file)
        except Exception as error:
            abandon(file)
            path.unlink(missing_ok=True)
            raise StorageError(
                f"{path} could not be made ({brief(error)}): check the folder's room and permissions"
            ) from error

    @property
    def descriptor(self) -> int:
        """The descriptor of the open file, or -1; known without HDF5, whose locks a fork may leave taken."""
        return -1 if self._file is None else self._descriptor

    @property
    def commits(self) -> int:
        """How many commits there are."""
        return self._number

    @property
    def size(self) -> int:
        """How many bytes of frames were appended, committed or not."""
        return self._frames.end

    def append(
        self,
        source: Source,
        data: bytes | bytearray | memoryview,
        first_seq: int,
        last_seq: int,
        crc32: int | None = None,
    ) -> None:
        """Append a batch of whole frames behind everything there is; it counts from the next commit on.

        Parameters
        ----------
        source
            Attempt, rank and lane of the rank that wrote them.
        data
            The frames, in the order of their sequence numbers.
        first_seq, last_seq
            Sequence numbers of the first and the last frame.
        crc32
            Their checksum, where it is known already.

        Raises
        ------
        StateError
            The log is closed or broken.
        StorageError
            It could not be written; the log is broken now.
        """
        size = len(data) if isinstance(data, (bytes, bytearray)) else data.nbytes
        self.append_block(data, [(source, first_seq, last_seq, 0, size, crc32)])

    def append_block(self, data: bytes | bytearray | memoryview, pieces: Sequence[Piece]) -> None:
        """Append a block of bytes in one go, and say which of them are whose; they count from the next commit on.

        Parameters
        ----------
        data
            The block. What lies between the pieces is written with them, and read by nobody.
        pieces
            Where the frames lie. Where a batch comes in several pieces, each has the sequence numbers of the whole.

        Raises
        ------
        StateError
            The log is closed or broken.
        StorageError
            It could not be written; the log is broken now.
        """
        self._check()
        view = memoryview(data).cast("B")
        whole = [piece for piece in pieces if piece[4] > piece[3]]
        if not whole:
            return
        base, number = self._frames.end, self._number + 1
        # Where a failed append got to does not matter: the log is broken then, and reopen() copies what is committed.
        self._guard(self._write_frames, view)
        for source, first, last, start, stop, known in whole:
            crc = zlib.crc32(view[start:stop]) if known is None else known
            self._pending += EXTENT_BYTES.pack(number, *source, 0, first, last, base + start, stop - start, crc, 0)

    def commit(self, time_ns: int, *, flags: int = 0, durable: bool = True) -> int:
        """Make everything appended count, and return the number of the commit.

        Data is written before the one row that makes it count, so that a kill between the two leaves the last commit as
        it was. One sync then brings both to the disk, in an order that nobody knows: a machine that is lost meanwhile
        may keep the row without the data. The checksums tell, and what they do not hold for was never acknowledged, so
        that the journals have it still (:meth:`LogReader.committed`).

        Parameters
        ----------
        time_ns
            int64 nanoseconds since the epoch.
        flags
            Free for the caller; kept as they are.
        durable
            Wait until the disk has it, so that it survives the loss of the machine and not only of the process.
        """
        self._check()
        try:
            self._guard(self._write_commit, time_ns, flags, durable)
        except BaseException as error:
            if not self.broken:
                # An interrupt: whether the row is there is unknown, so no other row may be written in its place.
                self._break(f"interrupted by {type(error).__name__}")
            raise
        return self._number

    def forget(self) -> None:
        """Have what was appended since the last commit never count; its bytes stay where they are, and are nobody's."""
        self._pending.clear()

    def close(self) -> None:
        """Close the file; what was appended since the last commit is dropped. May be called twice."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            file.flush()
        except Exception as error:
            self.broken = self.broken or brief(error)
            abandon(file)
            return
        try:
            file.close()
        except Exception as error:
            self.broken = self.broken or brief(error)
            abandon(file)

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"broken: {self.broken}" if self.broken else "closed" if self._file is None else "open"
        return f"<LogWriter {str(self.path)!r}, {self._number} commits, {self.size} bytes, {state}>"

    def _check(self) -> None:
        if self.broken:
            raise StateError(
                f"{self.path} takes nothing more since an error ({self.broken}): recover it from the journals"
            )
        if self._file is None:
            raise StateError(f"{self.path} is closed: open it again with LogWriter.reopen")

    def _guard(self, action: Callable[..., _T], *arguments: Any) -> _T:
        try:
            return action(*arguments)
        except Exception as error:
            self._break(brief(error))
            raise StorageError(
                f"{self.path} could not be written ({self.broken}): what was committed is safe; make room and recover"
            ) from error

    def _break(self, reason: str) -> None:
        self.broken = reason
        file, self._file = self._file, None
        abandon(file)

    def _write_frames(self, data: memoryview) -> None:
        self._frames.append(data)

    def _write_commit(self, time_ns: int, flags: int, durable: bool) -> None:
        extents = bytes(self._pending)
        self._extents.append(memoryview(extents))
        row = self._number + 1, time_ns, self._frames.end, self._extents.rows, flags
        self._frames.flush()
        self._extents.flush()
        crc = commit_crc(COMMIT_BYTES.pack(*row, 0), extents)
        self._commits.append(memoryview(COMMIT_BYTES.pack(*row, crc)))
        self._commits.flush()
        if durable:
            self._sync()
        self._number += 1
        self._pending.clear()

    def _sync(self) -> None:
        _SYNC(self._descriptor)

    def _copy(self, old: LogReader) -> None:
        commits, extents = old.commits, old.extents
        end = int(commits["frames_end"][-1]) if len(commits) else 0

        def copy() -> None:
            for start in range(0, end, _COPY):
                block = old.read(start, min(end, start + _COPY) - start)
                self._write_frames(memoryview(block.data).cast("B"))
            self._extents.append(memoryview(extents.tobytes()))
            self._frames.flush()
            self._extents.flush()
            self._commits.append(memoryview(commits.tobytes()))
            self._commits.flush()
            self._sync()

        self._guard(copy)
        self._number = len(commits)


def _keep(path: Path) -> None:
    """Keep a damaged log under a further name, since its copy will take its own."""
    for number in range(1, 1000):
        with contextlib.suppress(FileExistsError):
            os.link(path, path.with_name(f"{path.name}.damaged-{number}"))
            return
