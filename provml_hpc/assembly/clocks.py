"""Times of all ranks on one clock: that of the writer rank, or of the lead of several.

Each rank counts time by its own clock. What it lacked to the writer rank's was measured at its start and, if it lived
so long, at its end. Times are told with what is found between the two, along a straight line; before the first and
after the last measurement, or where there is one alone, with that one. Where every measurement lies within its own
uncertainty the clocks are not known to differ, and times are left as they are: so they are on one machine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

_Times = np.ndarray[Any, np.dtype[np.int64]]
_Columns = dict[str, np.ndarray[Any, np.dtype[Any]]]


class Measured(NamedTuple):
    """One comparison of a rank's clock with that of the writer rank; times in nanoseconds."""

    attempt: int
    rank: int
    time_ns: int
    """When, on the rank's own clock."""
    offset_ns: int
    uncertainty_ns: int


class Correction(NamedTuple):
    """What turns times of one rank into those of the writer rank."""

    start_ns: int
    start_offset_ns: int
    end_ns: int
    end_offset_ns: int

    def __call__(self, time_ns: int) -> int:
        """Return a time on the writer rank's clock."""
        return int(self.each(np.array([time_ns], np.int64))[0])

    def each(self, times: _Times) -> _Times:
        """Return several times on the writer rank's clock."""
        drift, span = self.end_offset_ns - self.start_offset_ns, self.end_ns - self.start_ns
        # A line that would turn time back was not measured on one clock.
        if span <= 0 or drift <= -span:
            return np.asarray(times + self.start_offset_ns, np.int64)
        share = (np.clip(times, self.start_ns, self.end_ns) - self.start_ns) / span
        return np.asarray(times + self.start_offset_ns + np.rint(share * drift).astype(np.int64), np.int64)


def corrections(measured: Iterable[Measured]) -> dict[tuple[int, int], Correction]:
    """Return what to correct the times of each (attempt, rank) by; those that are left as they are have nothing."""
    of: dict[tuple[int, int], list[Measured]] = defaultdict(list)
    for one in measured:
        of[one.attempt, one.rank].append(one)
    found = {}
    for key, several in of.items():
        if any(abs(one.offset_ns) > one.uncertainty_ns for one in several):
            first, last = min(several, key=_time), max(several, key=_time)
            found[key] = Correction(first.time_ns, first.offset_ns, last.time_ns, last.offset_ns)
    return found


def correct(columns: _Columns, by: Mapping[tuple[int, int], Correction]) -> _Columns:
    """Return columns of samples with their times on the writer rank's clock."""
    if not by or "time_ns" not in columns:
        return columns
    times = columns["time_ns"].copy()
    for (attempt, rank), correction in by.items():
        mine = (columns["attempt"] == attempt) & (columns["rank"] == rank)
        if mine.any():
            times[mine] = correction.each(times[mine])
    return {**columns, "time_ns": times}


def _time(one: Measured) -> int:
    return one.time_ns
