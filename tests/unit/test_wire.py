"""The wire format: round trips, other releases' records, damage, and bulk decoding against the walk."""

from __future__ import annotations

import struct
from typing import Any, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provml_hpc import records, wire
from provml_hpc.assembly import frames
from provml_hpc.wire import HEADER

KINDS = list(records.KINDS.values())
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(["", "\0", '"\n>\\', "é" * 300, "🜁" * 3, "a" * 10_000]),
)


@st.composite
def any_record(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from(KINDS))
    return kind(*[draw(INT64 if hint is int else TEXT) for hint in get_type_hints(kind).values()])


def frame(size: int, layout: int, sequence: int, body: bytes) -> bytes:
    return HEADER.pack(size, layout, sequence, 0) + body


def sample(layout: int, sequence: int, *values: float) -> bytes:
    head = wire.SAMPLE_HEAD.pack(40 + 8 * len(values), layout, sequence, 5, 6, 7)
    return head + struct.pack(f"<{len(values)}d", *values)


def record_frame(code: int, numbers: list[int], texts: list[bytes], sequence: int = 1) -> bytes:
    body = struct.pack(f"<HHI{len(numbers)}q", code, len(numbers), len(texts), *numbers)
    body += b"".join(struct.pack("<I", len(text)) + text for text in texts)
    body += bytes(-len(body) % 8)
    return frame(24 + len(body), 0, sequence, body)


@given(any_record(), st.integers(1, 2**64 - 1), INT64)
def test_every_kind_comes_back(record: Any, sequence: int, clock: int) -> None:
    data = wire.encode(record, sequence, clock)
    assert len(data) % 8 == 0
    assert wire.decode(data) == (sequence, clock, record)
    assert list(wire.walk(data)) == [(0, len(data), 0, sequence)]


def test_the_codes_of_the_kinds_are_stable() -> None:
    names = (
        "Started Opened Closed Layout Named Declared Used Settled Derived Member Evaluated Associated Digested "
        "Contained Fact Dropped Continued Ended Device Placed Counters Lost Clock"
    )
    assert {code: kind.__name__ for code, kind in records.KINDS.items()} == dict(enumerate(names.split(), 1))


def test_the_fields_that_a_release_wrote_stay_where_they_are() -> None:
    # Append only: what stands here stays a beginning of what the kinds have.
    first = {
        "Started": "clock_to_wall_ns size pid host",
        "Opened": "code parent own ordinal section_index name key section_kind item_type item task algorithm signature",
        "Declared": "code activity generated collection step inode size modified_ns label path select store identifier "
        "algorithm digest",
        "Named": "code activity entity used name type text",
        "Evaluated": "activity on model step name type text",
        "Digested": "inode modified_ns size content_size state path algorithm digest reason",
    }
    for name, fields in first.items():
        assert " ".join(getattr(records, name)._fields).startswith(fields)


def test_text_that_is_no_unicode_is_escaped_and_not_lost() -> None:
    found = wire.decode(wire.encode(records.Continued("x", "a\udc80b"), 1, 0))
    assert found is not None
    assert found.record == records.Continued("x", "a\\udc80b")


@pytest.mark.parametrize("record", [records.Member(2**63, 0), records.Member(1.5, 0)])  # type: ignore[arg-type]
def test_a_number_that_does_not_fit_is_refused(record: records.Member) -> None:
    with pytest.raises(OverflowError, match="Member"):
        wire.encode(record, 1, 0)


def test_an_older_release_wrote_fewer_fields() -> None:
    found = wire.decode(record_frame(2, [17, 3], [b"training"]))
    assert found is not None
    opened = found.record
    assert isinstance(opened, records.Opened)
    assert (opened.code, opened.parent, opened.name, opened.own, opened.signature) == (17, 3, "training", 0, "")


def test_a_newer_release_wrote_more_fields_and_other_kinds() -> None:
    found = wire.decode(record_frame(10, [4, 5, 6, 7], [b"new", b"newer"]))
    assert found is not None
    assert found.record == records.Member(4, 5)
    data = record_frame(999, [1], [b"x"]) + wire.encode(records.Member(1, 2), 2, 0)
    assert wire.decode(data) is None
    assert [sequence for _, _, _, sequence in wire.walk(data)] == [1, 2]


@given(any_record(), st.data())
def test_damaged_bytes_give_a_value_error_and_nothing_else(record: Any, data: st.DataObject) -> None:
    whole = bytearray(wire.encode(record, 1, 0))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    offset = data.draw(st.integers(0, 40))
    for piece in (bytes(whole), cut, memoryview(cut)):
        try:
            found = wire.decode(piece, offset)
        except ValueError:
            continue
        assert found is None or type(found.record) in KINDS


@given(st.binary(max_size=400))
def test_random_bytes_never_hang_and_the_walk_is_what_split_accepts(data: bytes) -> None:
    walked = list(wire.walk(data))
    end = walked[-1][0] + walked[-1][1] if walked else 0
    assert _compare(data[:end], walked)
    if end < len(data):
        with pytest.raises(ValueError, match=r"."):
            frames.split(data)


def _compare(data: bytes, walked: list[tuple[int, int, int, int]]) -> bool:
    parts = frames.split(data)
    assert parts.records == [at for at, _, layout, _ in walked if not layout]
    by_layout: dict[int, list[bytes]] = {}
    for at, size, layout, _ in walked:
        if layout:
            by_layout.setdefault(layout, []).append(data[at : at + size])
    assert {layout: rows.tobytes() for layout, rows in parts.samples.items()} == {
        layout: b"".join(rows) for layout, rows in by_layout.items()
    }
    return True


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """Runs of samples of several layouts, with records between them; some longer than a bulk step."""
    parts: list[bytes] = []
    sequence = 1
    for _ in range(draw(st.integers(0, 8))):
        layout = draw(st.integers(0, 4))
        for _ in range(draw(st.sampled_from([1, 2, 3, 63, 64, 65, 700, 3000]))):
            if layout:
                parts.append(sample(layout, sequence, *range(layout)))
            else:
                parts.append(wire.encode(records.Fact("run", "n" * (sequence % 50), "text", "t"), sequence, 0))
            sequence += 1
    return b"".join(parts)


@given(blocks())
def test_split_finds_what_the_walk_finds(data: bytes) -> None:
    walked = list(wire.walk(data))
    assert sum(size for _, size, _, _ in walked) == len(data)
    _compare(data, walked)


@given(blocks(), st.data())
def test_a_damaged_block_is_refused_where_the_walk_stops(data: bytes, draw: st.DataObject) -> None:
    if not data:
        return
    damaged = bytearray(data)
    at, *_ = draw.draw(st.sampled_from(list(wire.walk(data))))
    size = draw.draw(st.sampled_from([0, 4, 8, 24, 31, 40, 44, 2**31, 2**32 - 8, len(data), len(data) + 8]))
    damaged[at : at + 4] = struct.pack("<I", size)
    walked = list(wire.walk(damaged))
    if sum(size for _, size, _, _ in walked) == len(data):
        _compare(bytes(damaged), walked)
    else:
        with pytest.raises(ValueError, match=r"frame|layout"):
            frames.split(bytes(damaged))


@pytest.mark.parametrize(
    "data",
    [
        frame(48, 1, 1, bytes(24))[:40] + bytes(0),
        frame(56, 1, 1, bytes(24)),
        frame(0, 1, 1, bytes(24)),
        frame(0, 0, 1, bytes(24)),
        frame(24, 0, 1, b""),
        frame(40, 1, 1, bytes(16)),
        frame(49, 1, 1, bytes(25)) + bytes(7),
        sample(1, 1, 1.0) + sample(1, 2, 1.0, 2.0),
        sample(1, 1, 1.0)[:-1],
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        frames.split(data)
    assert sum(size for _, size, _, _ in wire.walk(data)) < len(data)


def test_the_walk_does_not_pass_the_end_it_is_given() -> None:
    data = b"".join(sample(1, sequence, 1.0) for sequence in (1, 2, 3))
    assert [sequence for *_, sequence in wire.walk(data, 48, 96)] == [2]
    assert [sequence for *_, sequence in wire.walk(data, 0, 95)] == [1]
    assert len(list(wire.walk(data, 0, 10**9))) == 3


def test_split_takes_a_stretch_a_time_and_never_looks_back(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two layouts in turn are the worst for taking runs: what is looked at stays within a few times the block.
    data = b"".join(sample(1 + n % 2, n + 1, 1.0) for n in range(20_000))
    looked = 0
    alike = frames._alike

    def counting(words: Any, width: int, most: int) -> int:
        nonlocal looked
        looked += min(len(words) // width, most)
        return alike(words, width, most)

    monkeypatch.setattr(frames, "_alike", counting)
    parts = frames.split(data)
    assert [len(rows) for rows in parts.samples.values()] == [10_000, 10_000]
    assert looked < 20_000
    assert np.array_equal(parts.samples[1][:, 1], np.arange(1, 20_001, 2))
