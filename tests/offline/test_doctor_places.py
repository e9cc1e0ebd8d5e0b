"""`provml doctor` on places: dead, full, read-only and limited ones, HDF5 on them, and what is left there: nothing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provml_hpc.environment.facts import Fact
from provml_tools.doctor import BROKEN, MISSING, NOTE, OK, Finding, places, trial
from provml_tools.doctor.children import Answer
from tests.offline.test_doctor import LONG, hide

MEMORY = places.Memory([])


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose modules children find before all others."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")])))
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Return a folder that is empty, also afterwards."""
    folder = tmp_path / "place"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []


@contextlib.contextmanager
def small_disk(path: Path, options: str) -> Iterator[Path]:
    """Mount a file system in memory."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"{options},mode=0777", "none", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root: sudo make test-unit")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def refuse(number: int) -> Any:
    def function(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return function


def tried(place: Path, *, hdf5: bool = False) -> Answer:
    """Return what a trial in this process says, where functions can be replaced."""
    steps: dict[str, dict[str, Any]] = {}
    trial.main(lambda step, **facts: steps.update({step: facts}), str(place), hdf5=hdf5)
    return Answer(steps)


class TestOutput:
    def test_a_good_one(self, place: Path) -> None:
        answer = places.attempt(place, LONG, hdf5=True)
        assert answer.trouble == ""
        found = places.output(place, answer, 1, MEMORY)
        assert found.state in (OK, NOTE), "a note where the temporary folder lies in memory"
        assert found.details["works"] == dict.fromkeys(["write", "reserve", "map", "sync", "lock", "link"], True)
        assert found.details["free_bytes"] > 0
        assert [one.state for one in places.hdf5(answer)][:2] == [OK, OK]

    def test_the_folder_of_an_output_to_be(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert places.folder_of(place / "facies.h5") == places.folder_of(place) == place
        monkeypatch.chdir(place)
        assert places.folder_of(".") == places.folder_of("facies.h5") == place

    def test_a_folder_that_is_not_there(self, place: Path) -> None:
        folder = place / "none"
        found = places.output(folder, places.attempt(folder, LONG, hdf5=True), 1, MEMORY)
        assert found.state == BROKEN
        assert os.strerror(errno.ENOENT) in found.found
        assert "--output" in found.remedy

    def test_a_folder_that_cannot_be_written(self) -> None:
        # Nobody makes a file in /proc, not even root.
        answer = places.attempt(Path("/proc"), LONG, hdf5=True)
        assert places.output(Path("/proc"), answer, 1, MEMORY).state == BROKEN
        assert list(places.hdf5(answer)) == [], "HDF5 is not blamed for it"

    def test_a_read_only_and_a_full_one(self, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", "size=2m") as disk:
            found = places.output(disk, places.attempt(disk, LONG), 4, MEMORY)
            assert found.state == NOTE
            assert "the journals of 4 ranks take 256 MiB" in found.meaning
            (disk / "large").write_bytes(bytes(2_000_000))
            found = places.output(disk, places.attempt(disk, LONG), 1, MEMORY)
            assert found.state == BROKEN
            assert "files cannot be mapped" in found.meaning
            assert os.strerror(errno.ENOSPC) in found.meaning
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            found = places.output(disk, places.attempt(disk, LONG), 1, MEMORY)
            assert found.state == BROKEN
            assert os.strerror(errno.EROFS) in found.found
            assert [path.name for path in disk.iterdir()] == ["large"]

    def test_one_in_memory(self, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", "size=1g") as disk:
            found = places.output(disk, places.attempt(disk, LONG), 2, MEMORY)
            assert found.state == NOTE
            assert "gone when the node goes down" in found.meaning
            assert "2 ranks at 64 MiB" in found.meaning
            told = places.node([("TMPDIR", disk)], [places.attempt(disk, LONG)], 2, MEMORY)[0]
            assert (told.name, told.state) == ("TMPDIR", OK)
            assert told.meaning.startswith("counts as memory of the job")

    @pytest.mark.parametrize(
        ("owner", "function", "number", "said", "state"),
        [
            (os, "posix_fallocate", errno.EOPNOTSUPP, "space cannot be reserved", NOTE),
            (os, "link", errno.EPERM, "there are no hard links", NOTE),
            (os, "fsync", errno.EIO, "files cannot be synced", NOTE),
            (fcntl, "lockf", errno.ENOLCK, "whether a job lives is told from its heartbeat only", NOTE),
            (trial, "_map", errno.ENODEV, "files cannot be mapped", BROKEN),
        ],
    )
    def test_what_a_file_system_lacks(
        self,
        place: Path,
        monkeypatch: pytest.MonkeyPatch,
        owner: Any,
        function: str,
        number: int,
        said: str,
        state: str,
    ) -> None:
        monkeypatch.setattr(owner, function, refuse(number))
        found = places.output(place, tried(place), 1, MEMORY)
        assert found.state == state
        assert said in found.meaning
        assert errno.errorcode[number] in found.meaning
        assert found.remedy

    def test_locks_that_do_not_exclude(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fcntl, "lockf", lambda *_: None)
        found = places.output(place, tried(place), 1, MEMORY)
        assert "two processes got the same lock" in found.meaning

    def test_one_that_hangs_leaves_nothing(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = (
            "import tempfile, time\n"
            "tell('room', free=1 << 40, total=1 << 40)\n"
            "tell('system', kind='nfs4', options='', mount='/')\n"
            f"tell('made', path=tempfile.mkdtemp(prefix={trial.TRIAL!r}, dir={{place!r}}))\n"
            "tell('write', works=True, error='')\n"
            "time.sleep(1000)  # {hdf5}"
        )
        monkeypatch.setattr(places, "_CHILD", source)
        found = places.output(place, places.attempt(place, 5), 1, MEMORY)
        assert found.state == BROKEN
        assert "space cannot be reserved (no answer in 5 s)" in found.meaning

    def test_only_the_folder_of_the_trial_is_removed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        kept = tmp_path / "elsewhere" / f"{trial.TRIAL}x"
        kept.mkdir(parents=True)
        place = tmp_path / "place"
        place.mkdir()
        for path in (kept, place, tmp_path):
            monkeypatch.setattr(places, "_CHILD", f"tell('made', path={str(path)!r}) # {{place}} {{hdf5}}")
            places.attempt(place, LONG)
        assert kept.is_dir()
        assert place.is_dir()


class TestHDF5:
    def found(self, answer: Answer) -> dict[str, Finding]:
        return {one.name: one for one in places.hdf5(answer)}

    def test_no_h5py(self, place: Path, modules: Path) -> None:
        hide(modules, "h5py")
        found = self.found(places.attempt(place, LONG, hdf5=True))
        assert {name: one.state for name, one in found.items()} == {"h5py": MISSING}
        assert found["h5py"].remedy == "pip install h5py"

    def test_an_h5py_that_is_broken(self, place: Path, modules: Path) -> None:
        (modules / "h5py.py").write_text("raise ImportError('libhdf5.so.310: cannot open shared object file')")
        found = self.found(places.attempt(place, LONG, hdf5=True))
        assert found["h5py"].state == BROKEN
        assert "libhdf5.so.310" in found["h5py"].found

    def test_locking_that_is_switched_off(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "FALSE")
        found = self.found(places.attempt(place, LONG, hdf5=True))
        assert (found["file locking"].state, found["live reading"].state) == (NOTE, OK)
        assert found["file locking"].found == "HDF5_USE_FILE_LOCKING=FALSE"

    def test_a_file_system_without_what_hdf5_needs(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(trial, "_swmr", refuse(errno.EIO))
        found = self.found(tried(place, hdf5=True))
        assert found["live reading"].state == BROKEN
        assert os.strerror(errno.EIO) in found["live reading"].found

    def test_a_reader_that_sees_other_rows(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import numpy as np

        monkeypatch.setattr(np, "array_equal", lambda *_: False)
        found = self.found(tried(place, hdf5=True))
        assert "a reader sees other rows than were written" in found["live reading"].found


class TestNode:
    def test_the_places_in_their_order(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SLURM_TMPDIR", str(tmp_path / "job"))
        monkeypatch.setenv("TMPDIR", f"{tmp_path / 'user'}/")
        found = places.node_places()
        assert found[:3] == [
            *(("SLURM_TMPDIR", tmp_path / "job"), ("TMPDIR", tmp_path / "user"), ("", Path("/dev/shm"))),
        ]

    def test_which_one_is_taken(self, tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SLURM_TMPDIR", str(tmp_path / "none"))
        monkeypatch.setenv("TMPDIR", str(place))
        known = [("SLURM_TMPDIR", tmp_path / "none"), ("TMPDIR", place)]
        answers = [places.attempt(folder, LONG) for _, folder in known]
        job, user, taken = places.node(known, answers, 1, MEMORY)
        assert (job.state, job.meaning) == (NOTE, "is passed over")
        assert user.state == OK
        assert taken.details == {"place": str(place), "unset": []}
        monkeypatch.delenv("TMPDIR")
        none = places.node(known[:1], answers[:1], 1, MEMORY)[-1]
        assert (none.state, none.details) == (MISSING, {"place": None, "unset": ["TMPDIR"]})

    def test_too_little_room(self, place: Path) -> None:
        answer = places.attempt(place, LONG)
        answer.steps["room"]["free"] = 100 << 20
        found = places.node([("TMPDIR", place)], [answer], 2, MEMORY)
        assert found[0].state == NOTE
        assert found[0].meaning == "too little for 2 ranks at 64 MiB"

    def test_the_share_of_memory(self) -> None:
        told = places.Memory([Fact("scheduler.memory_per_node", 640 << 20)])
        assert told.share(2) == ", 20 % of 640 MiB (the scheduler) with 2 ranks at 64 MiB"
        assert "less than 1 %" in _Large().share(1)


class _Large(places.Memory):
    def __init__(self) -> None:
        super().__init__([])
        self.bytes = 1 << 40


def test_the_file_system_of_a_place(tmp_path: Path) -> None:
    assert trial.mounted("/proc")["kind"] == "proc"
    with small_disk(tmp_path / "a disk", "size=1m") as disk:
        assert trial.mounted(str(disk))["mount"] == str(disk)
        (tmp_path / "link").symlink_to(disk)
        assert trial.mounted(str(tmp_path / "link"))["kind"] == "tmpfs"
    assert trial.mounted(str(tmp_path))["mount"] != str(tmp_path / "a disk")
