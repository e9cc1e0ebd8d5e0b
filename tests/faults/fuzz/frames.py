"""Mutations of frames, as journals and the log have them; what was changed gets past every checksum."""

from __future__ import annotations

import json
import random
import struct
import zlib
from typing import Any

from provml_hpc import wire
from provml_hpc.journal import FIRST
from tests.faults.fuzz import plain

_HEAD = struct.Struct("<IIQq")
_BODY = struct.Struct("<HHI")


def frames_of(data: bytes | bytearray, start: int = 0, end: int | None = None) -> list[bytearray]:
    """Return the whole frames in some bytes."""
    return [bytearray(data[at : at + size]) for at, size, _, _ in wire.walk(bytes(data), start, end)]


def change(frame: bytearray, rng: random.Random, *, keep_size: bool = False) -> None:
    """Change one frame: its head, its numbers or its texts."""
    size, layout, sequence, clock = _HEAD.unpack_from(frame)
    way = rng.randrange(8)
    if way == 0:
        plain.in_place(frame, rng, 0 if not keep_size else 4)
    elif way == 1:
        _HEAD.pack_into(frame, 0, size, layout if rng.random() < 0.5 else plain.word(rng) & 0xFFFFFFFF, sequence, clock)
    elif way == 2:
        clock = plain.word(rng) - (1 << 63 if rng.random() < 0.3 else 0)
        _HEAD.pack_into(frame, 0, size, layout, sequence, max(-(1 << 63), min(clock, (1 << 63) - 1)))
    elif layout:
        at = _HEAD.size + 8 * rng.randrange((len(frame) - _HEAD.size) // 8)
        frame[at : at + 8] = plain.word(rng).to_bytes(8, "little")
    elif way in (3, 4):
        _change_number(frame, rng)
    elif way == 5 or keep_size:
        kind, numbers, texts = _BODY.unpack_from(frame, _HEAD.size)
        kind = rng.randrange(1, 20) if rng.random() < 0.5 else kind
        numbers, texts = (n if rng.random() < 0.6 else rng.choice((0, 1, n + 1, 0xFFFF)) for n in (numbers, texts))
        _BODY.pack_into(frame, _HEAD.size, kind, numbers & 0xFFFF, texts & 0xFFFFFFFF)
    else:
        _change_text(frame, rng)


def _change_number(frame: bytearray, rng: random.Random) -> None:
    _, numbers, _ = _BODY.unpack_from(frame, _HEAD.size)
    if not numbers:
        return
    at = _HEAD.size + _BODY.size + 8 * rng.randrange(numbers)
    # A reference is the sequence of another record: small numbers make cycles, and things of the wrong kind.
    value = rng.randrange(60) if rng.random() < 0.6 else plain.word(rng)
    frame[at : at + 8] = value.to_bytes(8, "little")


def _change_text(frame: bytearray, rng: random.Random) -> None:
    _, _, sequence, clock = _HEAD.unpack_from(frame)
    try:
        decoded = wire.decode(bytes(frame))
    except ValueError:
        return
    if decoded is None:
        return
    values = list(decoded.record)
    places = [at for at, value in enumerate(values) if isinstance(value, str)]
    if places:
        values[rng.choice(places)] = rng.choice(plain.TEXTS)
        record: Any = type(decoded.record)._make(values)
        frame[:] = wire.encode(record, sequence, clock)


def shuffle(frames: list[bytearray], rng: random.Random) -> None:
    """Change one of the frames, or which there are."""
    if not frames:
        return
    at, way = rng.randrange(len(frames)), rng.randrange(10)
    if way < 6:
        change(frames[at], rng)
    elif way == 6:
        del frames[at]
    elif way == 7:
        frames[at:at] = [bytearray(frames[rng.randrange(len(frames))]) for _ in range(rng.choice((1, 1, 3, 200)))]
    elif way == 8:
        other = rng.randrange(len(frames))
        frames[at], frames[other] = frames[other], frames[at]
    else:
        del frames[at:]


def number(frames: list[bytearray], first: int = 1) -> None:
    """Give frames sequence numbers without gaps, so that what was changed is believed."""
    for sequence, frame in enumerate(frames, first):
        if len(frame) >= _HEAD.size:
            frame[8:16] = (sequence % (1 << 64)).to_bytes(8, "little")


def journal(data: bytes, rng: random.Random) -> bytes:
    """Return a journal that was spoiled."""
    mutant = bytearray(data)
    if rng.random() < 0.2:
        mutant = mutant[: int.from_bytes(mutant[8:16], "little")]
        for _ in range(rng.choice((1, 2, 8))):
            plain.anywhere(mutant, rng, data)
        return bytes(mutant)
    published = int.from_bytes(mutant[8:16], "little")
    frames = frames_of(mutant, FIRST, published)
    first = int.from_bytes(frames[0][8:16], "little") if frames else 1
    for _ in range(rng.choice((1, 1, 2, 5))):
        shuffle(frames, rng)
    if rng.random() < 0.9:
        number(frames, first if rng.random() < 0.9 else plain.word(rng))
    body = b"".join(frames)
    mutant = mutant[:FIRST] + body + bytes(rng.choice((0, 0, 64, 4096)))
    mutant[8:16] = (FIRST + len(body)).to_bytes(8, "little")
    if rng.random() < 0.3:
        _change_head(mutant, rng)
    if rng.random() < 0.5:
        mutant[16:24] = mutant[8:16]
        mutant[24:32] = zlib.crc32(mutant[FIRST : FIRST + len(body)]).to_bytes(8, "little")
    return bytes(mutant)


def _change_head(mutant: bytearray, rng: random.Random) -> None:
    way = rng.randrange(4)
    if way == 0:
        at = rng.choice((8, 16, 24, 48))
        mutant[at : at + 8] = plain.word(rng).to_bytes(8, "little")
    elif way == 1:
        at = rng.choice((32, 36, 40, 44, 56))
        mutant[at : at + 4] = (plain.word(rng) & 0xFFFFFFFF).to_bytes(4, "little")
    else:
        length = int.from_bytes(mutant[56:60], "little")
        try:
            told = json.loads(mutant[64 : 64 + length])
        except ValueError:
            return
        name = rng.choice((*told, "journal_folder", "output"))
        told[name] = rng.choice((*plain.TEXTS[:8], 1, None, [], {"a": 1}, 1e308, -1, True, "../../.."))
        text = json.dumps(told).encode()[: FIRST - 64]
        mutant[56:60] = len(text).to_bytes(4, "little")
        mutant[64 : 64 + len(text)] = text
