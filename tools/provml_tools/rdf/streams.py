"""Text that is made as it is read: what parsers and stores take in, however long it is."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import BinaryIO


class TextStream(io.RawIOBase, BinaryIO):
    """Texts that are made as they are read, as a stream of bytes.

    Parameters
    ----------
    texts
        The texts, one after another.
    moved
        Called with the number of bytes of each, as it is read.
    """

    def __init__(self, texts: Iterable[str], moved: Callable[[int], object] = lambda _: None) -> None:
        self._texts = iter(texts)
        self._moved = moved
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer."""
        while not self._rest:
            text = next(self._texts, None)
            if text is None:
                return 0
            self._rest = memoryview(text.encode())
            self._moved(len(self._rest))
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
