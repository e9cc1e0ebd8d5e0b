"""The journals of ranks that are gone: found where they can be read, and brought into the file by one of those left."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from provml_hpc import records
from provml_hpc.capture.intake import LANE
from provml_hpc.errors import FormatError
from provml_hpc.journal import DeadSegment, file_name
from provml_hpc.records import Source

if TYPE_CHECKING:
    from provml_hpc.capture.session import Session

Seen: TypeAlias = "tuple[int, int]"
"""A rank whose journal can be read here, and the bytes that it holds."""


class Orphans:
    """What this rank can read of the journals of ranks that are gone.

    A rank that is known to be dead writes no more. Of another the last record says whether it does: who left the run
    has written its end. What a rank that merely is not with us still writes stays with it.

    Parameters
    ----------
    session
        This rank's.
    gone
        The ranks of the run that are not with us any more.
    dead
        Those of them whose processes are known to have died.
    """

    def __init__(self, session: Session, gone: Collection[int], dead: Collection[int]) -> None:
        self._segments: dict[int, list[DeadSegment]] = {}
        for rank in gone:
            segments = list(_segments(session, rank))
            if segments and (rank in dead or any(segment.ended for segment in segments)):
                self._segments[rank] = segments

    def seen(self) -> list[Seen]:
        """Return whose journals are here."""
        return [(rank, sum(len(s.data) for s in segments)) for rank, segments in self._segments.items()]

    def keep(self, ranks: Collection[int]) -> None:
        """Leave those of all others alone: somebody else brings them."""
        self._segments = {rank: segments for rank, segments in self._segments.items() if rank in ranks}

    def parcels(self) -> list[memoryview]:
        """Return what goes to this rank's writer rank, as :data:`~provml_hpc.capture.intake.LANE` says.

        What the file has already comes once more: readers take each sequence once.
        """
        parcels: list[memoryview] = []
        for segment in self._all():
            frames, first, last, _ = segment.frames()
            if first:
                source = segment.source
                head = LANE.pack(source.rank, source.lane, first, last, len(frames), zlib.crc32(frames))
                parcels += [memoryview(head), frames]
        return parcels

    def remove(self) -> None:
        """Remove these journals, since the file has what they held."""
        for segment in self._all():
            with contextlib.suppress(OSError):
                segment.path.unlink()
        for folder in {segment.path.parent for segment in self._all()}:
            with contextlib.suppress(OSError):
                folder.rmdir()  # unless there are others in it

    def _all(self) -> Iterable[DeadSegment]:
        return (segment for segments in self._segments.values() for segment in segments)


def choose(seen: Iterable[Iterable[Seen]]) -> list[set[int]]:
    """Return for each member whose journals it brings: those that it sees most of, the first of equals.

    Parameters
    ----------
    seen
        What each member sees.
    """
    best: dict[int, tuple[int, int]] = {}
    members = [list(map(tuple, one)) for one in seen]
    for member, journals in enumerate(members):
        for rank, size in journals:
            if rank not in best or size > best[rank][0]:
                best[rank] = size, member
    return [{rank for rank, (_, chosen) in best.items() if chosen == member} for member in range(len(members))]


def _segments(session: Session, rank: int) -> Iterator[DeadSegment]:
    run, attempt = str(session.meta["run"]), int(session.meta["attempt"])
    for lane in (records.RUN_LANE, records.SIDE_LANE, records.TELEMETRY_LANE):
        name = file_name(run, Source(attempt, rank, lane), 0).replace("-s000.", "-s*.")
        for folder in _folders(session):
            for path in sorted(folder.glob(name)):
                with contextlib.suppress(OSError, MemoryError, FormatError):  # a recovery will tell of it
                    segment = DeadSegment(path)
                    # In a folder that was open to others, one of theirs is not believed.
                    mine = segment.owner == os.geteuid() and segment.description.get("run") == run
                    if mine and segment.source == (attempt, rank, lane):
                        yield segment


def _folders(session: Session) -> list[Path]:
    """Return where journals of this run may lie, as far as this rank sees."""
    from provml_hpc.storage.leftovers import journal_folders  # here, since it brings h5py, which few ranks need

    places = dict.fromkeys(journal_folders(session.file, session.meta))
    return [folder for folder in places if folder.is_dir() and not folder.is_symlink()]
