"""Writes the files that stay: what today's code leaves of a small job, closed and killed, by the version of its format.

::

    python -m tests.data.make

An archive that is there is never written again: its files are what a release of that time wrote.
"""

from __future__ import annotations

import getpass
import gzip
import json
import socket
import sys
import tarfile
import tempfile
from pathlib import Path

import h5py

from provml_hpc.storage.tables import FORMAT_VERSION
from tests.mpi.launch import mpi_run

HERE = Path(__file__).resolve().parent
NAME = "f3.h5"


def make(target: Path) -> None:
    """Run the job twice and pack what it leaves."""
    with tempfile.TemporaryDirectory(prefix="kept-files-") as name:
        folder = Path(name)
        for end in ("well", "die"):
            (folder / end).mkdir()
            done = mpi_run(
                HERE / "job.py", 2, [NAME, end], cwd=folder / end,
                env={"PROVML_AUTHORITY": "hpc.example.org"}, timeout=120,
            )  # fmt: skip
            if end == "well":
                done.check()
        hidden = folder / "die" / f".{NAME}.provml"
        beat = json.loads((hidden / "heartbeat").read_text())
        # A job of another machine, of which nobody has heard for long: whoever recovers it need not ask.
        beat |= {"host": "node1", "boot": "", "namespace": "", "time_ns": beat["time_ns"] - 365 * 86400 * 10**9}
        (hidden / "heartbeat").write_text(json.dumps(beat))
        left = [hidden.parent / f"{NAME}.partial", *hidden.iterdir()]
        told = b"".join(path.read_bytes() for path in left) + _plain(folder / "well" / NAME)
        for word in (name, socket.gethostname(), str(Path.home()), getpass.getuser() + "@", str(HERE.parents[1])):
            if len(word) > 3 and word.encode() in told:
                sys.exit(f"{word!r} is in the files: have tests/data/job.py hide it")
        with (
            target.open("xb") as file,
            gzip.GzipFile("", "wb", 9, file, 0) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            archive.add(folder / "well" / NAME, f"closed/{NAME}", filter=_nobodys)
            for path in sorted(left):
                archive.add(path, f"left/{path.relative_to(hidden.parent)}", filter=_nobodys)


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def _plain(path: Path) -> bytes:
    """Return all that a closed file says, unpacked."""
    said = []

    def take(_: str, thing: h5py.Group | h5py.Dataset) -> None:
        said.extend(str(value) for value in thing.attrs.values())
        if isinstance(thing, h5py.Dataset):
            said.append(thing[:].tobytes().decode("latin-1") if thing.dtype.kind != "O" else str(thing[:].tolist()))

    with h5py.File(path) as file:
        take("", file)
        file.visititems(take)
    return "\n".join(said).encode("latin-1", "replace")


if __name__ == "__main__":
    made = HERE / f"{FORMAT_VERSION}.tar.gz"
    if made.exists():
        sys.exit(f"{made} is there already, and stays")
    make(made)
    sys.stdout.write(f"{made}: {made.stat().st_size} bytes\n")
