"""What a flush point brings to the writer rank: for each lane of each rank a head, and its frames."""

from __future__ import annotations

import struct
from collections import defaultdict
from typing import TYPE_CHECKING

from provml_hpc.records import Source

if TYPE_CHECKING:
    from provml_hpc.storage.output import Output

LANE = struct.Struct("<QQQQ")
"""The head of a parcel: lane, first sequence, last sequence, bytes."""


class Intake:
    """Takes the pieces of all ranks' parcels apart on the writer rank and appends them to the file."""

    def __init__(self, storage: Output, attempt: int) -> None:
        self._storage = storage
        self._attempt = attempt
        self._heads: dict[int, bytes] = defaultdict(bytes)
        self._lanes: dict[int, tuple[int, int, int, int]] = {}

    def take(self, rank: int, data: memoryview) -> None:
        """Append one piece. A head may come in several, and so may the frames behind it."""
        while len(data):
            if rank not in self._lanes:
                want = LANE.size - len(self._heads[rank])
                self._heads[rank] += bytes(data[:want])
                data = data[want:]
                if len(self._heads[rank]) == LANE.size:
                    self._lanes[rank] = LANE.unpack(self._heads.pop(rank))
                continue
            lane, first, last, left = self._lanes[rank]
            piece = data[:left]
            self._storage.append(Source(self._attempt, rank, lane), piece, first, last)
            data = data[left:]
            if left == len(piece):
                del self._lanes[rank]
            else:
                self._lanes[rank] = lane, first, last, left - len(piece)


def swallow(rank: int, data: memoryview) -> None:
    """Drop what came to a writer rank that has no file."""
