"""What a file system can do, tried out in a child: a dead one would hang whoever asks.

Each step is told when it is done, so the parent knows where a child got stuck.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

TRIAL = ".provml-doctor-"
"""How the folder of a trial begins, which lies in the place that is tried and is removed afterwards."""
BYTES = 1 << 20

Tell = Callable[..., None]


def main(tell: Tell, place: str, *, hdf5: bool) -> None:
    """Try out a place.

    Parameters
    ----------
    tell
        What a child says its steps with.
    place
        The folder; nothing stays in it.
    hdf5
        Whether to try an HDF5 file as a run writes it, too.
    """
    room = os.statvfs(place)
    tell("room", free=room.f_bavail * room.f_frsize, total=room.f_blocks * room.f_frsize)
    tell("system", **mounted(place))
    with tempfile.TemporaryDirectory(prefix=TRIAL, dir=place) as name:
        folder = Path(name)
        tell("made", path=name)
        path = folder / "trial"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _attempt(tell, "write", lambda: os.write(descriptor, bytes(BYTES)))
            _attempt(tell, "reserve", lambda: os.posix_fallocate(descriptor, 0, BYTES))
            _attempt(tell, "map", lambda: _map(descriptor))
            _attempt(tell, "sync", lambda: os.fsync(descriptor))
            _attempt(tell, "lock", lambda: _locks(path, descriptor))
        finally:
            os.close(descriptor)
        _attempt(tell, "link", lambda: os.link(path, folder / "link"))
        if hdf5:
            _hdf5(tell, folder)
    tell("ended")


def _attempt(tell: Tell, step: str, trial: Callable[[], object]) -> None:
    try:
        trial()
    except Exception as error:
        tell(step, works=False, error=_name(error))
    else:
        tell(step, works=True, error="")


def _name(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if isinstance(number, int):
        return f"{errno.errorcode.get(number, number)}: {os.strerror(number)}"
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _map(descriptor: int) -> None:
    with mmap.mmap(descriptor, BYTES) as mapped:
        mapped[:4] = b"mark"
        if os.pread(descriptor, 4, 0) != b"mark":
            raise ValueError("what is written to a mapped file cannot be read from it")


def _locks(path: Path, descriptor: int) -> None:
    """Lock a file, and see that another process is kept out."""
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def other() -> None:
        second = os.open(path, os.O_RDWR)
        try:
            fcntl.lockf(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
        else:
            raise ValueError("two processes got the same lock")

    _in_fork(other)


def _in_fork(work: Callable[[], None]) -> None:
    """Do something in a child of this process, and raise what it raised as text."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = b""
        try:
            work()
        except BaseException as error:
            said = _name(error).encode() if isinstance(error, Exception) else b"stopped"
        finally:
            os.write(writing, said)
            os._exit(0 if not said else 1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(said.decode() or f"the process that tried it ended with status {status}")


def _hdf5(tell: Tell, folder: Path) -> None:
    try:
        import h5py
    except Exception as error:
        tell("h5py", version="", hdf5="", error=_name(error))
        return
    tell("h5py", version=h5py.__version__, hdf5=h5py.version.hdf5_version, error="", mpi=bool(h5py.get_config().mpi))
    _attempt(tell, "swmr", lambda: _swmr(folder / "swmr.h5"))
    # As other programs do, which leave the locking to the library and the environment.
    _attempt(tell, "plain", lambda: h5py.File(folder / "plain.h5", "w").close())


def _swmr(path: Path) -> None:
    """Write a file as a run does, and read it meanwhile in another process."""
    import h5py
    import numpy as np

    from provml_hpc.storage.log_format import OPTIONS, open_following

    # The reader must be a process without this file: HDF5 gives one that has it open the same view of it again.
    first, second = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(second)
        ended = 1
        try:
            if os.read(first, 1):
                with open_following(path) as other:
                    if not np.array_equal(other["rows"][:], np.arange(1000)):
                        raise ValueError("a reader sees other rows than were written")
                ended = 0
        except Exception as error:
            path.with_suffix(".error").write_text(_name(error))
        finally:
            os._exit(ended)
    os.close(first)
    try:
        with h5py.File(path, "x", **OPTIONS) as file:
            rows: Any = file.create_dataset("rows", (0,), "i8", maxshape=(None,), chunks=(128,))
            file.swmr_mode = True
            rows.resize((1000,))
            rows[:] = np.arange(1000)
            rows.flush()
            os.write(second, b"1")
            _, status = os.waitpid(pid, 0)
            pid = 0
    finally:
        os.close(second)
        if pid:
            os.waitpid(pid, 0)
    if status:
        said = path.with_suffix(".error")
        raise RuntimeError(said.read_text() if said.exists() else "a reader died")


def mounted(place: str) -> dict[str, str]:
    """Return the kind and options of the file system that a folder lies on, as far as they are known."""
    real = os.path.realpath(place)
    best, found = "", {"kind": "", "options": "", "mount": ""}
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return found
    for line in lines:
        head, _, tail = line.partition(" - ")
        fields, rest = head.split(), tail.split()
        if len(fields) < 6 or len(rest) < 3:
            continue
        point = fields[4].replace("\\040", " ")
        # The last of several at one place is the one that is seen.
        if (real == point or real.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best = point
            found = {"kind": rest[0], "options": f"{fields[5]},{rest[2]}", "mount": point}
    return found
