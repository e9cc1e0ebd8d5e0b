"""Reading the log of a run, while it goes on or after it died."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5s

from provml_hpc.errors import FileMissingError, FormatError, StateError
from provml_hpc.records import Source
from provml_hpc.storage import careful, metadata
from provml_hpc.storage.log_format import (
    COMMIT,
    COMMIT_ROW,
    DATASETS,
    EXTENT,
    LOG_VERSION,
    brief,
    commit_crc,
    open_following,
)
from provml_hpc.storage.place import FORMAT_NAME
from provml_hpc.wire import walk


class LogReader:
    """What is committed in a log, live or dead. It sees new commits after :meth:`refresh`.

    Raises
    ------
    FileMissingError
        There is no such file.
    FormatError
        It is not a log, or one of a format that this release does not read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
        self.meta: dict[str, Any] = {}
        """The root attributes, as Python values."""
        self._file: Any = None
        self._commits = np.empty(0, COMMIT)
        self._extents = np.empty(0, EXTENT)
        self._tail: list[str] = []
        self._bad: dict[int, str] = {}
        self._open()

    def _open(self) -> None:
        try:
            identity = careful.check_regular(self.path)
            metadata.check(self.path)
            with careful.in_time(identity.st_size):
                self._file = open_following(self.path)
        except FileNotFoundError:
            raise FileMissingError(f"there is no file {self.path}: check the name") from None
        except (OSError, RuntimeError, ValueError) as error:  # h5py has no one error for a damaged file
            raise FormatError(
                f"{self.path} cannot be read as HDF5 ({brief(error)}): it may be cut off, or not HDF5"
            ) from error
        try:
            self._inode = (identity.st_dev, identity.st_ino)
            with careful.in_time(identity.st_size):
                self.meta = careful.attributes(self._file)
            if self.meta.get("format") != FORMAT_NAME or self.meta.get("format_kind") != "log":
                raise FormatError(f"{self.path} is an HDF5 file, but not a log of provml-hpc: give the file of a run")
            version = str(self.meta.get("format_version"))
            if version.partition(".")[0] != LOG_VERSION.partition(".")[0]:
                raise FormatError(
                    f"{self.path} has log format {version}, this release reads {LOG_VERSION}: use a newer release"
                )
            with careful.in_time(identity.st_size):
                self._sets = {name: self._dataset(name, dtype) for name, dtype in DATASETS.items()}
            self.refresh()
        except Exception as error:
            self.close()
            if not isinstance(error, FormatError):
                raise FormatError(
                    f"{self.path} is damaged ({brief(error)}): recover the run from its journals"
                ) from error
            raise

    def _dataset(self, name: str, dtype: np.dtype[Any]) -> Any:
        dataset = careful.member(self._file, name, sized=False)
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype != dtype or dataset.ndim != 1:
            raise FormatError(f"{self.path} has no usable dataset '{name}': recover the run from its journals")
        return dataset

    @property
    def replaced(self) -> bool:
        """Whether another file, or none, has the name by now: the run ended, or a resumed one copied its log."""
        try:
            identity = self.path.stat()
        except OSError:
            return True
        return (identity.st_dev, identity.st_ino) != self._inode

    @property
    def commits(self) -> np.ndarray[Any, np.dtype[Any]]:
        """The valid commits, one row each: number, time_ns, frames_end, extents_end, flags, crc32."""
        return self._commits

    @property
    def extents(self) -> np.ndarray[Any, np.dtype[Any]]:
        """The extents of the valid commits, as they were written."""
        return self._extents

    def summary(self) -> np.ndarray[Any, np.dtype[Any]]:
        """Return the valid commits as people want them: number, time_ns, rows (frames) and bytes of each."""
        rows = np.zeros(len(self._commits), COMMIT_ROW)
        rows["number"], rows["time_ns"] = self._commits["number"], self._commits["time_ns"]
        rows["bytes"] = np.diff(self._commits["frames_end"], prepend=np.uint64(0))
        # The pieces of a batch all carry the sequence numbers of the whole.
        batches = np.unique(self._extents[["commit", "attempt", "rank", "lane", "first_seq", "last_seq"]])
        frames = batches["last_seq"] - batches["first_seq"] + np.uint64(1)
        np.add.at(rows["rows"], batches["commit"].astype(np.int64) - 1, frames.astype(np.int64))
        return rows

    @property
    def damage(self) -> list[str]:
        """What is not as it was written, as sentences; empty where all is well as far as it was read."""
        return [*self._tail, *self._bad.values()]

    def refresh(self) -> int:
        """See what was committed since, and return the number of commits.

        A log that was replaced by a copy, as a resumed run does, is opened again.
        """
        if self._file is None:
            raise StateError(f"{self.path} was closed: open it again")
        if self.replaced and self.path.exists():
            self.close()
            self._commits, self._extents = self._commits[:0], self._extents[:0]
            self._bad.clear()
            self._open()
            return len(self._commits)
        try:
            with careful.in_time(self.path.stat().st_size):
                return self._extend()
        except (OSError, RuntimeError, ValueError) as error:
            raise FormatError(f"{self.path} cannot be followed ({brief(error)}): try again, or recover it") from error

    def _extend(self) -> int:
        # Commits first: whatever they cover was flushed before them, so the other two are at least as new afterwards.
        for name in ("commits", "extents", "frames"):
            self._sets[name].refresh()
        have = len(self._commits)
        fresh = self._sets["commits"][have:]
        if len(fresh) == 0:
            return have
        covered = len(self._extents)
        extents = self._sets["extents"][covered : max(covered, int(fresh["extents_end"].max()))]
        room = min(self._sets["frames"].shape[0], os.fstat(self._file.id.get_vfd_handle()).st_size)
        good, start, frames = 0, 0, int(self._commits["frames_end"][-1]) if have else 0
        self._tail = []
        for row in fresh:
            stop = int(row["extents_end"]) - covered
            fault = _fault(row, have + good + 1, extents, start, stop, frames, room)
            if fault:
                lost = len(fresh) - good
                self._tail = [f"commit {have + good + 1} {fault}; it and what follows ({lost} in all) do not count"]
                break
            good, start, frames = good + 1, stop, int(row["frames_end"])
        self._commits = np.concatenate([self._commits, fresh[:good]])
        self._extents = np.concatenate([self._extents, extents[:start]])
        return len(self._commits)

    def sources(self) -> list[Source]:
        """Return who has committed frames, in order of attempt, rank and lane."""
        rows = np.unique(self._extents[["attempt", "rank", "lane"]])
        return [Source(int(a), int(r), int(lane)) for a, r, lane in rows]

    def committed(self, source: Source) -> int:
        """Return the last sequence number of a source that is committed and there, or 0.

        A machine that is lost in the middle of a commit may leave its row on the disk without all of the data. So the
        last batch counts only if its checksum holds; else the one before it does.
        """
        batches = sorted(self._batches(source), key=lambda batch: batch[1])
        return next((final for _, final, rows in reversed(batches) if all(map(self._holds, rows))), 0)

    def _holds(self, index: int) -> bool:
        return self._extent(index) is not None

    def blocks(self, source: Source) -> Iterator[memoryview]:
        """Yield the committed frames of a source, whole and in order of their sequence numbers, none twice.

        A batch whose checksum fails is left out and told of in :attr:`damage`.
        """
        last = 0
        for first, final, rows in self._batches(source):
            if final <= last:
                continue
            pieces = [self._extent(index) for index in rows]
            if any(piece is None for piece in pieces):
                continue
            whole = pieces[0] if len(pieces) == 1 else np.concatenate([piece for piece in pieces if piece is not None])
            assert whole is not None
            view = whole.data
            if first <= last:
                view = view[_skip(view, last) :]
            last = final
            if view.nbytes:
                yield view

    def _batches(self, source: Source) -> list[tuple[int, int, list[int]]]:
        """Return the batches of a source in order: first and last sequence number, and the extents that are its pieces.

        A batch that came to the writer in several rounds is several extents, one behind the other, that carry the same
        commit and the sequence numbers of the whole batch.
        """
        batches: dict[tuple[int, int, int], list[int]] = {}
        for index in np.flatnonzero(self._of(source)).tolist():
            extent = self._extents[index]
            key = int(extent["first_seq"]), int(extent["last_seq"]), int(extent["commit"])
            batches.setdefault(key, []).append(index)
        return [(first, final, rows) for (first, final, _), rows in sorted(batches.items())]

    def _of(self, source: Source) -> np.ndarray[Any, np.dtype[np.bool_]]:
        extents = self._extents
        mask = (extents["attempt"] == source[0]) & (extents["rank"] == source[1]) & (extents["lane"] == source[2])
        return np.asarray(mask, np.bool_)

    def _extent(self, index: int) -> np.ndarray[Any, Any] | None:
        extent = self._extents[index]
        try:
            block = self.read(int(extent["offset"]), int(extent["size"]))
            fault = "" if zlib.crc32(block.data) == int(extent["crc32"]) else "its checksum does not hold"
        except OSError as error:
            fault = brief(error)
        if not fault:
            self._bad.pop(index, None)  # over a network file system, data may be seen later than what makes it count
            return block
        self._bad[index] = (
            f"records {extent['first_seq']} to {extent['last_seq']} of attempt {extent['attempt']}, "
            f"rank {extent['rank']}, lane {extent['lane']} are not as they were written: {fault}"
        )
        return None

    def read(self, offset: int, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return bytes of the dataset ``frames`` as they are, unchecked."""
        block = np.empty(size, np.uint8)
        with careful.in_time(size):
            dataset = self._sets["frames"].id
            space = dataset.get_space()
            space.select_hyperslab((offset,), (size,))
            dataset.read(h5s.create_simple((size,)), space, block)
        return block

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(Exception):  # Nothing was written, so nothing can be lost by it.
                file.close()

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LogReader {str(self.path)!r}, {len(self._commits)} commits, {len(self.damage)} damages>"


def _fault(
    row: np.ndarray[Any, Any], number: int, extents: np.ndarray[Any, Any], start: int, stop: int, frames: int, room: int
) -> str:
    """Say what is wrong with a commit, or nothing."""
    if stop < start or stop > len(extents):
        return "names extents that are not there"
    own = extents[start:stop]
    if int(row["crc32"]) != commit_crc(row.tobytes(), own.tobytes()):
        return "has a checksum that does not hold"
    if int(row["number"]) != number or not (own["commit"] == number).all():
        return "is out of order"
    end = int(row["frames_end"])
    if end < frames or end > room:
        return "names frames that are not there"
    if len(own) and (
        int(own["offset"].min()) < frames or (own["offset"] > end).any() or (own["size"] > end - own["offset"]).any()
    ):
        return "names frames that are not its own"
    return ""


def _skip(view: memoryview, last: int) -> int:
    """Return where, in a batch of frames, the first one after sequence number `last` starts."""
    return next((at for at, _, _, sequence in walk(view) if sequence > last), view.nbytes)
