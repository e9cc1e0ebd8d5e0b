"""A dataset of the log that grows at its end, whose bytes go straight to their place in the file.

HDF5 says where the chunks lie, and keeps the account of how many rows there are. What goes by way of its chunk cache
is copied once more, is written again with the whole chunk at each flush, and has its type looked at member by member.
The chunks have no filter, are placed before anything is written to them, and are touched by nobody else, so that their
bytes may be written as those of any file. Readers notice nothing of it.
"""

from __future__ import annotations

import errno
import os
from typing import Any

import numpy as np
from h5py import h5d, h5p, h5s, h5t


class Appended:
    """The writer's end of one dataset of one dimension.

    Parameters
    ----------
    file
        The open file of h5py.
    name
        The dataset's, as given to :meth:`create`.
    descriptor
        The file's.
    exact
        Whether it has as many rows as were appended; otherwise it grows by whole chunks, so that most appends leave its
        header alone.
    """

    def __init__(self, file: Any, name: str, descriptor: int, *, exact: bool) -> None:
        plist = h5p.create(h5p.DATASET_ACCESS)
        plist.set_chunk_cache(0, 0, 1.0)  # of this process, which would not see what changes below it
        self._id = h5d.open(file.id, name.encode(), plist)
        self._descriptor, self._exact = descriptor, exact
        (self._chunk,) = self._id.get_create_plist().get_chunk()
        self._row = self._id.get_type().get_size()
        self._rows = 0
        self._grown = True
        self._found = -1, 0  # the chunk that was written to last, and where it lies
        self.end = 0
        """Bytes that were appended."""

    @staticmethod
    def create(file: Any, name: str, dtype: np.dtype[Any], chunk: int) -> None:
        """Create the dataset, without rows, in an open file; `chunk` is in rows."""
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_chunk((chunk,))
        plist.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        plist.set_fill_time(h5d.FILL_TIME_NEVER)
        space = h5s.create_simple((0,), (h5s.UNLIMITED,))
        h5d.create(file.id, name.encode(), h5t.py_create(dtype, logical=True), space, plist)

    @property
    def rows(self) -> int:
        """Rows that were appended, whole ones."""
        return int(self.end // self._row)

    def append(self, data: memoryview) -> None:
        """Write bytes behind what there is; :meth:`flush` tells readers of the rows.

        Raises
        ------
        OSError
            They could not be written.
        """
        stop = self.end + data.nbytes
        rows = stop // self._row if self._exact else -(-stop // (self._row * self._chunk)) * self._chunk
        if rows > self._rows:
            self._grown = True
            try:
                self._id.set_extent((rows,))
            finally:  # an interrupt comes when the call is over
                self._rows = rows
        while data.nbytes:
            place, left = self._place()
            written = os.pwrite(self._descriptor, data[:left], place)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.end += written
            data = data[written:]

    def _place(self) -> tuple[int, int]:
        """Return where in the file the next byte goes, and how many may follow it there."""
        size = self._row * self._chunk
        chunk, within = divmod(self.end, size)
        if chunk != self._found[0]:
            place = self._id.get_chunk_info_by_coord((chunk * self._chunk,)).byte_offset
            if place is None:
                raise OSError("HDF5 gave a chunk no place in the file")
            self._found = chunk, place
        return self._found[1] + within, size - within

    def flush(self) -> None:
        """Have readers see what was appended, where the number of rows says so."""
        if self._grown:
            self._id.flush()
            self._grown = False
