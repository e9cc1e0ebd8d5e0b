"""The folders that journals lie in: this user's own, and where on a node they may be."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from provml_hpc.errors import StorageError


def safe_folder(folder: Path) -> Path:
    """Make (or accept) a folder of mode 0700 that belongs to this user and is no link.

    Raises
    ------
    StorageError
        The folder cannot be made, or is not ours.
    """
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700, parents=False)
        status = folder.lstat()
    except OSError as error:
        raise StorageError(error.errno, f"{folder}: {error.strerror}; choose another place with journal=") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise StorageError(
            errno.EPERM, f"{folder}: is a link or belongs to somebody else; remove it or choose another place"
        )
    if status.st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def pid_namespace() -> str:
    """Return what tells the process numbers that this process sees from those of a container; empty if nothing does."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no path, but text such as "pid:[4026531836]"
    except OSError:
        return ""


def own_folder(run: str) -> str:
    """Return the name of this user's folder for the journals of a run, in a place that others use too."""
    return f"provml-{os.geteuid()}-{run[:8]}"


def node_folders(run: str) -> Iterator[Path]:
    """Yield the folders of this node in which journals of a run may lie, best first."""
    for variable in ("SLURM_TMPDIR", "TMPDIR"):
        if os.environ.get(variable):
            yield Path(os.environ[variable]) / own_folder(run)
    yield Path("/dev/shm") / own_folder(run)
    import tempfile  # here, since with what it imports it is a megabyte that few ranks need

    yield Path(tempfile.gettempdir()) / own_folder(run)
