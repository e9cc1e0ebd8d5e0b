"""The one encoding of records, which serves as buffer, crash journal and message.

A rank writes *frames*. All numbers are little endian and every frame is a multiple of 8 bytes long::

    u32 size | u32 layout | u64 sequence | i64 clock_ns | body

`clock_ns` is the rank's monotonic clock; the :class:`~provml_hpc.records.Started` record that opens every source says
what to add to get nanoseconds since the epoch. `layout` 0 means a record, whose body is

    u16 kind | u16 numbers | u32 texts | numbers (8 bytes each) | texts (u32 length + UTF-8 each) | zeros

and any other layout means a sample: ``i64 step | u64 section`` and one float64 for each measure of the
:class:`~provml_hpc.records.Layout` record, or counter of the :class:`~provml_hpc.records.Counters` record, that has
that number. The sequence of a source counts from 1 without gaps.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple, get_type_hints

from provml_hpc.records import KINDS, Record

HEADER = struct.Struct("<IIQq")
SAMPLE_HEAD = struct.Struct("<IIQqqQ")
_BODY = struct.Struct("<HHI")
_LENGTH = struct.Struct("<I")


class _Schema(NamedTuple):
    code: int
    numbers: tuple[int, ...]  # positions of the number fields
    texts: tuple[int, ...]  # positions of the text fields
    head: struct.Struct


def _schema(code: int, kind: type[Any]) -> _Schema:
    types = list(get_type_hints(kind).values())
    numbers = tuple(i for i, t in enumerate(types) if t is int)
    texts = tuple(i for i, t in enumerate(types) if t is str)
    return _Schema(code, numbers, texts, struct.Struct(f"<IIQqHHI{len(numbers)}q"))


_SCHEMAS = {kind: _schema(code, kind) for code, kind in KINDS.items()}
_DEFAULTS: dict[type[Any], tuple[Any, ...]] = {
    kind: tuple(t() for t in get_type_hints(kind).values()) for kind in _SCHEMAS
}


def encode(record: Record, sequence: int, clock_ns: int) -> bytes:
    """Return the frame of a record.

    Raises
    ------
    OverflowError
        A number does not fit into int64, or the frame would pass 4 GiB.
    """
    schema = _SCHEMAS[type(record)]
    texts = [str(record[i]).encode("utf-8", "backslashreplace") for i in schema.texts]
    size = schema.head.size + 4 * len(texts) + sum(map(len, texts))
    padding = -size % 8
    if size + padding >= 2**32:
        raise OverflowError(f"a record of {size} bytes is larger than a frame can be")
    try:
        head = schema.head.pack(
            size + padding, 0, sequence, clock_ns, schema.code, len(schema.numbers), len(texts),
            *[record[i] for i in schema.numbers],
        )  # fmt: skip
    except struct.error as error:
        raise OverflowError(f"a number of {type(record).__name__} does not fit into 64 bits: {error}") from None
    parts = [head]
    for text in texts:
        parts += (_LENGTH.pack(len(text)), text)
    parts.append(bytes(padding))
    return b"".join(parts)


class Frame(NamedTuple):
    """A decoded record with its place in its source."""

    sequence: int
    clock_ns: int
    record: Record


def decode(data: bytes | memoryview, offset: int = 0) -> Frame | None:
    """Return the record whose frame begins at `offset`, or None where a newer release wrote a kind unknown to this one.

    Raises
    ------
    ValueError
        The bytes there are no record.
    """
    try:
        size, layout, sequence, clock = HEADER.unpack_from(data, offset)
        code, n_numbers, n_texts = _BODY.unpack_from(data, offset + HEADER.size)
        at = offset + HEADER.size + _BODY.size
        end = offset + size
        if layout or size % 8 or end > len(data) or at + 8 * n_numbers + 4 * n_texts > end:
            raise ValueError(f"no record at byte {offset}")
        kind = KINDS.get(code)
        if kind is None:
            return None
        schema = _SCHEMAS[kind]
        numbers = struct.unpack_from(f"<{n_numbers}q", data, at)
        at += 8 * n_numbers
        texts = []
        for _ in range(min(n_texts, len(schema.texts))):
            (length,) = _LENGTH.unpack_from(data, at)
            at += 4
            if at + length > end:
                raise ValueError(f"the record at byte {offset} has a text that passes its end")
            texts.append(str(data[at : at + length], "utf-8", "replace"))
            at += length
    except struct.error:
        raise ValueError(f"no record at byte {offset}") from None
    values = list(_DEFAULTS[kind])
    for place, number in zip(schema.numbers, numbers, strict=False):
        values[place] = number
    for place, text in zip(schema.texts, texts, strict=False):
        values[place] = text
    return Frame(sequence, clock, kind._make(values))


def least(layout: int) -> int:
    """Return the size in bytes of the smallest frame there can be: a record without fields, a sample of one measure."""
    return SAMPLE_HEAD.size + 8 if layout else HEADER.size + _BODY.size


def walk(data: bytes | memoryview, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """Yield (offset, size, layout, sequence) of each whole frame; stop where the bytes are no frame any more.

    For short stretches and for recovery. :func:`provml_hpc.assembly.frames.split` is its bulk form, and accepts what
    this one walked over.
    """
    at, end = start, len(data) if end is None else min(end, len(data))
    sizes: dict[int, int] = {}
    while at + HEADER.size <= end:
        size, layout, sequence, _ = HEADER.unpack_from(data, at)
        if size < least(layout) or size % 8 or at + size > end:
            return
        if layout and sizes.setdefault(layout, size) != size:  # all samples of a layout have the same measures
            return
        yield at, size, layout, sequence
        at += size
