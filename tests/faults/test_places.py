"""Places that are against us: a quota, a disk that cannot be mapped or knows no locks, no place for a journal."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import provml_hpc as provml
from provml_hpc.storage.owner import HEARTBEAT, liveness
from provml_hpc.storage.place import hidden_of, partial_of
from provml_hpc.storage.recover import recover
from tests.faults import guarantee
from tests.faults.test_bounds import Job, _rows, job
from tests.mpi import launch

__all__ = ["job"]


@contextlib.contextmanager
def _quota(path: Path, limit: str) -> Iterator[Path]:
    """Make a btrfs in a file, and yield a folder of it with a quota: over it, the kernel says EDQUOT."""
    if os.geteuid() or shutil.which("mkfs.btrfs") is None:
        pytest.skip("a quota needs root and btrfs: apt-get install btrfs-progs, and run as root")
    path.mkdir()
    image = path.with_suffix(".image")
    with image.open("wb") as file:
        file.truncate(120 << 20)

    def run(*command: str | Path) -> None:
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)
        if done.returncode:
            pytest.skip(f"this kernel has no btrfs with quotas ({done.stderr.strip()[:80]}); try another")

    run("mkfs.btrfs", "-q", image)
    run("mount", "-o", "loop", image, path)
    try:
        run("btrfs", "quota", "enable", path)
        run("btrfs", "subvolume", "create", path / "home")
        (path / "home").chmod(0o777)
        run("btrfs", "qgroup", "limit", limit, path / "home")
        yield path / "home"
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@contextlib.contextmanager
def _odd(path: Path, *options: str) -> Iterator[Path]:
    """Mount a folder by FUSE such that its files cannot be mapped; with ``no-locks`` it knows no POSIX locks."""
    if os.geteuid() or not Path("/dev/fuse").exists() or importlib.util.find_spec("mfusepy") is None:
        pytest.skip("FUSE needs root, /dev/fuse and mfusepy: pip install mfusepy, apt-get install fuse3, run as root")
    path.mkdir()
    backing = path.with_suffix(".backing")
    backing.mkdir()
    command = [sys.executable, str(Path(__file__).with_name("odd_disk.py")), str(backing), str(path), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        try:
            for _ in range(200):
                if path.is_mount() or server.poll() is not None:
                    break
                time.sleep(0.05)
            if not path.is_mount():
                server.kill()
                pytest.skip(f"FUSE could not mount ({server.communicate()[1][-100:]}): modprobe fuse")
            yield path
        finally:
            subprocess.run(["umount", "-l", str(path)])
            server.terminate()
            server.communicate()


@pytest.mark.parametrize("journals", ["elsewhere", "beside the output"])
def test_a_quota(journals: str, job: Job, tmp_path: Path) -> None:
    elsewhere = tmp_path / "journals"
    elsewhere.mkdir()
    with _quota(tmp_path / "disk", "700K") as home:
        arguments = [elsewhere] if journals == "elsewhere" else []
        seen = job("place", home / "job.h5", *arguments)
        assert len(seen["warnings"]) == 1
        assert "could not be written" in seen["warnings"][0]
        assert "error" not in seen
        # On btrfs a store into a mapped file can fail, which would kill the training: journals go to the next place.
        assert seen["journal"].startswith(str(elsewhere)) if arguments else not seen["journal"].startswith(str(home))
        roomy = tmp_path / "roomy"
        shutil.copytree(home, roomy)
    assert recover(roomy / "job.h5", force=True, journals=list(elsewhere.iterdir())).status == "finished"
    steps, names = guarantee.in_closed(roomy / "job.h5")
    assert {len(found) for found in steps.values()} == {15_000}
    assert len(names[1, 0]) == 20


def test_a_quota_under_a_strict_run(job: Job, tmp_path: Path) -> None:
    with _quota(tmp_path / "disk", "700K") as home:
        assert "could not be written" in job("strict", home / "job.h5")["error"]


@pytest.mark.parametrize(("options", "ranks"), [([], None), (["no-locks"], 2)])
def test_a_disk_that_cannot_be_mapped(options: list[str], ranks: int | None, job: Job, tmp_path: Path) -> None:
    """The journal takes the next place; the file lies where it should all the same."""
    with _odd(tmp_path / "odd", *options) as disk:
        seen = job("place", disk / "job.h5", ranks=ranks)
        assert seen["warnings"] == []
        assert not seen["journal"].startswith(str(disk))
        assert len(_rows(disk / "job.h5", "loss")) == 15_000 * (ranks or 1)
        # FUSE keeps what is removed while it is open, under such names.
        assert [path.name for path in disk.iterdir() if not path.name.startswith(".fuse_hidden")] == ["job.h5"]


_VICTIM = """
import sys, time
import provml_hpc as provml
run = provml.init("victim", phase="learning", output=sys.argv[1])
training = run.training()
training.log(0, loss=1.0)
run.flush()
training.log(1, loss=2.0)
print("ready", flush=True)
time.sleep(600)
"""


def test_without_locks_the_heartbeat_tells_who_lives(tmp_path: Path) -> None:
    with _odd(tmp_path / "odd", "no-locks") as disk:
        output = disk / "job.h5"
        victim = subprocess.Popen(
            [sys.executable, "-c", _VICTIM, str(output)], env=launch.environment(), stdout=subprocess.PIPE, text=True
        )
        with victim:
            assert victim.stdout is not None
            assert victim.stdout.readline() == "ready\n"
            assert liveness(output).state == "alive"
            for force in (False, True):
                with pytest.raises(provml.FileBusyError, match="lives"):
                    recover(output, force=force)
            victim.send_signal(signal.SIGKILL)
        beat = hidden_of(output) / HEARTBEAT
        told = beat.read_text()
        # As a node of the same cluster sees it: neither the process nor a lock can be looked at from there.
        beat.write_text(
            json.dumps({**json.loads(told), "host": "elsewhere", "boot": "another", "namespace": "another"})
        )
        assert liveness(output).state == "unknown"
        with pytest.raises(provml.FileBusyError, match="--force"):
            recover(output)
        assert partial_of(output).exists()
        beat.write_text(told)
        assert liveness(output).state == "dead"
        assert recover(output).taken > 0
        assert _rows(output, "loss").tolist() == [0, 1]


def test_a_full_dev_shm(tmp_path: Path) -> None:
    """A journal that was to lie in the memory of the node goes to the next place, in a mount namespace of its own."""
    if os.geteuid() or shutil.which("unshare") is None:
        pytest.skip("mounting over /dev/shm needs root and unshare: run as root")
    code = """
import sys
import provml_hpc as provml
with provml.init("shm", phase="learning", output="job.h5", journal="node") as run:
    with run.training() as training:
        for step in range(100):
            training.log(step, loss=1.0)
        run.flush()
    print(run._session.folder)
"""
    program = f"mount -t tmpfs -o size=64k none /dev/shm && exec {sys.executable} -W error -c '{code}'"
    node = tmp_path / "node"
    node.mkdir()
    environment = {**launch.environment(), "TMPDIR": "", "SLURM_TMPDIR": ""}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout.startswith("/dev/shm")
    assert len(_rows(tmp_path / "job.h5", "loss")) == 100


def test_no_place_for_a_journal_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is logged is kept in memory until the next flush, which is said; a strict run refuses to begin so."""
    from provml_hpc.journal import segment

    def refuse(descriptor: int, size: int) -> None:
        raise OSError(19, os.strerror(19))

    monkeypatch.setattr(segment, "reserve", refuse)
    with pytest.raises(provml.StorageError, match="no place took the journal"):
        provml.init("memory", phase="learning", output=tmp_path / "strict.h5", strict=True)
    output = tmp_path / "job.h5"
    with pytest.warns(provml.CaptureWarning, match="only in memory") as caught:
        run = provml.init("memory", phase="learning", output=output, buffer="64 KiB")
    with run, run.training() as training:
        for step in range(100):
            training.log(step, loss=1.0)
        run.flush()
        with provml.open(output) as file:
            assert len(file.samples("loss")) == 100
        training.log_values({f"v{n}": "x" * 1000 for n in range(200)})  # more than the buffer, so in a further segment
        training.log(100, loss=1.0)
    assert len(caught) == 1
    with provml.open(output) as file:
        assert len(file.samples("loss")) + sum(one["count"] for one in file.run.details["dropped"]) == 101
        assert file.status == "finished"
        assert sum(row.name.startswith("v") for row in file.attributes) == 200
