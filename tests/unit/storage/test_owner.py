"""Who owns an output: one writer, one recovery, and a true word on whether the job lives."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provml_hpc.errors import FileBusyError, StorageError
from provml_hpc.storage import owner
from provml_hpc.storage.owner import Ownership, heartbeat, liveness, recovering
from provml_hpc.storage.place import hidden_of, partial_of


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "a.h5"
    partial_of(path).touch()
    return path


@contextlib.contextmanager
def other(output: Path, what: str = "run") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the output."""
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("hold_lock.py")), str(output), what],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    try:
        assert process.stdout.readline() == "held\n"
        yield process
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write("\n")
            process.stdin.close()
        process.wait(30)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def pretend(output: Path, **changes: Any) -> None:
    """Change what the heartbeat says."""
    beat = heartbeat(output)
    assert beat is not None
    (hidden_of(output) / "heartbeat").write_text(json.dumps({**beat, **changes}))


def leave(output: Path, **changes: Any) -> None:
    """Leave what a dead job leaves behind: a free lock and a heartbeat."""
    Ownership.take(output, "r").release()
    pretend(output, **changes)


def test_an_owner_is_alone_in_its_process_and_seen_as_alive(output: Path) -> None:
    with Ownership.take(output, "r"):
        assert liveness(output).state == "alive"
        with pytest.raises(FileBusyError, match="in this process"):
            Ownership.take(output, "r")
        # Looking at it must not have dropped the lock, which POSIX locks do when any descriptor is closed.
        assert liveness(output).state == "alive"
        with other_view(output) as state:
            assert state == "alive"
    assert liveness(output).state == "dead"


@contextlib.contextmanager
def other_view(output: Path) -> Iterator[str]:
    code = "import sys; from provml_hpc.storage.owner import liveness; print(liveness(sys.argv[1]).state)"
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", code, str(output)]
    told = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(root)}
    )
    yield told.stdout.strip()


def test_an_owner_in_another_process_is_respected_until_it_is_killed(output: Path) -> None:
    with other(output) as process:
        assert liveness(output).state == "alive"
        with pytest.raises(FileBusyError, match="another job"):
            Ownership.take(output, "r")
        with pytest.raises(FileBusyError, match="lives"), recovering(output, force=True):
            pass
        process.kill()
        process.wait()
        life = liveness(output)
        assert life.state == "dead"
        assert f"process {process.pid}" in life.reason
        with recovering(output):
            pass
        Ownership.take(output, "r").release()


def test_a_forked_child_neither_keeps_nor_drops_the_lock(output: Path) -> None:
    with other(output, "fork"):
        assert liveness(output).state == "alive"
        told = heartbeat(output)
        assert told
        assert told["run"] == "some-run"


def test_one_recovery_at_a_time_and_none_beside_a_resume(output: Path) -> None:
    with other(output, "recovery"):
        with pytest.raises(FileBusyError, match="being recovered already"), recovering(output, force=True):
            pass
        with pytest.raises(FileBusyError, match="being recovered"):
            Ownership.take(output, "r")
    with recovering(output, force=True), pytest.raises(FileBusyError), recovering(output, force=True):
        pass
    # The refusal gave its own lock back.
    Ownership.take(output, "r").release()


def test_the_hidden_folder_goes_when_the_log_is_gone(output: Path) -> None:
    with Ownership.take(output, "r"):
        assert hidden_of(output).stat().st_mode & 0o777 == 0o700
        (hidden_of(output) / f"{output.name}.0123456789ab").touch()  # a closed file that was never finished
        partial_of(output).unlink()
    assert not hidden_of(output).exists()
    partial_of(output).touch()
    leave(output)
    with recovering(output):
        partial_of(output).unlink()
    assert not hidden_of(output).exists()


def test_the_hidden_folder_stays_while_there_are_journals_or_a_log(output: Path) -> None:
    leave(output)
    assert hidden_of(output).exists()
    with Ownership.take(output, "r"):
        (hidden_of(output) / "x.journal").touch()
        partial_of(output).unlink()
    assert [p.name for p in hidden_of(output).iterdir()] == ["x.journal"]


def test_a_planted_link_is_refused(output: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    hidden_of(output).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        Ownership.take(output, "r")
    hidden_of(output).unlink()
    hidden_of(output).mkdir(mode=0o700)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (hidden_of(output) / "lock").symlink_to(victim)
    with pytest.raises(StorageError):
        Ownership.take(output, "r")
    (hidden_of(output) / "lock").unlink()
    (hidden_of(output) / "heartbeat").symlink_to(victim)
    with Ownership.take(output, "r"):
        assert heartbeat(output)
    assert victim.read_text() == "mine"


def test_without_a_sign_nothing_is_claimed(output: Path) -> None:
    assert liveness(output).state == "unknown"
    leave(output)
    for text in ("", "[]", "nonsense", '{"pid": "x"}', '{"pid": {}}', "[" * 60_000):
        (hidden_of(output) / "heartbeat").write_text(text)
        assert liveness(output).state == "unknown"
    with pytest.raises(FileBusyError, match="--force"), recovering(output):
        pass
    with recovering(output, force=True):
        pass


ELSEWHERE = {"host": "n017", "boot": "another", "namespace": "another"}


def test_another_machine_is_judged_by_its_lock_only_where_locks_reach(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(output, **ELSEWHERE)
    monkeypatch.setattr(owner, "_locks_reach", lambda _: False)
    assert liveness(output).state == "unknown"
    assert "n017" in liveness(output).reason
    monkeypatch.setattr(owner, "_locks_reach", lambda _: True)
    assert liveness(output).state == "dead"
    pretend(output, locked=False)
    assert liveness(output).state == "unknown"
    pretend(output, time_ns=time.time_ns() - 30 * 86400 * 10**9)
    assert liveness(output).state == "dead"


def test_a_machine_that_was_restarted_has_no_job_any_more(output: Path) -> None:
    leave(output, boot="before")
    assert liveness(output).state == "dead"
    assert "restarted" in liveness(output).reason


def test_without_locks_the_process_is_looked_for(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with other_process() as pid:
        with Ownership.take(output, "r"):
            assert heartbeat(output)["locked"] is False  # type: ignore[index]
        pretend(output, pid=pid, started=owner._started(pid))
        assert liveness(output).state == "alive"
        pretend(output, pid=pid, started=1)
        assert liveness(output).state == "dead"
        pretend(output, pid=pid, started=owner._started(pid))
    assert liveness(output).state == "dead"
    pretend(output, namespace="another")  # a container's numbers mean nothing outside it
    assert liveness(output).state == "unknown"


@contextlib.contextmanager
def other_process() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "60"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_a_full_disk_does_not_stop_the_heart_of_the_job(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Ownership.take(output, "r") as mine:
        before = heartbeat(output)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", refuse)
            assert not mine.beat()
        assert heartbeat(output) == before
        assert sorted(p.name for p in hidden_of(output).iterdir()) == ["heartbeat", "lock"]


@pytest.mark.parametrize(
    ("line", "reach"),
    [
        ("- nfs4 srv:/x rw,vers=4.2,local_lock=none", True),
        ("- nfs srv:/x rw,nolock", False),
        ("- lustre mds:/x rw,flock", True),
        ("- lustre mds:/x rw,localflock", False),
        ("- gpfs gpfs rw", True),
        ("- ext4 /dev/sda rw", False),
    ],
)
def test_which_file_systems_share_their_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, reach: bool
) -> None:
    device = tmp_path.stat().st_dev
    text = f"30 1 {os.major(device)}:{os.minor(device)} / /scratch rw,relatime shared:1 {line}\n"
    monkeypatch.setattr(Path, "read_text", lambda *_: text)
    assert owner._locks_reach(tmp_path) is reach
