"""The buffer of one rank: what is in it after anything that can happen to its process or its disk."""

from __future__ import annotations

import errno
import json
import mmap
import os
import random
import shutil
import stat
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provml_hpc import wire
from provml_hpc.assembly.frames import split
from provml_hpc.capture.recorder import recorder
from provml_hpc.errors import FormatError, ProvMLError, StateError, StorageError
from provml_hpc.journal import (
    FIRST,
    HEAD_ROOM,
    KEPT_FREE,
    DeadSegment,
    Journal,
    Mark,
    Segment,
    SideJournal,
    file_name,
    node_folders,
    own_folder,
    reserve,
    safe_folder,
)
from provml_hpc.records import NO_STEP, Dropped, Fact, Source

RUN = "3f0d2a44-1111-4222-8333-0123456789ab"
SOURCE = Source(1, 3, 0)
SMALL = 64 << 10
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away or mount a file system")


def make(folder: Path, bound: int = SMALL, source: Source = SOURCE, **description: object) -> Journal:
    return Journal(folder, source, RUN, {"run": RUN, **description}, bound)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = make(tmp_path)
    yield made
    made.close(remove=True)


def sequences(data: bytes | memoryview) -> list[int]:
    return [sequence for *_, sequence in wire.walk(data)]


def dead(folder: Path) -> list[DeadSegment]:
    return [DeadSegment(path) for path in sorted(folder.glob("*.journal"))]


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


@pytest.mark.parametrize("samples", [True, False])
def test_on_a_full_disk_all_is_counted_if_not_all_by_name(samples: bool, tiny_disk: Path) -> None:
    journal = make(tiny_disk)
    if samples:
        for step in range(4000):
            journal.write_sample(1, step, 0, (1.0, 2.0))
    (tiny_disk / "ballast").write_bytes(bytes(os.statvfs(tiny_disk).f_bavail * os.statvfs(tiny_disk).f_bsize))
    with pytest.raises(StorageError):
        while True:
            journal.write(Fact("run", "n", "text", "x" * 100))
    for number in range(300):
        journal.count(1, ("buffer full", "unwritable")[number % 2], f"a measure of number {number}", 3)
    frames, _, _, lost = dead(tiny_disk)[0].frames()
    found = [wire.decode(frames, at) for at in split(frames).records]
    counts = {one.record.name: one.record.lost for one in found if one and isinstance(one.record, Dropped)}
    assert lost == 0
    assert counts["a measure of number 0"] == 3
    assert sum(one.record.lost for one in found if one and isinstance(one.record, Dropped)) == 900
    journal.close(remove=True)


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    folder = safe_folder(tmp_path / "mine")
    before = os.umask(0)
    journal = make(folder)
    os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    journal.close(remove=True)


def test_a_folder_that_others_may_enter_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert stat.S_IMODE(safe_folder(tmp_path / "open").stat().st_mode) == 0o700


def test_a_planted_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    with pytest.raises(StorageError, match="is a link"):
        safe_folder(tmp_path / "link")
    assert stat.S_IMODE((tmp_path / "theirs").stat().st_mode) == 0o755
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="remove it or choose"):
        safe_folder(tmp_path / "file")
    with pytest.raises(StorageError, match="choose another place"):
        safe_folder(tmp_path / "nowhere" / "deeper")
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (tmp_path / file_name(RUN, SOURCE, 0)).symlink_to(precious)
    with pytest.raises(FileExistsError):
        make(tmp_path)
    assert precious.read_bytes() == b"precious"
    with pytest.raises(OSError, match=r"[Ll]ink|[Ss]ymbolic"):
        DeadSegment(tmp_path / file_name(RUN, SOURCE, 0))


@root_only
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, 65534)
    with pytest.raises(StorageError, match="belongs to somebody else"):
        safe_folder(tmp_path / "theirs")


def test_the_folders_of_a_node_are_named_after_user_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_TMPDIR", "/local/job")
    monkeypatch.delenv("TMPDIR", raising=False)
    folders = list(node_folders(RUN))
    assert folders[:2] == [Path("/local/job") / own_folder(RUN), Path("/dev/shm") / own_folder(RUN)]
    assert str(os.geteuid()) in own_folder(RUN)
    assert own_folder(RUN).endswith(RUN[:8])


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "tiny"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_an_error_and_no_dead_process(tiny_disk: Path) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        make(tiny_disk, bound=2 << 20)
    assert caught.value.errno == errno.ENOSPC
    assert list(tiny_disk.iterdir()) == [], "nothing half made is left"
    journal = make(tiny_disk, bound=512 << 10)
    fact = Fact("run", "n", "text", "x" * 5000)
    with pytest.raises(StorageError, match="flush more often"):
        for _ in range(1000):
            journal.write(fact)
    count = journal.sequence
    assert sequences(b"".join(journal.seal().chunks)) == list(range(1, count + 1))
    journal.restart(journal.seal().mark)
    assert journal.write(fact) == count + 1, "after a commit there is room again"
    journal.close(remove=True)


def test_a_file_system_without_reservations_has_its_blocks_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with (tmp_path / "file").open("w+b") as file:
        reserve(file.fileno(), (1 << 20) + 4096)
        status = os.fstat(file.fileno())
    assert status.st_size == (1 << 20) + 4096
    assert status.st_blocks * 512 >= status.st_size


def test_who_is_killed_while_a_journal_is_made_leaves_one_that_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[DeadSegment] = []

    def look(descriptor: int, offset: int, size: int) -> None:
        seen.extend(dead(tmp_path))

    monkeypatch.setattr(os, "posix_fallocate", look)
    with pytest.raises(ValueError, match="mmap"):  # this disk reserved nothing
        make(tmp_path)
    assert [(one.source, one.description["run"], one.frames()[1:]) for one in seen] == [(SOURCE, RUN, (0, 0, 0))]
    assert list(tmp_path.iterdir()) == [], "and who fails leaves none"


def test_a_long_description_is_cut_and_stays_readable(tmp_path: Path) -> None:
    output = "/ø" * 3000
    make(tmp_path, output=output, name="🜁" * 500, study="\udc80" * 600, attempt=3).close(remove=False)
    (segment,) = dead(tmp_path)
    assert segment.description["run"] == RUN
    assert segment.description["attempt"] == 3
    assert output.startswith(segment.description["output"])
    assert len(segment.description["output"]) > 100


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    contents = {"empty": b"", "short": b"PROVMLJ1", "other": bytes(5000), "text": b"x" * 5000}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match="remove it"):
            DeadSegment(tmp_path / name)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(FormatError, match="not a regular file"):
            DeadSegment(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        DeadSegment(tmp_path / "nothing")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("written")
    journal = make(folder)
    for step in range(30):
        journal.write(Fact("run", "name", "text", "value"))
        journal.write_sample(1 + step % 2, step, 0, (1.0,) * (1 + step % 2))
    journal.seal()
    (path,) = folder.glob("*.journal")
    data = path.read_bytes()
    journal.close(remove=True)
    return data


@given(st.data())
def test_a_damaged_journal_gives_what_can_be_believed_or_one_of_our_errors(
    written: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = bytearray(written)
    last = FIRST + 60 * 60
    for _ in range(data.draw(st.integers(0, 8))):
        at = data.draw(st.one_of(st.integers(0, 128), st.integers(FIRST, last)))
        damaged[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.one_of(st.integers(0, FIRST + 10), st.integers(0, len(damaged)))) :]
    path = tmp_path_factory.getbasetemp() / "damaged.journal"
    path.write_bytes(damaged)
    try:
        segment = DeadSegment(path)
    except ProvMLError:
        return
    frames, first, final, lost = segment.frames()
    assert isinstance(segment.description, dict)
    assert segment.seal_holds in (True, False, None)
    assert sequences(frames) == (list(range(first, final + 1)) if first else [])
    assert lost >= 0
    split(frames)


def test_of_a_journal_only_what_was_published_is_read(tmp_path: Path) -> None:
    journal = make(tmp_path, bound=8 << 20)
    journal.write(Fact("run", "n", "text", "1"))
    assert len(dead(tmp_path)[0].data) < FIRST + 200
    journal.close(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_a_closed_side_journal_takes_nothing_and_makes_no_file(tmp_path: Path) -> None:
    side = SideJournal(lambda: make(tmp_path, source=Source(1, 0, 1)))
    assert side.journal is None
    assert list(tmp_path.iterdir()) == []
    side.close(remove=True)
    assert side.journal is None
    with pytest.raises(StateError, match="closed"):
        side.write(Fact("run", "n", "text", "1"))
    assert list(tmp_path.iterdir()) == []


def test_threads_that_share_the_side_journal_lose_nothing(tmp_path: Path) -> None:
    side = SideJournal(lambda: make(tmp_path, source=Source(1, 0, 1)))

    def work(name: str) -> None:
        for number in range(200):
            side.write(Fact("run", name, "integer", str(number)))

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with side.lock:
        assert side.journal is not None
        block = b"".join(side.journal.seal().chunks)
    assert sequences(block) == list(range(1, 801))
    found = [wire.decode(block, at) for at in split(block).records]
    for name in "0123":
        mine = [one.record.text for one in found if one and isinstance(one.record, Fact) and one.record.name == name]
        assert mine == [str(number) for number in range(200)]
    side.close(remove=True)


@pytest.mark.parametrize("bound", [SMALL * 16, 8 << 20])
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, bound: int) -> None:
    chance = random.Random(bound)
    here = Path(__file__).parent
    for trial in range(10):
        folder = safe_folder(tmp_path / f"{bound}-{trial}")
        told = tmp_path / f"told-{trial}"
        worker = subprocess.Popen(
            [sys.executable, str(here / "kill_journal.py"), str(folder), str(told), str(bound)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(here.parent.parent)},
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
        time.sleep(chance.random() * 0.02)
        worker.kill()
        worker.wait()
        worker.stdout.close()
        (acknowledged,) = struct.unpack_from("<Q", told.read_bytes())
        whole = [segment.frames() for segment in dead(folder)]
        block = b"".join(bytes(frames) for frames, *_ in whole)
        assert sum(lost for *_, lost in whole) == 0, "nothing is torn"
        assert sequences(block) == list(range(1, len(sequences(block)) + 1))
        assert acknowledged <= len(sequences(block)) <= acknowledged + 1
        parts = split(block)
        for row in parts.samples.get(1, ()):
            step = int(row[3])
            assert (int(row[1]), int(row[4])) == (step, 4)
            assert struct.unpack("<3d", row[5:].tobytes()) == (float(step), step / 2, -1.0)
        for offset in parts.records[1:]:
            frame = wire.decode(block, offset)
            assert frame is not None
            assert frame.record == Fact("run", "n" * (frame.sequence % 97), "text", str(frame.sequence))


def test_the_description_is_json_of_what_was_given_and_who_writes(tmp_path: Path) -> None:
    make(tmp_path, name="facies ünet", attempt=2).close(remove=False)
    (path,) = tmp_path.glob("*.journal")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        (length,) = struct.unpack_from("<I", data, 56)
        told = json.loads(data[64 : 64 + length])
    writer = {"pid": os.getpid(), "pid_namespace": str(Path("/proc/self/ns/pid").readlink())}
    assert told == {"run": RUN, "name": "facies ünet", "attempt": 2, **writer}
