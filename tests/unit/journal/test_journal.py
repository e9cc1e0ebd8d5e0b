"""The buffer of one rank: what is in it after anything that can happen to its process or its disk."""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path

import pytest

from provml_hpc import wire
from provml_hpc.assembly.frames import split
from provml_hpc.capture.recorder import recorder
from provml_hpc.journal import (
    FIRST,
    HEAD_ROOM,
    KEPT_FREE,
    DeadSegment,
    Journal,
    Mark,
    Segment,
    file_name,
)
from provml_hpc.records import NO_STEP, Dropped, Fact
from tests.unit.journal.making import RUN, SOURCE, dead, make, sequences


def test_a_record_is_there_as_soon_as_the_call_returned(journal: Journal, tmp_path: Path) -> None:
    (path,) = tmp_path.glob("*.journal")
    for number in range(1, 4):
        assert journal.write(Fact("run", "n", "text", str(number))) == number
        frames, first, last, lost = DeadSegment(path).frames()
        assert (first, last, lost) == (1, number, 0)
        assert sequences(frames) == list(range(1, number + 1))
    assert path.name == file_name(RUN, SOURCE, 0)
    assert DeadSegment(path).source == SOURCE


def test_bytes_behind_the_published_length_do_not_count(journal: Journal, tmp_path: Path) -> None:
    journal.write(Fact("run", "n", "text", "1"))
    frame = wire.encode(Fact("run", "n", "text", "2"), 2, 0)
    journal.first.view[journal.first.length : journal.first.length + len(frame)] = frame
    (segment,) = dead(tmp_path)
    assert segment.frames()[1:] == (1, 1, 0)


def test_after_a_restart_the_sequence_goes_on_and_old_frames_are_gone(journal: Journal, tmp_path: Path) -> None:
    for _ in range(5):
        journal.write(Fact("run", "n", "text", "old"))
    journal.seal()
    journal.restart(journal.seal().mark)
    assert (journal.pending, dead(tmp_path)[0].frames()[1:]) == (0, (0, 0, 0))
    assert dead(tmp_path)[0].seal_holds is None
    assert journal.write(Fact("run", "n", "text", "new")) == 6
    assert dead(tmp_path)[0].frames()[1:] == (6, 6, 0)


@pytest.mark.parametrize("name", ["length", "seal"])
def test_what_a_signal_handler_logs_in_the_middle_of_a_seal_is_sealed_or_comes_later(
    name: str, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.write(Fact("run", "n", "text", "before"))
    real, handled = getattr(Segment, name), []

    def handle() -> None:
        if not handled:
            handled.append(0)
            handled.append(journal.write(Fact("run", "n", "text", "by a handler")))
            journal.count(1, "buffer full", "loss", 2)

    if isinstance(real, property):
        monkeypatch.setattr(Segment, name, property(lambda self: (real.fget(self), handle())[0]))
    else:
        monkeypatch.setattr(Segment, name, lambda self, end: (handle(), real(self, end))[1])
    sealed = journal.seal()
    whole = b"".join(sealed.chunks)
    assert handled[1:] == [2]
    assert sequences(whole) == list(range(1, sealed.mark.sequence + 1))
    assert sealed.mark.sequence == (3 if name == "length" else 1)
    assert sealed.checksum == zlib.crc32(whole)
    journal.count(1, "buffer full", "loss", 2)
    assert sealed.checksum == zlib.crc32(b"".join(sealed.chunks)), "what is sealed is not changed any more"
    assert not journal.restart(sealed.mark) or name == "length"


def test_a_journal_into_which_a_handler_logs_all_the_time_is_sealed(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Segment.seal

    def interrupted(segment: Segment, end: int) -> int:
        journal.write(Fact("run", "n", "text", "by a handler"))
        return real(segment, end)

    monkeypatch.setattr(Segment, "seal", interrupted)
    for number in range(3):
        assert journal.seal().mark.sequence == number


def test_a_journal_begins_anew_only_where_nothing_was_logged_since(journal: Journal) -> None:
    journal.write(Fact("run", "n", "text", "x" * 20_000))
    mark = journal.seal().mark
    journal.write(Fact("run", "n", "text", "later"))
    before = journal.pending
    assert not journal.restart(mark)
    assert journal.pending == before
    assert journal.restart(journal.seal().mark)
    assert (journal.pending, journal.sequence) == (0, 2)


def test_a_head_goes_before_the_frames_without_a_copy(journal: Journal, tmp_path: Path) -> None:
    for number in range(3):
        journal.write(Fact("run", f"{number}", "text", "x" * 9000 * number))
    identity = {one.identity for one in dead(tmp_path)}
    for head in (b"first head", bytes(HEAD_ROOM)):
        sealed = journal.seal()
        parcel = sealed.behind(head)
        assert b"".join(parcel) == head + b"".join(sealed.chunks)
        assert {one.identity for one in dead(tmp_path)} == identity, "copies of it are known by that"
    assert all(one.description["pid"] == os.getpid() for one in dead(tmp_path))


class TestWhatCameAfterTheMark:
    """Threads log while a flush point is under way: that stays when the rest is committed, whatever kills it."""

    @pytest.fixture(params=["small", "large", "in further segments"])
    def marked(self, request: pytest.FixtureRequest, journal: Journal, tmp_path: Path) -> tuple[Journal, Mark]:
        """Return a journal that was sealed and marked, and has 15 frames more."""
        before, after = {"small": (5, 5), "large": (5, 4000), "in further segments": (20_000, 5000)}[request.param]
        for _ in range(6):
            journal.write(Fact("run", "before", "text", "x" * before))
        mark = journal.seal().mark
        for number in range(13):
            journal.write(Fact("run", f"after {number}", "text", "x" * after))
        journal.count(1, "buffer full", "loss", 2)
        journal.count(1, "buffer full", "loss", 3)
        journal.count(1, "buffer full", "other", 1)
        assert (mark.sequence, journal.sequence) == (6, 21)
        assert (len(dead(tmp_path)) > 1) == (request.param == "in further segments")
        return journal, mark

    def test_it_stays_and_the_rest_goes(self, marked: tuple[Journal, Mark], tmp_path: Path) -> None:
        journal, mark = marked
        sent = b"".join(bytes(chunk) for chunk in journal.seal().chunks)
        journal.keep_later(mark)
        left = b"".join(bytes(chunk) for chunk in journal.seal().chunks)
        assert sequences(left) == list(range(7, 22))
        assert sent.endswith(left)
        journal.count(1, "buffer full", "loss", 4)
        assert journal.write(Fact("run", "n", "text", "more")) == 23
        found = [sequence for one in dead(tmp_path) for sequence in sequences(one.frames()[0])]
        assert found == list(range(7, 24))
        lost = [
            frame.record.lost
            for one in dead(tmp_path)
            for at, *_ in wire.walk(one.frames()[0])
            if (frame := wire.decode(one.frames()[0], at)) and isinstance(frame.record, Dropped)
        ]
        assert lost == [5, 1, 4], "a count that was begun stands where it is, and is raised nowhere else"
        mark = journal.seal().mark
        assert all(one.seal_holds for one in dead(tmp_path) if one.frames()[1])
        journal.keep_later(mark)
        assert (journal.pending, len(dead(tmp_path))) == (0, 1)
        assert journal.write_sample(1, 0, 0, (1.0,))

    def test_whoever_dies_in_the_middle_leaves_all_of_it(
        self, marked: tuple[Journal, Mark], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal, mark = marked
        seen = []

        def look() -> None:
            found = {sequence for one in dead(tmp_path) for sequence in sequences(one.frames()[0])}
            seen.append(set(range(7, 22)) <= found)

        for name in ("restart", "close", "length"):
            real = getattr(Segment, name)
            if isinstance(real, property):
                monkeypatch.setattr(Segment, name, property(lambda self, real=real: (look(), real.fget(self))[1]))
            else:
                monkeypatch.setattr(
                    Segment, name, lambda self, *how, real=real, **more: (look(), real(self, *how, **more), look())[1]
                )
        journal.keep_later(mark)
        look()
        assert len(seen) > 4
        assert all(seen)

    def test_without_room_all_stays_as_it_is(
        self, marked: tuple[Journal, Mark], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal, mark = marked
        before = [bytes(chunk) for chunk in journal.seal().chunks]

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(journal, "_open_segment", full)
        journal.keep_later(mark)
        assert [bytes(chunk) for chunk in journal.seal().chunks] == before


def test_old_frames_behind_a_new_one_are_told_by_their_sequence(journal: Journal, tmp_path: Path) -> None:
    # As after the loss of a node: the length reached the disk, the page it tells of did not.
    for _ in range(5):
        journal.write(Fact("run", "n", "text", "same"))
    end = journal.first.length
    journal.restart(journal.seal().mark)
    journal.write(Fact("run", "n", "text", "same"))
    journal.first.words[1] = end
    frames, first, last, lost = dead(tmp_path)[0].frames()
    assert (sequences(frames), first, last, lost) == ([6], 6, 6, end - FIRST - len(frames))


def test_structure_goes_on_in_further_segments_and_samples_do_not(journal: Journal, tmp_path: Path) -> None:
    fact = Fact("run", "n", "text", "x" * 2000)
    while len(list(tmp_path.glob("*.journal"))) < 3:
        journal.write(fact)
    assert not journal.write_sample(1, NO_STEP, 0, (1.0,))
    assert journal.state[0] >= journal.first.size, "the recorders see a full journal"
    last = journal.sequence
    parts = [segment.frames() for segment in dead(tmp_path)]
    assert [first for _, first, _, _ in parts] == [1, parts[0][2] + 1, parts[1][2] + 1]
    assert sequences(b"".join(journal.seal().chunks)) == list(range(1, last + 1))
    assert journal.pending == sum(len(frames) for frames, *_ in parts)
    journal.restart(journal.seal().mark)
    assert len(list(tmp_path.glob("*.journal"))) == 1
    assert journal.write_sample(1, 1, 0, (1.0,))
    assert sequences(journal.seal().chunks[0]) == [last + 1]


def test_a_record_larger_than_a_segment_gets_one_of_its_size(journal: Journal, tmp_path: Path) -> None:
    journal.write(Fact("run", "small", "text", ""))
    journal.write(Fact("run", "large", "text", "x" * (3 << 20)))
    journal.write(Fact("run", "small", "text", ""))
    assert [segment.frames()[1] for segment in dead(tmp_path)][:2] == [1, 2]
    assert sum(segment.frames()[3] for segment in dead(tmp_path)) == 0
    block = b"".join(journal.seal().chunks)
    found = [wire.decode(block, at) for at in split(block).records]
    assert [len(one.record.text) for one in found if one and isinstance(one.record, Fact)] == [0, 3 << 20, 0]


def test_samples_are_thinned_in_the_last_eighth_by_a_rule_that_can_be_told(tmp_path: Path) -> None:
    journal = make(tmp_path)
    kept = [step for step in range(4000) if journal.write_sample(1, step, 0, (1.0, 2.0))]
    free = (journal.first.size - FIRST) // 56
    part = (journal.first.size - FIRST) // 8 // 56
    soft = next(i for i, step in enumerate(kept) if step != i)
    assert abs(soft - (free - part)) <= 1, "all steps are kept in the first seven eighths"
    part -= KEPT_FREE // 56
    spread = kept[soft:]
    assert all(step % 2 == 0 for step in spread[: part // 2 - 1])
    assert all(step % 4 == 0 for step in spread[part // 2 + 1 : part * 3 // 4 - 1])
    assert spread[-1] - soft > 5 * part, "what is left is spread over a stretch many times its size"
    journal.close(remove=True)


def test_what_the_recorder_cannot_take_is_taken_in_the_last_eighth_once(tmp_path: Path) -> None:
    journal = make(tmp_path)
    refused: list[int] = []

    def otherwise(step: int, values: tuple[float, ...]) -> None:
        if not journal.write_sample(1, step, 0, values):
            refused.append(step)

    record = recorder(journal, 1, 1, [0], otherwise)
    for step in range(3000):
        record(step, float(step))
    block = b"".join(journal.seal().chunks)
    kept = split(block).samples[1][:, 3].tolist()
    assert sorted(kept + refused) == list(range(3000))
    assert kept == sorted(kept)
    assert journal.state[0] == journal.first.length
    journal.close(remove=True)


def test_a_seal_tells_whether_the_bytes_are_what_they_were(journal: Journal, tmp_path: Path) -> None:
    journal.write(Fact("run", "n", "text", "1"))
    journal.seal()
    journal.write(Fact("run", "n", "text", "2"))
    (segment,) = dead(tmp_path)
    assert (segment.seal_holds, segment.frames()[2]) == (True, 2)
    journal.first.view[FIRST + 40] ^= 1
    assert dead(tmp_path)[0].seal_holds is False


def test_a_count_is_raised_where_it_stands_until_it_is_sealed(journal: Journal, tmp_path: Path) -> None:
    def counted() -> list[tuple[str, int]]:
        frames, _, _, lost = dead(tmp_path)[0].frames()
        assert lost == 0
        found = [wire.decode(frames, at) for at in split(frames).records]
        return [(one.record.name, one.record.lost) for one in found if one and isinstance(one.record, Dropped)]

    for _ in range(5):
        journal.count(1, "buffer full", "loss", 2)
        journal.count(1, "buffer full", "acc", 1)
    assert counted() == [("loss", 10), ("acc", 5)]
    journal.seal()
    journal.count(1, "buffer full", "loss", 1)  # the bytes that the checksum covers stay as they are
    assert dead(tmp_path)[0].seal_holds
    assert counted() == [("loss", 10), ("acc", 5), ("loss", 1)]
    journal.restart(journal.seal().mark)
    journal.count(1, "buffer full", "loss", 7)
    assert counted() == [("loss", 7)]
