"""Digests of files, and what tells one state of a file from the next."""

from __future__ import annotations

import os
import re
import stat
import threading
from pathlib import Path
from typing import NamedTuple

from provml_hpc.errors import ProvMLError, UsageError

LIMIT_SETTING = "PROVML_FULL_DIGEST_LIMIT"
FULL_DIGEST_LIMIT = 4 * 2**30
"""Largest file that is digested whole by default, in bytes."""

BLOCK = 2**20
"""Bytes that are read at once: enough to leave the interpreter's lock for a millisecond, little enough to stop soon."""

SAMPLE_BLOCKS = 64
SAMPLE_BLOCK = 2**16
SAMPLE_TOTAL = SAMPLE_BLOCKS * SAMPLE_BLOCK
"""Bytes that a fingerprint reads; a file that is no larger is always digested whole."""

# Algorithms whose digests have a known length, in hexadecimal digits.
_LENGTHS = {
    "md5": 32,
    "sha1": 40,
    "sha224": 56,
    "sha256": 64,
    "sha384": 96,
    "sha512": 128,
    "sha3_256": 64,
    "sha3_512": 128,
    "blake2b": 128,
    "blake2s": 64,
    "blake3": 64,
    "sha256-array": 64,
    "sha256-tree": 64,
    "provml-sample-1": 64,
    "provml-sample-tree-1": 64,
}
_WEAK = frozenset({"provml-sample-1", "provml-sample-tree-1"})
_ALGORITHM = re.compile(r"[a-z][a-z0-9._+-]{0,63}")
_OTHER_VALUE = re.compile(r"[A-Za-z0-9+/=_.~-]{4,512}")
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


class DigestCancelledError(ProvMLError, InterruptedError):
    """A digest was given up before it was ready."""


class StatKey(NamedTuple):
    """One state of a file: as long as these are equal, the bytes are taken to be.

    A directory's own size and time say nothing of the files in it, so the key of a directory does not identify its
    content.
    """

    path: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    is_directory: bool


class Digest(NamedTuple):
    """What identifies bytes.

    Attributes
    ----------
    algorithm
        ``"sha256"`` for whole files, ``"provml-sample-1"`` for fingerprints, ``"sha256-tree"``,
        ``"provml-sample-tree-1"``, ``"sha256-array"``, or what the user gave.
    hexdigest
        The digest in small hexadecimal digits (as it was given, for an algorithm that is not known here).
    size
        Number of bytes it stands for; None for a digest given without a size.
    weak
        True if it does not cover all bytes, so that two contents may share it without anybody's intent.
    changed
        True if the file changed while it was read, or is not in the state that was asked for.
    """

    algorithm: str
    hexdigest: str
    size: int | None
    weak: bool = False
    changed: bool = False

    @property
    def joins(self) -> bool:
        """Whether two jobs may meet through it: not if it is of nothing, or of bytes that moved meanwhile."""
        return self.size != 0 and not self.changed

    def __str__(self) -> str:
        """Write it as `parse_digest` reads it."""
        return f"{self.algorithm}:{self.hexdigest}"


def stat_key(path: str | os.PathLike[str]) -> StatKey:
    """Look at a file or directory, following links.

    The path is made absolute and normal (without ``.`` and ``..``) as text; links stay in it, because the user's name
    for the file is what later readers know.

    Raises
    ------
    OSError
        It is not there or cannot be looked at.
    """
    # Not Path.resolve, which would replace links.
    name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
    return _key_of(name, os.stat(name))  # noqa: PTH116 - beside its descriptor form below


def digest_file(
    path: str | os.PathLike[str],
    *,
    full_limit: int | None = None,
    whole: bool = False,
    expected: StatKey | None = None,
    stop: threading.Event | None = None,
) -> Digest:
    """Digest a regular file.

    A file of at most `full_limit` bytes gets the SHA-256 of its bytes. A larger one gets the fingerprint
    ``provml-sample-1``, which reads 4 MiB of it and is marked weak: two files of one size that differ only between its
    blocks share it. It is the SHA-256 over, in this order,

    1. the 16 bytes ``provml-sample-1`` and a line feed,
    2. the size ``n`` of the file as 8 bytes, little endian,
    3. for each i from 0 to 63: the offset ``(i * (n - 65536)) // 63`` as 8 bytes, little endian, and the 65,536 bytes
       there. The first block begins the file and the last one ends it.

    Parameters
    ----------
    path
        The file; links are followed.
    full_limit
        Largest file that is digested whole, in bytes; by default the setting (`full_digest_limit`). A file of at most 4
        MiB always is.
    whole
        Digest all bytes whatever the size.
    expected
        The state that the digest is wanted of; if the file is in another one by now, it is not read, and the digest is
        empty and marked as changed.
    stop
        Give up when this is set.

    Raises
    ------
    UsageError
        It is not a regular file.
    DigestCancelledError
        `stop` was set.
    OSError
        It cannot be read.
    """
    limit = full_digest_limit() if full_limit is None else full_limit
    before = stat_key(path)
    # Without O_NONBLOCK, a pipe of that name would wait for its other end for ever.
    descriptor = os.open(before.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{before.path} is not a regular file; record it with a reference instead")
        opened = _key_of(before.path, status)
        sampled = is_sampled(opened.size, limit, whole)
        if expected not in (None, opened):
            return Digest("provml-sample-1" if sampled else "sha256", "", opened.size, sampled, changed=True)
        descriptor = file.fileno()
        digest = _read_sample(descriptor, opened.size, stop) if sampled else _read_whole(descriptor, stop)
    try:
        after = stat_key(path)
    except OSError:
        after = None
    steady = before == opened == after and digest.size == opened.size
    return digest._replace(changed=not steady)


def is_sampled(size: int, limit: int, whole: bool) -> bool:
    """Tell whether a file of this size gets a fingerprint instead of the digest of all its bytes."""
    return not whole and size > max(limit, SAMPLE_TOTAL)


def full_digest_limit() -> int:
    """Give the largest file that is digested whole, in bytes: ``PROVML_FULL_DIGEST_LIMIT`` (``"512 MiB"``), else 4 GiB.

    Raises
    ------
    UsageError
        The setting is not a size.
    """
    text = os.environ.get(LIMIT_SETTING, "").strip()
    try:
        return parse_size(text) if text else FULL_DIGEST_LIMIT
    except UsageError as error:
        raise UsageError(f"{LIMIT_SETTING}: {error}") from None


def parse_size(text: str | int) -> int:
    """Read a size in bytes from ``4096``, ``"64 MiB"``, ``"1.5 GB"`` or ``"4G"`` (one letter counts in powers of 1024).

    Examples
    --------
    >>> parse_size("64 MiB"), parse_size("1.5 kB")
    (67108864, 1500)
    """
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)\s*([A-Za-z]*)", str(text).strip(), re.ASCII)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise UsageError(f"{str(text)!r} is not a size; write bytes, or a number with a unit, such as 64 MiB")
    number = match[1]
    return int(number) * unit if "." not in number else int(float(number) * unit)


def parse_digest(text: str | Digest, size: int | None = None) -> Digest:
    """Read a digest that the user gives, ``"sha256:9f86d0..."``.

    Parameters
    ----------
    text
        Algorithm, colon, value. Of an algorithm known here the value must be as many hexadecimal digits as it gives; of
        another one (an object store's tag, say) it is taken as it stands. Weak are our own fingerprints and values of
        less than 128 bits.
    size
        Number of bytes, if known. Contents with and without a size never join, so give it where you can.

    Raises
    ------
    UsageError
        It cannot be a digest.

    Examples
    --------
    >>> parse_digest("MD5:D41D8CD98F00B204E9800998ECF8427E").joins
    False
    """
    if isinstance(text, Digest):
        return text
    algorithm, sign, value = str(text).strip().partition(":")
    algorithm, value = algorithm.strip().lower(), value.strip()
    # "sha-256" and "sha3-256" are the same algorithms' names in standards.
    algorithm = {"sha-1": "sha1", "sha3-256": "sha3_256", "sha3-512": "sha3_512"}.get(
        algorithm, re.sub(r"^sha-(?=\d+$)", "sha", algorithm)
    )
    if not sign or not _ALGORITHM.fullmatch(algorithm):
        raise UsageError(f"{text!r:.80} is not a digest; write the algorithm and the value, such as sha256:9f86d0...")
    length = _LENGTHS.get(algorithm)
    if length is not None:
        value = value.lower()
        if len(value) != length or not re.fullmatch(r"[0-9a-f]+", value):
            raise UsageError(
                f"a {algorithm} digest has {length} hexadecimal digits; give it in full, not {value!r:.80}"
            )
    elif not _OTHER_VALUE.fullmatch(value):
        raise UsageError(f"{text!r:.80} is not a digest; its value may have 4 to 512 letters, digits and +/=_.~-")
    if size is None and value == _empty(algorithm):
        size = 0
    is_short = length is None and re.fullmatch(r"[0-9a-fA-F]{1,31}", value) is not None
    return Digest(algorithm, value, size, weak=algorithm in _WEAK or is_short)


def check_stop(stop: threading.Event | None) -> None:
    """Raise `DigestCancelledError` if the event is set."""
    if stop is not None and stop.is_set():
        raise DigestCancelledError(
            "the digest was given up; give the run more time to end, or give the digest yourself"
        )


def key_of_status(path: str | Path, status: os.stat_result) -> StatKey:
    """Make a key from a status that is already at hand."""
    return _key_of(str(path), status)


def _key_of(path: str, status: os.stat_result) -> StatKey:
    is_directory = stat.S_ISDIR(status.st_mode)
    return StatKey(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, is_directory)


def _empty(algorithm: str) -> str | None:
    import hashlib

    try:
        return hashlib.new(algorithm, usedforsecurity=False).hexdigest()
    except (ValueError, TypeError):  # not known to this Python, or of a length that must be given
        return None


def _read_whole(descriptor: int, stop: threading.Event | None) -> Digest:
    import hashlib  # not before a file is read: OpenSSL is 3.4 MB that a rank which reads none does without

    hasher = hashlib.sha256(usedforsecurity=False)
    block = memoryview(bytearray(BLOCK))
    size = 0
    while count := os.readv(descriptor, [block]):
        hasher.update(block[:count])
        size += count
        check_stop(stop)
    return Digest("sha256", hasher.hexdigest(), size)


def _read_sample(descriptor: int, size: int, stop: threading.Event | None) -> Digest:
    import hashlib

    hasher = hashlib.sha256(b"provml-sample-1\n" + size.to_bytes(8, "little"), usedforsecurity=False)
    whole = True
    for number in range(SAMPLE_BLOCKS):
        check_stop(stop)
        offset = number * (size - SAMPLE_BLOCK) // (SAMPLE_BLOCKS - 1)
        block = os.pread(descriptor, SAMPLE_BLOCK, offset)
        whole = whole and len(block) == SAMPLE_BLOCK
        hasher.update(offset.to_bytes(8, "little"))
        hasher.update(block)
    # A short block means that the file was cut meanwhile; a size that no file has makes the caller see the change.
    return Digest("provml-sample-1", hasher.hexdigest(), size if whole else None, weak=True)
