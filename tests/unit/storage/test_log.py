"""The log of a run: what is committed stays, what is not does not count, and a reader never sees a wrong row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provml_hpc.errors import FileMissingError, FormatError, OutputExistsError, StateError, StorageError
from provml_hpc.records import Source
from provml_hpc.storage.log import LogReader, LogWriter
from provml_hpc.storage.log_format import LOG_VERSION
from provml_hpc.wire import HEADER

ONE = Source(1, 0, 0)
TWO = Source(1, 1, 1)


def frames(first: int, last: int, fill: bytes = b"ABCDEFGH") -> bytes:
    return b"".join(
        HEADER.pack(HEADER.size + 8 * (1 + seq % 3), 0, seq, seq) + fill * (1 + seq % 3)
        for seq in range(first, last + 1)
    )


def content(log: LogReader, source: Source) -> bytes:
    return b"".join(log.blocks(source))


def run(script: str, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[3]
    return subprocess.run(
        [sys.executable, str(Path(__file__).with_name(script)), *arguments],
        capture_output=True, text=True, timeout=timeout, check=False, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.h5.partial"


def test_a_batch_in_pieces_is_one_batch(path: Path) -> None:
    whole = frames(1, 9)
    with LogWriter.create(path, {}) as log:
        for start in range(0, len(whole), 40):  # a multiple of 8 that tears frames
            log.append(ONE, whole[start : start + 40], 1, 9)
        log.append(TWO, frames(1, 2), 1, 2)
        log.commit(1)
    with LogReader(path) as back:
        assert [bytes(block) for block in back.blocks(ONE)] == [whole]
        assert back.committed(ONE) == 9
        assert back.summary()["rows"].tolist() == [11]


def test_what_a_gather_that_was_cut_short_had_brought_never_counts(path: Path) -> None:
    """Its pieces would stand before those of the whole batch, which comes again with the same sequences."""
    whole = frames(1, 9)
    with LogWriter.create(path, {}) as log:
        log.append(TWO, frames(1, 2), 1, 2)
        log.append(ONE, whole[:40], 1, 9)
        log.forget()
        for start in range(0, len(whole), 40):
            log.append(ONE, whole[start : start + 40], 1, 9)
        log.commit(1)
    with LogReader(path) as back:
        assert [bytes(block) for block in back.blocks(ONE)] == [whole]
        assert back.sources() == [ONE]
        assert back.damage == []


def test_what_is_committed_is_read_back(path: Path) -> None:
    meta = {"uuid": "u", "name": "Über\0holz", "empty": "", "n": 3, "x": 0.5, "yes": True, "left out": None}
    with LogWriter.create(path, meta) as log:
        log.append(ONE, frames(1, 5), 1, 5)
        log.append(TWO, bytearray(frames(1, 2)), 1, 2)
        assert log.commit(77, flags=5) == 1
        log.append(ONE, memoryview(frames(6, 9)), 6, 9)
        assert log.commit(78, durable=False) == 2
        log.append(ONE, frames(10, 11), 10, 11)
    with LogReader(path) as back:
        assert back.sources() == [ONE, TWO]
        assert content(back, ONE) == frames(1, 9)
        assert content(back, TWO) == frames(1, 2)
        assert [back.committed(s) for s in (ONE, TWO, Source(9, 9, 9))] == [9, 2, 0]
        assert back.commits["time_ns"].tolist() == [77, 78]
        assert back.commits["flags"].tolist() == [5, 0]
        assert back.summary()[["number", "time_ns", "rows"]].tolist() == [(1, 77, 7), (2, 78, 4)]
        assert int(back.summary()["bytes"].sum()) == len(frames(1, 9) + frames(1, 2))
        assert back.damage == []
        expected = {"format": "provml-hpc", "format_kind": "log", "format_version": LOG_VERSION, "uuid": "u"}
        assert back.meta == {**expected, "name": "Überholz", "empty": "", "n": 3, "x": 0.5, "yes": True}


def test_a_log_without_commits_is_empty(path: Path) -> None:
    LogWriter.create(path, {}).close()
    with LogReader(path) as back:
        assert (len(back.commits), back.sources(), list(back.blocks(ONE))) == (0, [], [])


def test_an_empty_commit_counts(path: Path) -> None:
    with LogWriter.create(path, {}) as log:
        log.append(ONE, b"", 1, 0)
        log.commit(1)
        log.commit(2)
    with LogReader(path) as back:
        assert back.commits["number"].tolist() == [1, 2]
        assert back.sources() == []


@settings(max_examples=25)
@given(plan=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 400), st.booleans(), st.integers(0, 50)), max_size=25))
def test_batches_come_back_once_and_in_order(
    plan: list[tuple[int, int, bool, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("log") / "a.h5.partial"
    last, committed = [0, 0, 0], [0, 0, 0]
    with LogWriter.create(path, {}) as log:
        for rank, count, commit, again in plan:
            first = max(1, last[rank] + 1 - again)  # a batch that is partly, or wholly, sent a second time
            last[rank] += count
            log.append(Source(1, rank, 0), frames(first, last[rank]), first, last[rank])
            if commit:
                log.commit(1, durable=False)
                committed = list(last)
    with LogReader(path) as back:
        for rank in range(3):
            assert content(back, Source(1, rank, 0)) == frames(1, committed[rank])
        assert not back.damage


def test_a_reader_in_the_same_process_follows(path: Path) -> None:
    with LogWriter.create(path, {}) as log, LogReader(path) as back:
        for number in range(1, 4):
            log.append(ONE, frames(number, number), number, number)
            log.commit(number)
            assert back.committed(ONE) == number - 1
            assert back.refresh() == number
            assert content(back, ONE) == frames(1, number)


def test_a_reader_in_another_process_never_sees_a_wrong_row(path: Path) -> None:
    from tests.unit.storage.kill_log import SOURCES
    from tests.unit.storage.kill_log import frames as expected

    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, str(Path(__file__).with_name("write_slowly.py")), str(path), "150"]
    writer = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(root)})
    try:
        deadline = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        seen: set[int] = set()
        whole = {source: expected(source, 1, 15_000) for source in SOURCES}
        with LogReader(path) as back:
            while len(back.commits) < 150:
                assert time.monotonic() < deadline
                seen.add(back.refresh())
                assert not back.damage
                for source in SOURCES:
                    have = content(back, source)
                    assert back.committed(source) == 100 * len(back.commits)
                    assert whole[source].startswith(have)
                    assert len(have) == len(expected(source, 1, back.committed(source)))
        assert writer.wait(30) == 0
        assert len(seen) > 3
    finally:
        writer.kill()
        writer.wait()


def test_killed_writers_lose_nothing_that_was_committed(tmp_path: Path) -> None:
    done = run("kill_log.py", str(tmp_path), "20")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split("\n")) > 10, "half of them had begun"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk needs the right to mount one")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def check_full(path: Path, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert told["refused"]
    assert told["commits"] > 10
    assert told["broken"] in told["said"]
    with LogReader(path) as back:
        assert len(back.commits) == told["commits"]
        assert [view.nbytes for view in back.blocks(ONE)] == [20_000] * told["commits"]
        assert not back.damage


def test_a_full_disk_breaks_the_writer_and_nothing_else(small_disk: Path) -> None:
    path = small_disk / "a.h5.partial"
    check_full(path, run("fill_disk.py", str(path), "0"))


def test_a_limit_on_the_file_breaks_the_writer_and_nothing_else(path: Path) -> None:
    check_full(path, run("fill_disk.py", str(path), "5000000"))  # room for the first chunk of frames


def test_a_log_is_never_created_over_another(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="exists already"):
        LogWriter.create(path, {})
    assert path.read_text() == "mine"
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


def test_nothing_is_left_where_a_log_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="permissions"):
        LogWriter.create(tmp_path / "missing" / "a.h5.partial", {})


def test_a_closed_writer_says_so(path: Path) -> None:
    log = LogWriter.create(path, {})
    log.close()
    log.close()
    with pytest.raises(StateError, match="reopen"):
        log.append(ONE, frames(1, 1), 1, 1)


def test_a_reopened_log_goes_on_and_its_readers_too(path: Path) -> None:
    with LogWriter.create(path, {"uuid": "u"}) as log:
        log.append(ONE, frames(1, 5), 1, 5)
        log.commit(1)
        log.append(ONE, frames(6, 7), 6, 7)
    with LogReader(path) as back:
        with LogWriter.reopen(path) as log:
            assert log.commits == 1
            log.append(ONE, frames(6, 6), 6, 6)
            assert log.commit(2) == 2
        assert back.replaced
        assert back.refresh() == 2
        assert content(back, ONE) == frames(1, 6)
        assert back.meta["uuid"] == "u"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def spoil(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


def test_a_spoiled_batch_is_left_out_and_told_of(path: Path) -> None:
    with LogWriter.create(path, {}) as log:
        for number, fill in enumerate((b"first!!!", b"second!!", b"third!!!"), 1):
            log.append(ONE, frames(number, number, fill), number, number)
            log.commit(number)
    spoil(path, b"second!!" * 3, b"sec0nd!!" * 3)
    with LogReader(path) as back:
        assert content(back, ONE) == frames(1, 1, b"first!!!") + frames(3, 3, b"third!!!")
        assert back.damage == [
            "records 2 to 2 of attempt 1, rank 0, lane 0 are not as they were written: its checksum does not hold"
        ]
        list(back.blocks(ONE))
        assert len(back.damage) == 1
    # What was lost may still be in a journal, and is then appended once more.
    with LogWriter.reopen(path) as log:
        log.append(ONE, frames(2, 3, b"SECOND!!"), 2, 3)
        log.commit(4)
    with LogReader(path) as back:
        assert content(back, ONE) == frames(1, 1, b"first!!!") + frames(2, 3, b"SECOND!!")


@pytest.mark.parametrize("field", ["number", "time_ns", "frames_end", "extents_end", "flags", "crc32"])
def test_a_spoiled_commit_ends_what_counts(path: Path, field: str) -> None:
    with LogWriter.create(path, {}) as log:
        for number in range(1, 4):
            log.append(ONE, frames(number, number), number, number)
            log.commit(number)
    with h5py.File(path, "r+") as file:
        rows = file["commits"][:]
        rows[field][1] += 1
        file["commits"][:] = rows
    with LogReader(path) as back:
        assert len(back.commits) == 1
        assert content(back, ONE) == frames(1, 1)
        assert "commit 2" in back.damage[0]
        assert "2 in all" in back.damage[0]
    LogWriter.reopen(path).close()
    assert path.with_name(path.name + ".damaged-1").exists()
    with LogReader(path) as back:
        assert (len(back.commits), back.damage) == (1, [])


@pytest.mark.parametrize("field", ["commit", "rank", "offset", "size", "crc32"])
def test_a_spoiled_extent_ends_what_counts(path: Path, field: str) -> None:
    with LogWriter.create(path, {}) as log:
        log.append(ONE, frames(1, 1), 1, 1)
        log.commit(1)
    with h5py.File(path, "r+") as file:
        rows = file["extents"][:]
        rows[field] = np.iinfo(rows[field].dtype).max
        file["extents"][:] = rows
    with LogReader(path) as back:
        assert len(back.commits) == 0
        assert back.damage


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="check the name"):
        LogReader(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(FormatError, match="not HDF5"):
        LogReader(tmp_path / "text")
    with h5py.File(tmp_path / "foreign.h5", "w", libver="latest") as file:
        file["x"] = 1
    with pytest.raises(FormatError, match="not a log"):
        LogReader(tmp_path / "foreign.h5")
    LogWriter.create(tmp_path / "b.partial", {}).close()
    with h5py.File(tmp_path / "b.partial", "r+") as file:
        del file["extents"]
    with pytest.raises(FormatError, match="extents"):
        LogReader(tmp_path / "b.partial")


def test_a_newer_major_version_is_refused_and_a_newer_minor_one_is_not(path: Path) -> None:
    LogWriter.create(path, {}).close()
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = "1.9"
    LogReader(path).close()
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = "2.0"
    with pytest.raises(FormatError, match="newer release"):
        LogReader(path)


def test_a_cut_off_log_never_gives_wrong_data(path: Path) -> None:
    with LogWriter.create(path, {}) as log:
        for number in range(1, 40):
            log.append(ONE, frames(number, number) * 1, number, number)
            log.commit(number, durable=False)
    data, whole = path.read_bytes(), frames(1, 39)
    for cut in range(100, len(data), len(data) // 40):
        path.write_bytes(data[:cut])
        try:
            with LogReader(path) as back:
                assert whole.startswith(content(back, ONE))
        except FormatError:
            pass
