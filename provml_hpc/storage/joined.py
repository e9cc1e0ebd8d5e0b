"""The frames of several files that hold parts of one run, as one source of frames."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from provml_hpc import wire
from provml_hpc.assembly import FrameSource, RunInfo
from provml_hpc.assembly.frames import split
from provml_hpc.errors import FormatError
from provml_hpc.records import Source


class ConflictError(FormatError):
    """Two files of one run say different things of one rank, so that one of them is not what was written."""


class Held(NamedTuple):
    """What one file holds."""

    name: str
    frames: FrameSource


class Joined:
    """The frames of several files, each source once.

    Raises
    ------
    ConflictError
        Two files say different things of the same rank.
    """

    def __init__(self, parts: Iterable[Held]) -> None:
        self._owner: dict[Source, Held] = {}
        for part in parts:
            for place in part.frames.sources():
                source = Source(*place)
                other = self._owner.setdefault(source, part)
                if other is not part and _fingerprint(other, source) != _fingerprint(part, source):
                    raise ConflictError(
                        f"{other.name} and {part.name} both hold rank {source.rank} of attempt {source.attempt}, and "
                        "not the same: give one of them, or take other copies"
                    )

    def sources(self) -> list[tuple[int, int, int]]:
        """Return every source, sorted."""
        return sorted(self._owner)

    def blocks(self, source: tuple[int, int, int]) -> Iterator[bytes | memoryview]:
        """Yield the frames of a source in order."""
        return self._owner[Source(*source)].frames.blocks(Source(*source))


def _fingerprint(part: Held, source: Source) -> tuple[int, int, str]:
    """Return what tells whether two files hold the same of a source: its records, and how many samples."""
    said, count, samples = hashlib.sha256(), 0, 0
    for block in part.frames.blocks(source):
        found = split(block)
        count += len(found.records)
        samples += sum(map(len, found.samples.values()))
        for at in found.records:
            said.update(block[at : at + int(wire.HEADER.unpack_from(block, at)[0])])
    return count, samples, said.hexdigest()


def join_commits(commits: Sequence[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the commits of all files in order of time, numbered anew, each once."""
    rows = np.concatenate(commits)
    rows["number"] = 0
    rows = np.unique(rows)  # in order of the fields: of the time
    rows["number"] = np.arange(1, len(rows) + 1)
    return rows


def join_costs(run: RunInfo, closed: Iterable[RunInfo]) -> None:
    """Have what the capture took be what closed files say, which know more of it than the ranks wrote down."""
    cost = run.details.setdefault("cost", {})
    for one in closed:
        for name, by_rank in one.details.get("cost", {}).items():
            cost.setdefault(name, {}).update({int(rank): spent for rank, spent in by_rank.items()})
