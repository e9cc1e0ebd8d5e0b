"""The side channel: what a rank was told is safe, in a mapped file of its own that the capture knows nothing of."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

WORDS = ("samples", "values", "flushed_samples", "flushed_values", "opened", "finishing", "finished", "first_step")
"""What is counted; each is written after the call that it counts has returned."""


class Acknowledged:
    """One rank's counters; :meth:`put` is one aligned store, so a kill leaves the old value or the new one."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.posix_fallocate(descriptor, 0, 8 * len(WORDS))
        self._words = memoryview(mmap.mmap(descriptor, 8 * len(WORDS))).cast("Q")
        os.close(descriptor)

    def put(self, word: str, value: int) -> None:
        """Count."""
        self._words[WORDS.index(word)] = value


def read(path: Path) -> dict[str, int]:
    """Return the counters of a rank that is gone; zeros where it never came so far."""
    data = path.read_bytes() if path.exists() else b""
    return dict(zip(WORDS, struct.unpack(f"<{len(WORDS)}Q", data.ljust(8 * len(WORDS), b"\0")), strict=True))


def file_of(folder: Path, attempt: int, rank: int) -> Path:
    """Return where a rank of an attempt counts."""
    return folder / f"acknowledged-{attempt}-{rank}"
