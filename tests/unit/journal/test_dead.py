"""What is read of a journal whose process or disk failed it."""

from __future__ import annotations

import errno
import json
import mmap
import os
import random
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provml_hpc import wire
from provml_hpc.assembly.frames import split
from provml_hpc.errors import FormatError, ProvMLError, StorageError
from provml_hpc.journal import (
    FIRST,
    DeadSegment,
    reserve,
    safe_folder,
)
from provml_hpc.records import Dropped, Fact
from tests.unit.journal.making import RUN, SMALL, SOURCE, dead, make, sequences


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
