"""The layout of the log, shared by its writer and its readers."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

LOG_VERSION = "1.2"
"""The version of the log's format: a reader accepts any minor version of a major one that it knows."""

EXTENT = np.dtype(
    [
        ("commit", "<u8"),
        ("attempt", "<u4"),
        ("rank", "<u4"),
        ("lane", "<u4"),
        ("pad", "<u4"),
        ("first_seq", "<u8"),
        ("last_seq", "<u8"),
        ("offset", "<u8"),
        ("size", "<u8"),
        ("crc32", "<u4"),
        ("pad2", "<u4"),
    ]
)
COMMIT = np.dtype(
    [
        ("number", "<u8"),
        ("time_ns", "<i8"),
        ("frames_end", "<u8"),
        ("extents_end", "<u8"),
        ("flags", "<u4"),
        ("crc32", "<u4"),
    ]
)
EXTENT_BYTES, COMMIT_BYTES = struct.Struct("<QIIIIQQQQII"), struct.Struct("<QqQQII")
"""The same for one row at a time, which numpy takes ten times as long for."""
COMMIT_ROW = np.dtype([("number", "<i8"), ("time_ns", "<i8"), ("rows", "<i8"), ("bytes", "<i8")])
"""One commit, as a closed file and a reader tell of it: its number, its time, its frames and their bytes."""

DATASETS = {"frames": np.dtype("u1"), "extents": EXTENT, "commits": COMMIT}
"""The datasets of a log; see ``docs/format.md``."""

OPTIONS: dict[str, Any] = {
    # v110 and not "latest": the oldest format with SWMR, so that older HDF5 releases can follow the file too.
    "libver": ("v110", "v110"),
    "locking": "best-effort",
}


ATTEMPTS = 26
"""How often HDF5 may read a damaged block of metadata again, waiting twice as long each time: 67 ms in all."""


def open_following(path: Path) -> Any:
    """Open a log for reading, whether its writer lives or was killed.

    Where a checksum fails, HDF5 takes it that the writer is at work and reads again, 100 times by default with a wait
    that doubles: for ever, if the file is damaged. h5py cannot set that number, so the library is asked for it itself.
    """
    plist = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    plist.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    plist.set_file_locking(True, ignore_when_disabled=True)
    with contextlib.suppress(OSError, AttributeError):
        set_attempts = ctypes.CDLL(h5py.h5p.__file__).H5Pset_metadata_read_attempts
        set_attempts.argtypes = (ctypes.c_int64, ctypes.c_uint)
        with h5py._objects.phil:
            set_attempts(plist.id, ATTEMPTS)
    return h5py.File(h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY | h5py.h5f.ACC_SWMR_READ, fapl=plist))


def commit_crc(row: bytes, extents: bytes) -> int:
    """Return the checksum of one commit: over the bytes of its row up to the checksum, then over its extents."""
    return zlib.crc32(extents, zlib.crc32(row[: COMMIT.fields["crc32"][1]]))  # type: ignore[index]


def put_attributes(file: Any, attributes: Mapping[str, str | int | float | bool | None]) -> None:
    """Write root attributes; what is None is left out."""
    for name, value in attributes.items():
        if isinstance(value, str):
            # Fixed length: text of variable length lies in a heap that SWMR does not protect.
            text = value.replace("\0", "").encode("utf-8", "replace")
            file.attrs.create(name, np.array(text, h5py.string_dtype("utf-8", max(1, len(text)))))
        elif value is not None:
            file.attrs[name] = value


def brief(error: BaseException) -> str:
    """Return what an error says, without the pages that HDF5 adds."""
    text = " ".join(str(error).split())
    _, sign, reason = text.partition("error message = '")
    if sign:
        return reason.partition("'")[0]
    if isinstance(error, OSError) and error.strerror and len(error.strerror) <= 200:
        return error.strerror
    return text[:200]
