"""What a flush point brings to a writer rank: for each lane of each rank a head, and its frames."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from provml_hpc.records import Source

if TYPE_CHECKING:
    from provml_hpc.storage.output import Output

LANE = struct.Struct("<IIQQQQ")
"""The head of a parcel: rank, lane, first sequence, last sequence, bytes, CRC-32 of the bytes.

The rank is the one in the run whose records these are: that of the sender, or one whose journal the sender adopted.
"""


class Intake:
    """Finds the frames in what comes to a writer rank, and appends them to the file.

    A block is written as it came, heads and all, so that a flush point costs one write a round and not one a rank.
    """

    def __init__(self, storage: Output, attempt: int) -> None:
        self._storage = storage
        self._attempt = attempt
        # Of the senders whose parcel did not end with the last block: the head so far, or what it lacks.
        self._heads: dict[int, bytes] = {}
        self._open: dict[int, tuple[int, int, int, int, int, int | None]] = {}

    def take(self, data: memoryview, spans: Sequence[tuple[int, int, int]]) -> None:
        """Append one block: `spans` says which of its bytes are from whom, as (sender, start, stop)."""
        pieces = []
        for sender, at, stop in spans:
            while at < stop:
                if sender in self._open:
                    rank, lane, first, last, left, known = self._open.pop(sender)
                else:
                    head = self._heads.pop(sender, b"")
                    end = min(at + LANE.size - len(head), stop)
                    head += data[at:end]
                    at = end
                    if len(head) < LANE.size:
                        self._heads[sender] = head
                        break
                    rank, lane, first, last, left, known = LANE.unpack(head)
                size = min(left, stop - at)
                if size < left:
                    known = known if size == 0 else None  # it is that of the whole
                    self._open[sender] = rank, lane, first, last, left - size, known
                if size:
                    pieces.append((Source(self._attempt, rank, lane), first, last, at, at + size, known))
                at += size
        self._storage.append(data, pieces)
