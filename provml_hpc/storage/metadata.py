"""The headers in an HDF5 file on which the library was seen to crash or to hang, looked at before it sees them.

HDF5 checks the checksums of its metadata, and believes what has a right one. A heap of no width, a tree whose nodes
have no size: it then divides by zero, follows nothing, or never ends. Such headers are few and easily found, by their
signatures; what cannot be in them is said here. The layouts are those of the HDF5 File Format Specification, version
3.0, sections III.A.2 and III.G.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

LARGEST = 1 << 26
"""Bytes of the largest file that is searched: its metadata would take too long to find in a larger one."""

_WINDOW, _OVERLAP = 1 << 22, 256
_MASK = 0xFFFFFFFF
_TREE, _HEAP = b"BTHD\0", b"FRHP\0"
_TREE_END, _HEAP_END = 34, 142
_RECORDS = {1: 24, 2: 36, 3: 16, 4: 28, 5: 11, 6: 15, 8: 17, 9: 13}
"""The bytes of a record in the trees of large objects, groups and attributes, by the type of the tree."""


def check(path: str | os.PathLike[str]) -> None:
    """Refuse a file with a header that would bring HDF5 down.

    Raises
    ------
    OSError
        It cannot be read.
    ValueError
        It has such a header.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if 0 < os.fstat(descriptor).st_size <= LARGEST:
            for start, data in _windows(descriptor):
                _search(start, data)
    finally:
        os.close(descriptor)


def _windows(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Yield the file piece by piece, each with the start of the next, so that no header is cut in two.

    It is read and not mapped: the file may be cut off meanwhile, or have holes on a full disk, and a map would then
    end the process.
    """
    start = 0
    while start < LARGEST and (data := os.pread(descriptor, _WINDOW + _OVERLAP, start)):
        yield start, data
        start += len(data) - _OVERLAP if len(data) > _OVERLAP else len(data)


def _search(start: int, data: bytes) -> None:
    for sign, end, odd in ((_TREE, _TREE_END, _odd_tree), (_HEAP, _HEAP_END, _odd_heap)):
        at = data.find(sign)
        while at >= 0:
            header = data[at : at + end]
            found = data[at + end : at + end + 4]
            # By its checksum, since the signature alone may also stand somewhere by chance, or be cut off.
            if len(found) == 4 and odd(header) and found == checksum(header).to_bytes(4, "little"):
                raise ValueError(f"its metadata at byte {start + at} is not as HDF5 writes it")
            at = data.find(sign, at + 1)


def _number(header: bytes, at: int, size: int) -> int:
    return int.from_bytes(header[at : at + size], "little")


def _odd_tree(header: bytes) -> bool:
    kind, node, record = header[5], _number(header, 6, 4), _number(header, 10, 2)
    depth, root = _number(header, 12, 2), _number(header, 24, 2)
    if kind in _RECORDS and record != _RECORDS[kind]:
        return True
    return not (0 < kind < 12 and 0 < record <= node and 64 <= node <= 1 << 20 and depth < 32 and root * record <= node)


def _odd_heap(header: bytes) -> bool:
    width, start, largest = _number(header, 110, 2), _number(header, 112, 8), _number(header, 120, 8)
    bits, rows = _number(header, 128, 2), _number(header, 140, 2)
    powers = all(one > 0 and one & (one - 1) == 0 for one in (width, start, largest))
    return not (powers and 8 <= start <= largest <= 1 << 32 and 0 < bits <= 64 and rows <= 64)


def checksum(data: bytes) -> int:
    """Return the checksum that HDF5 gives its metadata (`hashlittle` of Bob Jenkins' lookup3)."""
    length = len(data)
    a = b = c = (0xDEADBEEF + length) & _MASK
    if not length:
        return c
    whole = (length - 1) // 12 * 12
    words = np.frombuffer(data[:whole], "<u4").tolist()
    for at in range(0, len(words), 3):
        a, b, c = (a + words[at]) & _MASK, (b + words[at + 1]) & _MASK, (c + words[at + 2]) & _MASK
        a, c = (a - c) & _MASK ^ _turned(c, 4), (c + b) & _MASK
        b, a = (b - a) & _MASK ^ _turned(a, 6), (a + c) & _MASK
        c, b = (c - b) & _MASK ^ _turned(b, 8), (b + a) & _MASK
        a, c = (a - c) & _MASK ^ _turned(c, 16), (c + b) & _MASK
        b, a = (b - a) & _MASK ^ _turned(a, 19), (a + c) & _MASK
        c, b = (c - b) & _MASK ^ _turned(b, 4), (b + a) & _MASK
    tail = data[whole:].ljust(12, b"\0")
    a, b, c = ((one + _number(tail, at, 4)) & _MASK for one, at in ((a, 0), (b, 4), (c, 8)))
    c = ((c ^ b) - _turned(b, 14)) & _MASK
    a = ((a ^ c) - _turned(c, 11)) & _MASK
    b = ((b ^ a) - _turned(a, 25)) & _MASK
    c = ((c ^ b) - _turned(b, 16)) & _MASK
    a = ((a ^ c) - _turned(c, 4)) & _MASK
    b = ((b ^ a) - _turned(a, 14)) & _MASK
    return ((c ^ b) - _turned(b, 24)) & _MASK


def _turned(word: int, by: int) -> int:
    return (word << by | word >> (32 - by)) & _MASK
