"""Mutations that know no format: bits, words, pieces, ends."""

from __future__ import annotations

import random

WORDS = (
    0, 1, 7, 8, 24, 40, 48, 255, 4096, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF8, 0xFFFFFFFF, 1 << 40, 1 << 62,
    0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFF8, 0xFFFFFFFFFFFFFFFF,
)  # fmt: skip
"""Numbers at which counts, sizes and offsets go wrong."""

TEXTS = (
    "", "\0", "x" * 5000, "[" * 3000, "{", '{"a":' * 500, "[]", '["loss"]', '["loss", 1]', "[1e999]", "NaN", "1e400",
    "../../../tmp/evil", "/etc/passwd", "\N{RIGHT-TO-LEFT OVERRIDE}\x1b[2J", "<>\"{}|^`\\ \n\t", "9" * 5000, "'; DROP",
    "completed", "failed", "none", "real", "json", "\ud800",
)  # fmt: skip
"""Texts that readers trip over."""


def word(rng: random.Random) -> int:
    """Return a number that is likely to hurt."""
    return rng.choice(WORDS) if rng.random() < 0.7 else rng.getrandbits(rng.choice((3, 8, 16, 32, 64)))


def in_place(data: bytearray, rng: random.Random, start: int = 0, end: int | None = None) -> None:
    """Change some bytes between two places without moving the others."""
    end = len(data) if end is None else min(end, len(data))
    if end - start < 16:
        return
    at = rng.randrange(start, end)
    way = rng.randrange(6)
    if way == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif way == 1:
        data[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    elif way in (2, 3):
        size = rng.choice((2, 4, 8))
        at = min(at - at % size, end - size)
        data[at : at + size] = (word(rng) % (1 << 8 * size)).to_bytes(size, "little")
    else:
        size = min(rng.choice((4, 8, 16, 64, 512)), end - start)
        at, other = min(at, end - size), rng.randrange(start, end - size + 1)
        data[at : at + size] = data[other : other + size] if way == 4 else bytes(size)


def anywhere(data: bytearray, rng: random.Random, donor: bytes = b"") -> None:
    """Change the bytes in any way: also cut off, take out, put in, repeat, splice."""
    size = len(data)
    if size < 16 or rng.random() < 0.6:
        in_place(data, rng)
        return
    at = rng.randrange(size)
    way = rng.randrange(5)
    if way == 0:
        del data[at:]
    elif way == 1:
        del data[at : at + rng.randrange(1, 64)]
    elif way == 2:
        piece = data[at : at + rng.choice((8, 40, 512))]
        data[at:at] = piece * rng.choice((1, 2, 100))
    elif way == 3 and donor:
        other = rng.randrange(len(donor))
        data[at:] = donor[other:]
    else:
        data[at:at] = rng.randbytes(rng.choice((1, 8, 100)))
