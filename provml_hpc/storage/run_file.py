"""One file of a run, closed or still a log, through one face; and the files of one run found together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from provml_hpc import records, wire
from provml_hpc.assembly import FrameSource
from provml_hpc.errors import FileMissingError, FormatError, UsageError
from provml_hpc.storage.closing import FAILED, INCOMPLETE, RUNNING, run_meta
from provml_hpc.storage.leftovers import says_failed
from provml_hpc.storage.log_reader import LogReader
from provml_hpc.storage.owner import Liveness, liveness
from provml_hpc.storage.place import PARTIAL, output_of, part_in, part_of, partial_of, parts_in
from provml_hpc.storage.tables import TablesFile
from provml_hpc.storage.unpacked import Unpacked

_TOLD = 3
"""Files of which it is said one by one that they are missing."""


class RunFile:
    """A file that a writer rank wrote, or still writes.

    Parameters
    ----------
    asked
        ``NAME.h5``, or its log.

    Raises
    ------
    FileMissingError
        There is neither of the two.
    FormatError
        It is damaged, foreign, or of a newer format version.
    """

    def __init__(self, asked: Path) -> None:
        self._asked = asked
        self.path: Path
        """The file that is open."""
        self.log: LogReader | None = None
        """It, if it is the log of a run that was not closed yet."""
        self.closed: TablesFile | None = None
        """It, if it is a closed file."""
        self._failed: bool | None = None
        self._parts = 0
        self._open()

    def _open(self) -> None:
        if "\0" in str(self._asked):
            raise FileMissingError(f"{str(self._asked)!r} is no name of a file: check it")
        output = output_of(self._asked)
        partial = partial_of(output)
        # In this order, since a run that ends makes the one before it removes the other.
        if partial.exists() and (
            self._asked.name.endswith(PARTIAL) or not output.exists() or is_ahead(partial, output)
        ):
            try:
                self.log, self.path = LogReader(partial), partial
                return
            except (FileMissingError, FormatError):  # it may have gone as it was being opened
                if partial.exists() or not output.exists():
                    raise
        if not output.exists():
            raise FileMissingError(f"there is neither {output} nor {partial.name} beside it: check the name")
        self.closed, self.path = TablesFile(output), output

    @property
    def meta(self) -> dict[str, Any]:
        """What it says of its run, as a log says it."""
        if self.log is not None:
            return self.log.meta
        assert self.closed is not None
        return dict(run_meta(self.closed.run))

    @property
    def parts(self) -> int:
        """How many files the run has for sure, going by this one.

        Each says at first how many there were to be. Who dies as the run begins leaves it alone; what a rank logged is
        there only if all are.
        """
        if self.closed is not None:
            return parts_in(self.closed.run.details)
        if self._parts < 2 and parts_in(self.meta) > 1:
            self._parts = self._begun()
        return max(self._parts, 1)

    def _begun(self) -> int:
        """Return how many files the run had when the last attempt in this log began."""
        assert self.log is not None
        sources = self.log.sources()
        block = next(self.log.blocks(sources[-1]), b"") if sources else b""
        try:
            frame = wire.decode(block, 0) if len(block) else None
        except ValueError:
            frame = None
        started = frame.record if frame is not None and isinstance(frame.record, records.Started) else None
        return min(started.parts, parts_in(self.meta)) if started is not None else 1

    @property
    def frames(self) -> FrameSource:
        """The frames that it holds.

        Raises
        ------
        FormatError
            It is damaged, or was written without its records.
        """
        if self.log is not None:
            return self.log
        assert self.closed is not None
        return Unpacked(self.closed)

    @property
    def commits(self) -> np.ndarray[Any, np.dtype[Any]]:
        """The commits, as `Reader.commits` has them."""
        if self.log is not None:
            return self.log.summary()
        assert self.closed is not None
        return self.closed.commits()

    @property
    def liveness(self) -> Liveness:
        """Whether the job that writes the file lives, and how one knows."""
        return liveness(self.path) if self.log is not None else Liveness("dead", "its file is closed")

    @property
    def status(self) -> str:
        """How it stands, as in `Reader.status`."""
        if self.closed is not None:
            return self.closed.run.status
        if self.log is None or self.liveness.state != "dead":
            return RUNNING
        if self._failed is None:  # once: it cannot change any more
            try:
                self._failed = says_failed(output_of(self.path), self.log)
            except (OSError, ValueError):
                self._failed = False
        return FAILED if self._failed else INCOMPLETE

    @property
    def damage(self) -> list[str]:
        """What of a log could not be read, as sentences; a closed file is whole or an error."""
        return self.log.damage if self.log is not None else []

    def refresh(self) -> None:
        """See what was committed since; when the run has ended meanwhile, the closed file takes the log's place."""
        if self.log is None:
            return
        if not partial_of(self._asked).exists() and output_of(self._asked).exists():
            ended = RunFile(self._asked)
            self.log.close()
            self.log, self.closed, self.path = ended.log, ended.closed, ended.path
        else:
            self.log.refresh()

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self.log is not None:
            self.log.close()
        if self.closed is not None:
            self.closed.close()


class RunFiles:
    """The files of a run that several ranks wrote; of most runs one.

    Parameters
    ----------
    asked
        ``NAME.h5`` or its log, which tells how many there are. One of the others by its own name stands alone.

    Raises
    ------
    FileMissingError, FormatError
        It is not there, or cannot be read. What is wrong with another one is told in `missing`.
    """

    def __init__(self, asked: Path) -> None:
        self._asked = asked
        self.files = [RunFile(asked)]
        """Those that are there, that of the lead first."""
        self.missing: dict[Path, str] = {}
        """Those that there should be, and why they are not in `files`."""
        try:
            self._find()
        except BaseException:
            self.close()
            raise

    @property
    def single(self) -> bool:
        """Whether the run has one file."""
        return len(self.files) == 1 and not self.missing

    def _find(self) -> None:
        """Look for the others. A file is one if it says so: somebody else's may have such a name, too."""
        first = self.files[0].meta
        self.missing.clear()
        if part_in(first):
            return
        known = {part_in(file.meta): file for file in self.files}
        for number in (n for n in range(1, parts_in(first)) if n not in known):
            path = self._path(number)
            try:
                file = RunFile(path)
            except FileMissingError:
                self.missing[path] = "is not there"
                continue
            except FormatError as error:
                self.missing[path] = f"cannot be read ({error})"
                continue
            if file.meta.get("run") == first.get("run") and part_in(file.meta) == number:
                self.files.append(file)
            else:
                file.close()
                self.missing[path] = "is a file of another run"
        # So many there were to be. Of those that nobody began nothing is missing.
        begun = max(file.parts for file in self.files)
        for number in range(begun, parts_in(first)):
            self.missing.pop(self._path(number), None)

    def _path(self, number: int) -> Path:
        """Return where a part lies: beside the name that was given, or, if that is a link, beside what it means."""
        path = part_of(self._asked, number)
        if path.exists() or partial_of(path).exists() or not output_of(self._asked).is_symlink():
            return path
        return part_of(output_of(self._asked).resolve(), number)

    @property
    def live(self) -> list[RunFile]:
        """Those that were not closed yet."""
        return [file for file in self.files if file.log is not None]

    @property
    def status(self) -> str:
        """How a run stands of which a file was not closed yet, or which has one file."""
        found = [file.status for file in self.files]
        if self.single:
            return found[0]
        return next((status for status in (RUNNING, FAILED) if status in found), INCOMPLETE)

    @property
    def damage(self) -> list[str]:
        """What could not be read, as sentences."""
        found = [one for file in self.files for one in file.damage]
        for (path, why), _ in zip(self.missing.items(), range(_TOLD), strict=False):
            found.append(f"{path} {why}, so what was logged there is missing: bring it back")
        if len(self.missing) > _TOLD:
            found.append(f"so it is with {len(self.missing) - _TOLD} more files of the run")
        return found

    def refresh(self) -> None:
        """See what was committed since, and which files have come."""
        for file in self.files:
            file.refresh()
        self._find()

    def close(self) -> None:
        """Close all files. May be called twice."""
        for file in self.files:
            file.close()


def without_parts(names: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return those of some names that are not read with another of them: ``NAME*.h5`` means a run once.

    Nothing is said here of what is not there or cannot be read.
    """
    outputs = [output_of(name) for name in names]
    parts: set[Path] = set()
    # Opening takes a while, so only those are opened of which a part may be among the names.
    for name in (one for one in outputs if any(_may_be_part(other, one) for other in outputs)):
        with contextlib.suppress(FileMissingError, FormatError), contextlib.closing(RunFiles(name)) as found:
            parts |= {output_of(file.path).resolve() for file in found.files[1:]}
    return [os.fspath(name) for name in names if output_of(name).resolve() not in parts]


def _may_be_part(path: Path, output: Path) -> bool:
    """Tell whether a part of an output may have this name."""
    number = path.name[len(output.stem) + len("-part") :].removesuffix(output.suffix)
    return number.isdecimal() and path == part_of(output, int(number))


def parts_to_resume(output: Path) -> int:
    """Return how many files a run has that is to be gone on with; 1 if there is none, or none that can be read.

    Raises
    ------
    UsageError
        It is not the first of them.
    FileMissingError
        Not all of them are there, so that what is in the others would be lost.
    """
    try:
        found = RunFiles(output)
    except (FileMissingError, FormatError):  # who takes the file tells what is wrong with it
        return 1
    with contextlib.closing(found):
        first = found.files[0].meta
        if part_in(first):
            raise UsageError(f"{output} is a part of a run that several ranks wrote: give the first of its files")
        for path, why in found.missing.items():
            raise FileMissingError(f"{path} {why}, and the run of {output} goes on in it, too: bring it back first")
        return 1 + max(part_in(file.meta) for file in found.files)


def is_ahead(partial: Path, output: Path) -> bool:
    """Tell whether a log that lies beside a closed file of the same run has more: the run was resumed."""
    try:
        with LogReader(partial) as log, TablesFile(output) as closed:
            if log.meta.get("run") != closed.attributes.get("run") or not len(log.commits):
                return False
            return int(log.commits["time_ns"][-1]) > closed.run.committed_ns
    except (FileMissingError, FormatError):
        return False
