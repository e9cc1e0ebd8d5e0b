"""Who owns an output, and whether its job still lives.

In the hidden folder beside the output lie a lock file, which the writer keeps locked while its run goes on (POSIX
record locks, ``fcntl.lockf``), and a heartbeat, rewritten at every flush point. The lock decides where it can be seen:
on the same machine, and on file systems whose locks reach all nodes. The heartbeat helps elsewhere. Where neither
decides, the answer is "unknown".

POSIX locks belong to the process: a forked child has none, and closing any descriptor of a file drops the locks that
the process has on it. So this module remembers what the process holds, and never opens such a file a second time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provml_hpc.errors import FileBusyError, StorageError
from provml_hpc.journal import pid_namespace, safe_folder
from provml_hpc.storage.place import hidden_of, output_of, partial_of

LOCK, RECOVERY, HEARTBEAT = "lock", "recovery.lock", "heartbeat"
STALE_S = 14 * 86400
"""The age in seconds at which a heartbeat that nothing else speaks for counts as that of a dead job."""

_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_HELD: dict[tuple[int, int], int] = {}
"""Device and inode of the lock files that this process holds, and the process that said so."""


@dataclass(frozen=True)
class Liveness:
    """Whether the job of an output lives."""

    state: str
    """``"alive"``, ``"dead"`` or ``"unknown"``."""
    reason: str
    """How one knows, for people."""


class _Lock:
    """One lock file, held by this process; `works` is False where the file system knows no locks."""

    def __init__(self, path: Path, busy: str) -> None:
        self.path = path
        self.works = True
        self._pid = os.getpid()
        self._descriptor, self._key = self._take(busy)

    def _take(self, busy: str) -> tuple[int, tuple[int, int]]:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        # A probe by somebody else holds the lock for an instant, so one refusal is not the last word.
        for attempt in range(10):
            if _held_here(self.path):
                raise FileBusyError(f"{busy}, in this process: end that first")
            try:
                descriptor = os.open(self.path, flags, 0o600)
            except OSError as error:
                raise StorageError(f"{self.path} could not be made ({error.strerror}): check the folder") from error
            status = os.fstat(descriptor)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _NO_LOCKS:
                    self.works = False
                elif error.errno in (errno.EACCES, errno.EAGAIN):
                    os.close(descriptor)
                    time.sleep(0.02 if attempt < 9 else 0)
                    continue
                else:
                    os.close(descriptor)
                    raise StorageError(
                        f"{self.path} could not be locked ({error.strerror}): check the folder"
                    ) from error
            if _identity(self.path) == (status.st_dev, status.st_ino):
                _HELD[status.st_dev, status.st_ino] = self._pid
                return descriptor, (status.st_dev, status.st_ino)
            os.close(descriptor)  # Its last owner removed it in between.
        raise FileBusyError(f"{busy}: wait until it ends, or choose another output")

    def release(self, *, remove: bool = False) -> None:
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        if self._pid == os.getpid():
            if remove:
                self.path.unlink(missing_ok=True)
            _HELD.pop(self._key, None)
        os.close(descriptor)


class Ownership:
    """The right to write an output; see :meth:`take`."""

    def __init__(self, output: Path, run: str, lock: _Lock) -> None:
        self.output = output
        self._run = run
        self._lock = lock
        self._pid = os.getpid()
        # Found once: reading it from /proc again cost more than half of a small flush point.
        self._who = _self()

    @classmethod
    def take(cls, output: str | os.PathLike[str], run: str, *, recovering: bool = False) -> Ownership:
        """Become the owner of an output, until :meth:`release` or the end of the process.

        Parameters
        ----------
        output
            The output, ``NAME.h5``.
        run
            The uuid of the run.
        recovering
            Whether it is this process that is recovering it.

        Raises
        ------
        FileBusyError
            Another job, or a recovery, has it.
        StorageError
            The hidden folder is not usable.
        """
        path = output_of(output)
        folder = safe_folder(hidden_of(path))
        lock = _Lock(folder / LOCK, f"{path} is being written by another job")
        try:
            # After our own lock is taken: a recovery looks at the two in the other order, so that one of us sees the
            # other.
            if not recovering and _probe(folder / RECOVERY) == "held":
                raise FileBusyError(f"{path} is being recovered: wait until that ends")
            owner = cls(path, run, lock)
            if not owner.beat():
                raise StorageError(f"{folder} cannot be written: make room there, or choose another output")
        except BaseException:
            lock.release()
            raise
        return owner

    def beat(self) -> bool:
        """Say that the job lives, and return whether that could be written; a forked child says nothing."""
        if self._pid != os.getpid():
            return False
        told = {**self._who, "run": self._run, "locked": self._lock.works, "time_ns": time.time_ns()}
        folder = hidden_of(self.output)
        temporary = folder / f"{HEARTBEAT}.{secrets.token_hex(6)}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                os.write(descriptor, json.dumps(told).encode())
            finally:
                os.close(descriptor)
            temporary.replace(folder / HEARTBEAT)
        except OSError:
            # An older heartbeat stays, which is no reason to stop a training.
            with contextlib.suppress(OSError):
                temporary.unlink()
            return False
        return True

    def release(self) -> None:
        """Give the output up. Where its log is gone, since the closed file is there, the hidden folder goes too."""
        if self._pid != os.getpid():
            return
        _tidy(self.output, self._lock)

    def __enter__(self) -> Ownership:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@contextlib.contextmanager
def recovering(output: str | os.PathLike[str], *, force: bool = False) -> Iterator[None]:
    """Keep others from recovering or resuming an output meanwhile.

    Parameters
    ----------
    output
        The output, ``NAME.h5``.
    force
        Go on where it is unknown whether the job lives. One that is known to live is never touched.

    Raises
    ------
    FileBusyError
        Its job lives, or may live, or another recovery is at work.
    """
    path = output_of(output)
    folder = safe_folder(hidden_of(path))
    lock = _Lock(folder / RECOVERY, f"{path} is being recovered already")
    try:
        life = liveness(path)
        if life.state == "alive":
            raise FileBusyError(f"{path} belongs to a job that lives ({life.reason}): wait until it ends")
        if life.state == "unknown" and not force:
            raise FileBusyError(
                f"{path} may belong to a job that lives ({life.reason}): make sure that it has ended, then use --force"
            )
        yield
    finally:
        if not os.path.lexists(partial_of(path)) and (folder / LOCK).exists():
            with contextlib.suppress(FileBusyError, StorageError):
                _tidy(path, _Lock(folder / LOCK, ""))
        _tidy(path, lock)


def _tidy(output: Path, lock: _Lock) -> None:
    """Give a lock up. Where the log is gone, since the closed file is there, the hidden folder goes too."""
    folder, over = hidden_of(output), not os.path.lexists(partial_of(output))
    if over and lock.path.name == LOCK:
        # The heartbeat, and what a kill left of files that were on their way to their names.
        for path in (folder / HEARTBEAT, *folder.glob(f"{glob.escape(output.name)}.*")):
            with contextlib.suppress(OSError):
                path.unlink()
        if os.path.lexists(folder / RECOVERY):  # of a recovery, or a resume, that was killed; unless one is at work
            with contextlib.suppress(FileBusyError, StorageError):
                _Lock(folder / RECOVERY, "").release(remove=True)
    # Nobody asks whether a recovery was there; who waits for its lock looks whether the file is still the same.
    lock.release(remove=over or lock.path.name == RECOVERY)
    if over:
        with contextlib.suppress(OSError):
            folder.rmdir()  # Unless there are journals in it, or another lock.


def liveness(output: str | os.PathLike[str]) -> Liveness:
    """Tell whether the job that writes an output lives, without disturbing it."""
    folder = hidden_of(output)
    probe = _probe(folder / LOCK)
    if probe == "held":
        return Liveness("alive", "its lock is held")
    beat = heartbeat(output)
    if beat is None:
        return Liveness("unknown", "there is no heartbeat to read")
    here = _self()
    locked = bool(beat.get("locked")) and probe == "free"
    where = f"it ran as process {beat['pid']} on {beat.get('host')}"
    if beat.get("boot") == here["boot"] and here["boot"]:
        if locked:
            return Liveness("dead", f"{where}, this machine, and its lock is free")
        if beat.get("namespace") == here["namespace"]:
            if _started(beat["pid"]) == beat["started"]:
                return Liveness("alive", f"{where}, this machine, and that process is there")
            return Liveness("dead", f"{where}, this machine, and that process is gone")
    elif beat.get("host") == here["host"] and here["boot"] and beat.get("boot"):
        return Liveness("dead", f"{where}, which was restarted since")
    if locked and _locks_reach(folder):
        return Liveness("dead", f"{where}, and its lock is free")
    age = (time.time_ns() - beat["time_ns"]) // 1_000_000_000
    if age > STALE_S:
        return Liveness("dead", f"{where}, and last gave a sign of life {age // 86400} days ago")
    return Liveness("unknown", f"{where}, gave a sign of life {age} s ago, and its lock cannot be seen from here")


def heartbeat(output: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the last sign of life of an output's writer, or None where there is none that can be read."""
    try:
        descriptor = os.open(hidden_of(output) / HEARTBEAT, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = json.loads(file.read(1 << 16))
        numbers = {key: int(found[key]) for key in ("pid", "started", "time_ns")}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return {**found, **numbers}


def _held_here(path: Path) -> bool:
    identity = _identity(path)
    return identity is not None and _HELD.get(identity) == os.getpid()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _probe(path: Path) -> str:
    """Return ``held``, ``free`` or ``unseen``: the state of a lock file, without keeping it."""
    if _held_here(path):
        return "held"
    try:
        # A shared lock: probes do not disturb each other, and reading rights are enough.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return "unseen"
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return "held" if error.errno in (errno.EACCES, errno.EAGAIN) else "unseen"
    else:
        return "free"
    finally:
        os.close(descriptor)


def _self() -> dict[str, Any]:
    """Return what tells this process from all others."""
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "boot": _boot(),
        "namespace": pid_namespace(),
        "pid": pid,
        "started": _started(pid),
    }


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> int:
    """Return when a process started, in ticks since the boot, or 0 if it is not there."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        return int(text.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def _locks_reach(path: Path) -> bool:
    """Tell whether all nodes see the locks of the file system that holds `path`, as far as its mount tells."""
    try:
        device = path.stat().st_dev
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        head, _, tail = line.partition(" - ")
        if head.split()[2:3] != [wanted]:
            continue
        kind, _, rest = tail.partition(" ")
        options = {*head.split()[5].split(","), *rest.split()[-1].split(",")}
        if kind in ("nfs", "nfs4"):
            return not options & {"nolock", "local_lock=all", "local_lock=posix"}
        if kind == "lustre":
            return "flock" in options
        return kind in ("gpfs", "ceph")
    return False
