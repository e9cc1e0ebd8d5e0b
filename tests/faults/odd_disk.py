"""A file system that cannot be mapped, or knows no locks, by FUSE: ``python odd_disk.py BACKING MOUNT [no-locks]``.

It hands everything on to a folder. With direct I/O the kernel refuses shared maps of its files (ENODEV), as on some
parallel file systems; with ``no-locks`` it answers ENOLCK to POSIX locks, as NFS without its lock daemon does.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import mfusepy


class Odd(mfusepy.Operations):
    """Hands on what it is asked for."""

    use_ns = True

    def __init__(self, backing: str, locks: bool) -> None:
        self._backing = backing
        if not locks:
            self.lock = self._no_lock

    def _no_lock(self, path: str, fh: int, cmd: int, lock: Any) -> int:
        raise mfusepy.FuseOSError(errno.ENOLCK)

    def _real(self, path: str) -> str:
        return self._backing + path

    def access(self, path: str, amode: int) -> int:
        if not os.access(self._real(path), amode):
            raise mfusepy.FuseOSError(errno.EACCES)
        return 0

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        status = os.lstat(self._real(path)) if fh is None else os.fstat(fh)
        names = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_ino")
        return {name: getattr(status, name) for name in names} | {
            f"st_{kind}time": getattr(status, f"st_{kind}time_ns") for kind in "acm"
        }

    def readdir(self, path: str, fh: int) -> Any:
        yield from (".", "..", *os.listdir(self._real(path)))  # noqa: PTH208 - names alone

    def readlink(self, path: str) -> str:
        return os.readlink(self._real(path))  # noqa: PTH115

    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self._real(path), mode)  # noqa: PTH101
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        os.chown(self._real(path), uid, gid)
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(self._real(path), mode)  # noqa: PTH102
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._real(path))  # noqa: PTH106
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(self._real(path))  # noqa: PTH108
        return 0

    def link(self, target: str, source: str) -> int:
        os.link(self._real(source), self._real(target))
        return 0

    def symlink(self, target: str, source: str) -> int:
        os.symlink(source, self._real(target))  # noqa: PTH211
        return 0

    def rename(self, old: str, new: str) -> int:
        os.rename(self._real(old), self._real(new))  # noqa: PTH104
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        os.truncate(self._real(path) if fh is None else fh, length)
        return 0

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        return os.open(self._real(path), os.O_RDWR | os.O_CREAT, mode)

    def open(self, path: str, flags: int) -> int:
        return os.open(self._real(path), flags & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW))

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    def flush(self, path: str, fh: int) -> int:
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        os.fsync(fh)
        return 0

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(self._real(path), ns=times)
        return 0

    def statfs(self, path: str) -> dict[str, Any]:
        found = os.statvfs(self._real(path))
        return {
            name: getattr(found, name)
            for name in ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_frsize", "f_namemax")
        }


if __name__ == "__main__":
    backing, mount, *rest = sys.argv[1:]
    mfusepy.FUSE(
        Odd(backing, "no-locks" not in rest), mount, foreground=True, nothreads=True, direct_io=True, allow_other=True
    )
