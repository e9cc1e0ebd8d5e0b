"""The thread that finds what a job's files are."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from provml_hpc.content import (
    Digest,
    DigestCancelledError,
    Hasher,
    StatKey,
    TreeDigest,
    digest_directory,
    stat_key,
)
from provml_hpc.content import worker as worker_module
from tests.unit.content.made import sha256


class Collector:
    """Takes what a hasher delivers."""

    def __init__(self) -> None:
        self.results: list[tuple[StatKey, object]] = []
        self.threads: set[str] = set()

    def __call__(self, key: StatKey, result: object) -> None:
        self.threads.add(threading.current_thread().name)
        self.results.append((key, result))


class TestHasher:
    @pytest.fixture
    def reads(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """List the files that are really read."""
        names: list[str] = []
        real = os.open

        def note(path: str, flags: int) -> int:
            names.append(path)
            return real(path, flags)

        monkeypatch.setattr(os, "open", note)
        return names

    def test_delivers_in_its_own_thread(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"1")
        taken = Collector()
        before = set(threading.enumerate())
        hasher = Hasher(taken)
        assert not set(threading.enumerate()) - before
        key = stat_key(tmp_path / "x")
        assert hasher.submit(key)
        assert hasher.wait(60)
        assert taken.results == [(key, Digest("sha256", sha256(b"1"), 1))]
        assert taken.threads == {"provml-hasher"}
        assert hasher.close(60) == []
        assert not hasher.submit(key)
        assert len(taken.results) == 1

    def test_each_state_is_read_once_and_each_job_delivered(self, tmp_path: Path, reads: list[str]) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"1")
        taken = Collector()
        hasher = Hasher(taken)
        for _ in range(3):
            hasher.submit(stat_key(path))
        assert hasher.wait(60)
        path.write_bytes(b"22")
        hasher.submit(stat_key(path))
        assert hasher.close(60) == []
        assert [result.hexdigest for _, result in taken.results] == [sha256(b"1")] * 3 + [sha256(b"22")]  # type: ignore[attr-defined]
        assert reads == [str(path)] * 2

    def test_whole_on_request(self, large: Path, reads: list[str]) -> None:
        taken = Collector()
        hasher = Hasher(taken, full_limit=0)
        key = stat_key(large)
        for whole in (False, True, True, False):
            hasher.submit(key, whole=whole)
        assert hasher.close(60) == []
        names = [result.algorithm for _, result in taken.results]  # type: ignore[attr-defined]
        assert names == ["provml-sample-1", "sha256", "sha256", "provml-sample-1"]
        assert len(reads) == 2

    def test_directories_share_what_is_known_of_their_files(self, tmp_path: Path, reads: list[str]) -> None:
        (tmp_path / "d").mkdir()
        for name in "abc":
            (tmp_path / "d" / name).write_text(name)
        taken = Collector()
        hasher = Hasher(taken)
        hasher.submit(stat_key(tmp_path / "d" / "a"))
        hasher.submit(stat_key(tmp_path / "d"))
        assert hasher.wait(60)
        (tmp_path / "d" / "b").write_text("changed")
        hasher.submit(stat_key(tmp_path / "d"))
        assert hasher.close(60) == []
        first, second = taken.results[1][1], taken.results[2][1]
        assert isinstance(first, TreeDigest)
        assert isinstance(second, TreeDigest)
        assert first.digest != second.digest == digest_directory(tmp_path / "d").digest
        assert [Path(name).name for name in reads[:4]] == ["a", "b", "c", "b"]

    def test_errors_are_delivered(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"1")
        key = stat_key(tmp_path / "x")
        (tmp_path / "x").unlink()
        taken = Collector()
        hasher = Hasher(taken)
        hasher.submit(key)
        assert hasher.close(60) == []
        assert isinstance(taken.results[0][1], FileNotFoundError)

    def test_a_file_that_changed_since_is_told_and_not_kept(self, tmp_path: Path, reads: list[str]) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"1")
        key = stat_key(path)
        path.write_bytes(b"22")
        taken = Collector()
        hasher = Hasher(taken)
        hasher.submit(key)
        hasher.submit(key)
        assert hasher.close(60) == []
        assert all(result.changed for _, result in taken.results)  # type: ignore[attr-defined]
        assert len(reads) == 2

    def test_a_failing_receiver_does_not_end_it(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"1")
        calls: list[StatKey] = []

        def fail(key: StatKey, result: object) -> None:
            calls.append(key)
            raise KeyError("mine")

        hasher = Hasher(fail)
        hasher.submit(stat_key(tmp_path / "x"))
        hasher.submit(stat_key(tmp_path / "x"))
        assert hasher.close(60) == []
        assert len(calls) == 2
        assert isinstance(hasher.error, KeyError)

    def test_the_receiver_may_submit(self, tmp_path: Path) -> None:
        for name in "ab":
            (tmp_path / name).write_text(name)
        names: list[str] = []

        def go_on(key: StatKey, result: object) -> None:
            names.append(Path(key.path).name)
            if key.path.endswith("a"):
                hasher.submit(stat_key(tmp_path / "b"))

        hasher = Hasher(go_on)
        hasher.submit(stat_key(tmp_path / "a"))
        assert hasher.wait(60)
        assert names == ["a", "b"]
        hasher.close(60)

    def test_ends_when_idle_and_starts_again(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"1")
        taken = Collector()
        hasher = Hasher(taken, idle=0.0)
        for number in (1, 2):
            hasher.submit(stat_key(tmp_path / "x"))
            assert hasher.wait(60)
            thread = next((t for t in threading.enumerate() if t.name == "provml-hasher"), None)
            if thread is not None:
                thread.join(60)
                assert not thread.is_alive()
            assert len(taken.results) == number
        hasher.close(60)

    def test_close_gives_up_what_is_not_ready(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in "ab":
            (tmp_path / name).write_text(name)
        reading = threading.Event()

        def stuck(path: str, *, stop: threading.Event, **_: object) -> Digest:
            reading.set()
            assert stop.wait(60)
            raise DigestCancelledError("given up")

        monkeypatch.setattr(worker_module, "digest_file", stuck)
        taken = Collector()
        hasher = Hasher(taken)
        keys = [stat_key(tmp_path / name) for name in "ab"]
        for key in keys:
            hasher.submit(key)
        assert reading.wait(60)
        assert not hasher.wait(0.0)
        assert hasher.close(0.0) == keys
        assert hasher.close(0.0) == []
        assert taken.results == []

    def test_a_forked_child_does_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"1")
        key = stat_key(tmp_path / "x")
        taken = Collector()
        hasher = Hasher(taken)
        # The state in which a fork is worst: another thread holds the lock, which in the child nobody will ever open.
        with hasher._changed:
            child = os.fork()
            if child == 0:
                inert = not hasher.submit(key) and hasher.wait(None) and hasher.close(None) == []
                os._exit(0 if inert and not taken.results else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert hasher.submit(key)
        assert hasher.close(60) == []
        assert len(taken.results) == 1
