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
from provml_hpc.errors import FileMissingError, FormatError
from provml_hpc.storage.closing import FAILED, INCOMPLETE, RECOVERED, RUNNING, run_meta
from provml_hpc.storage.leftovers import says_failed
from provml_hpc.storage.log_reader import LogReader
from provml_hpc.storage.owner import Liveness, liveness
from provml_hpc.storage.place import PARTIAL, count_of, output_of, part_of, partial_of, parts_of
from provml_hpc.storage.tables import TablesFile
from provml_hpc.storage.unpacked import Unpacked


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
            with contextlib.suppress(FileMissingError):
                self.log, self.path = LogReader(partial), partial
                return
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
        """How many files the run has, going by this one.

        A log says at first how many there were to be. Who dies as the run begins leaves it alone; what a rank logged is
        there only if all are.
        """
        if self.closed is not None:
            return self.closed.run.parts
        assert self.log is not None
        sources = self.log.sources() if count_of(self.log.meta.get("parts"), 1) > 1 else []
        block = next(self.log.blocks(sources[-1]), b"") if sources else b""  # of the last attempt
        try:
            frame = wire.decode(block, 0) if len(block) else None
        except ValueError:
            frame = None
        return frame.record.parts if frame is not None and isinstance(frame.record, records.Started) else 1

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
            self.log.close()
            self.log = None
            self._open()
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
        ``NAME.h5`` or its log, with which the others are found. One of the others by its own name stands alone.

    Raises
    ------
    FileMissingError, FormatError
        It is not there, or one of the files cannot be read.
    """

    def __init__(self, asked: Path) -> None:
        self._asked = asked
        self.files = [RunFile(asked)]
        """Those that are there, that of the lead first."""
        self.missing: list[Path] = []
        """Those that there should be and are not."""
        try:
            self._find()
        except BaseException:
            self.close()
            raise

    def _find(self) -> None:
        first = self.files[0].meta
        self.missing = []
        if count_of(first.get("part"), 0):
            return
        known = {output_of(file.path) for file in self.files}
        for path in parts_of(self._asked, count_of(first.get("parts"), 1)):
            if path in known:
                continue
            file = RunFile(path)
            if file.meta.get("run") == first.get("run") and count_of(file.meta.get("part"), 0):
                self.files.append(file)
                known.add(path)
            else:  # somebody's who happens to call a file so
                file.close()
        count = max(file.parts for file in self.files)
        self.missing = [path for n in range(1, count) if (path := part_of(self._asked, n)) not in known]

    @property
    def status(self) -> str:
        """How the run stands, going by all files."""
        if len(self.files) == 1 and not self.missing:
            return self.files[0].status
        found = {file.status for file in self.files} | ({INCOMPLETE} if self.missing else set())
        ordered = (RUNNING, FAILED, INCOMPLETE, RECOVERED)
        return next((status for status in ordered if status in found), self.files[0].status)

    @property
    def damage(self) -> list[str]:
        """What could not be read, as sentences."""
        found = [one for file in self.files for one in file.damage]
        if self.missing:
            more = len(self.missing) - 1
            others = f", and {more} more part{'s' * (more > 1)} of the run, are" if more else " is"
            found.append(f"{self.missing[0]}{others} not there, so what was logged there is missing: bring it back")
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
    wanted = {output_of(name): os.fspath(name) for name in names}
    parts: set[Path] = set()
    for output in wanted:
        if any(path in wanted for path in parts_of(output)):
            with contextlib.suppress(FileMissingError, FormatError), contextlib.closing(RunFiles(output)) as found:
                parts |= {output_of(file.path) for file in found.files[1:]}
    return [os.fspath(name) for name in names if output_of(name) not in parts]


def is_ahead(partial: Path, output: Path) -> bool:
    """Tell whether a log that lies beside a closed file of the same run has more: the run was resumed."""
    try:
        with LogReader(partial) as log, TablesFile(output) as closed:
            if log.meta.get("run") != closed.attributes.get("run") or not len(log.commits):
                return False
            return int(log.commits["time_ns"][-1]) > closed.run.committed_ns
    except (FileMissingError, FormatError):
        return False
