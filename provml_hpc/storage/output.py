"""A writer rank's side of its file: claim it, append to it, close it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from time import monotonic, sleep, time_ns
from typing import Any

from provml_hpc.errors import FileBusyError, OutputExistsError, ProvMLError
from provml_hpc.journal import safe_folder
from provml_hpc.records import Source
from provml_hpc.storage import closing
from provml_hpc.storage.abandon import turn_away
from provml_hpc.storage.leftovers import (
    Leftovers,
    find_segments,
    is_closed,
    journal_folders,
    refuse_the_living,
    remove_unfinished,
)
from provml_hpc.storage.log import LogWriter
from provml_hpc.storage.log_reader import LogReader
from provml_hpc.storage.owner import Ownership, recovering
from provml_hpc.storage.place import hidden_of, part_in, part_of, partial_of, parts_in, run_of
from provml_hpc.storage.reopened import half_reopened, reopen
from provml_hpc.storage.tables import read_attributes

logger = logging.getLogger("provml_hpc")

LET_GO = 10.0
"""Seconds in which a writer rank that is gone has to have let go of its output."""

BEAT_EVERY = 1.0
"""Seconds between two heartbeats at least: a small flush point costs less than telling that the job lives."""


def _free(path: Path) -> bool:
    return not path.exists() and not partial_of(path).exists()


def _names(path: Path, if_exists: str, parts: Sequence[Path]) -> Iterator[Path]:
    """Yield the outputs to try to claim; `parts` are further names that the run needs."""
    if if_exists == "new":
        numbered = (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in range(1, 100_000))
        further = range(1, 1 + len(parts))
        yield from (p for p in chain([path], numbered) if _free(p) and all(_free(part_of(p, n)) for n in further))
    elif path.exists():
        raise OutputExistsError(
            f"{path} exists already; choose another output, or if_exists='new' to have a free name chosen"
        )
    elif partial_of(path).exists():
        raise OutputExistsError(
            f"{partial_of(path)} is there: a job that still runs, or one that died; see: provml info {path}. "
            f"Then provml recover {path}, or if_exists='resume' to go on, or if_exists='new'"
        )
    elif taken := [part for part in parts if not _free(part)]:
        raise OutputExistsError(
            f"{taken[0]} exists already, and one of several writer ranks is to write it; choose another output, or "
            "if_exists='new' to have free names chosen"
        )
    else:
        yield path


def _clear_unbegun(path: Path, run: str) -> None:
    """Remove the part of a run that never began: its other files were given up, and nobody logged into this one."""
    if path.exists() or not partial_of(path).exists():
        return
    with suppress(ProvMLError), recovering(path):
        with LogReader(partial_of(path)) as log:
            meta, begun = log.meta, len(log.commits)
        segments, _ = find_segments(journal_folders(path, meta), run_of(meta, path), part_in(meta))
        if part_in(meta) and meta["run"] != run and not begun and not segments:
            closing.remove_log(path)
            remove_unfinished(path)


def _run_of(path: Path) -> str:
    """Return the run that an output is of, going by its log or its closed file."""
    if not partial_of(path).exists():
        return str(read_attributes(path)["run"])
    with LogReader(partial_of(path)) as log:
        return str(log.meta["run"])


class Output:
    """A claimed output. Nobody else has it while the lock is held."""

    def __init__(self, path: Path, meta: dict[str, Any], log: LogWriter, ownership: Ownership) -> None:
        self.path = path
        self.meta = meta
        self._log = log
        self._ownership = ownership
        self._beaten = monotonic()
        self._undo = False
        """Whether nothing is lost if the log goes: it is new, or all that it has is in a closed file."""

    @classmethod
    def claim(cls, path: Path, meta: dict[str, Any], if_exists: str) -> Output:
        """Take the output for a run.

        Raises
        ------
        OutputExistsError
            It exists and that was not allowed for.
        StorageError
            It cannot be written.
        """
        if part_in(meta):
            _clear_unbegun(path, meta["run"])
        if if_exists == "resume" and not _free(path):
            return cls._resume(path, meta)
        taken: ProvMLError | None = None
        further = [] if part_in(meta) else [part_of(path, number) for number in range(1, parts_in(meta))]
        for one in further:
            _clear_unbegun(one, meta["run"])
        for name in _names(path, if_exists, further):
            try:
                return cls._create(name, meta)
            except (OutputExistsError, FileBusyError) as error:
                taken = error  # by a job that began at the same moment
                if if_exists != "new":
                    break
        raise taken or OutputExistsError(f"{path} and all its numbered names are taken; choose another output")

    @classmethod
    def _create(cls, path: Path, meta: dict[str, Any]) -> Output:
        safe_folder(hidden_of(path))
        ownership = Ownership.take(path, meta["run"])
        try:
            remove_unfinished(path)
            log = LogWriter.create(partial_of(path), meta)
        except BaseException:
            ownership.release()
            raise
        made = cls(path, meta, log, ownership)
        made._undo = True
        return made

    @classmethod
    def _resume(cls, path: Path, meta: dict[str, Any]) -> Output:
        """Go on with the run that a dead job left: bring its journals into its log, then begin the next attempt."""
        with recovering(path, force=is_closed(path)):
            if part_in(meta) and _run_of(path) != meta["run"]:
                raise OutputExistsError(f"{path} is of another run than {meta['run']}, which goes on: move it away")
            remove_unfinished(path)
            if half_reopened(path):
                closing.remove_log(path)
            closed = not partial_of(path).exists()
            # From here on the lock and the heartbeat speak for us, also after the recovery that this begins with.
            ownership = Ownership.take(path, _run_of(path), recovering=True)
            try:
                if closed:
                    reopen(path)
                made = cls._go_on(path, meta, ownership)
                made._undo = closed and made._undo
                return made
            except BaseException:
                ownership.release()
                raise

    @classmethod
    def take_over(cls, path: Path, meta: dict[str, Any], *, dead: bool) -> Output:
        """Go on as the writer of a run that lives, whose writer rank is gone: in the same attempt, with a new log.

        All that the old log had committed is in the new one, since HDF5 writes to no file whose writer was killed.
        Journals are left alone: their ranks, or those who adopted them, bring what they hold.

        Parameters
        ----------
        path
            The output.
        meta
            What is known of the run.
        dead
            Whether the writer rank is known to be dead, where its lock and heartbeat do not tell.

        Raises
        ------
        FileBusyError
            It still has the output, or may have.
        FileMissingError, FormatError, StorageError
            There is no log that can be gone on with, or it could not be copied.
        """
        until = monotonic() + LET_GO
        while True:
            try:
                with recovering(path, force=dead):
                    return cls._succeed(path, meta)
            except FileBusyError:  # an end takes a moment, that of a process on another node perhaps some more
                if monotonic() > until:
                    raise
            sleep(0.05)

    @classmethod
    def _succeed(cls, path: Path, meta: dict[str, Any]) -> Output:
        with LogReader(partial_of(path)) as log:
            if log.meta.get("run") != meta["run"]:
                raise FileBusyError(f"{partial_of(path)} is of another run by now: choose another output")
        ownership = Ownership.take(path, str(meta["run"]), recovering=True)
        try:
            return cls(path, meta, LogWriter.reopen(partial_of(path)), ownership)
        except BaseException:
            ownership.release()
            raise

    @classmethod
    def _go_on(cls, path: Path, meta: dict[str, Any], ownership: Ownership) -> Output:
        with LogReader(partial_of(path)) as old:
            segments, troubles = find_segments(journal_folders(path, old.meta), str(old.meta["run"]), part_in(old.meta))
            refuse_the_living(path, segments)
            left = Leftovers(old, segments)
            # The commit says which attempt begins, so that its number is never given again, even if it leaves nothing
            # here but journals on other nodes.
            attempt = 1 + max([1, *(source[0] for source in left.sources()), *map(int, old.commits["flags"])])
            kept = dict(old.meta)
        if parts_in(meta) > parts_in(kept):  # more ranks write than did before
            kept |= {name: meta[name] for name in ("part", "parts", "apart")}
        for trouble in troubles:
            logger.warning("resume: %s", trouble)
        log = LogWriter.reopen(partial_of(path), kept)
        try:
            for source, first, last, frames in left.further():
                log.append(source, frames, first, last)
            log.commit(time_ns(), flags=attempt)
        except BaseException:
            log.close()
            raise
        for segment in segments:
            segment.path.unlink(missing_ok=True)
        made = cls(path, {**meta, **kept, "attempt": attempt, "size": meta["size"]}, log, ownership)
        made._undo = not segments
        return made

    def begin(self, attempt: int) -> None:
        """Have an attempt of this number begin in this file: that which it is in another file of the run."""
        self.meta["attempt"] = attempt
        self._log.commit(time_ns(), flags=attempt)

    def append(self, data: memoryview, pieces: Sequence[tuple[Source, int, int, int, int, int | None]]) -> None:
        """Append a block, as :meth:`LogWriter.append_block` does; its frames count from the next commit on."""
        self._log.append_block(data, pieces)

    @property
    def broken(self) -> bool:
        """Whether the log takes nothing more, after an error."""
        return self._log.broken is not None

    def forget(self) -> None:
        """Have what was appended since the last commit never count: the ranks that it came from were not told of it."""
        self._log.forget()

    def commit(self) -> None:
        """Make everything appended count."""
        self._log.commit(time_ns())
        if monotonic() - self._beaten > BEAT_EVERY:
            self._ownership.beat()
            self._beaten = monotonic()

    def close(
        self, limit: float = float("inf"), costs: Mapping[int, Mapping[str, int]] | None = None, rank: int | None = None
    ) -> list[dict[str, Any]]:
        """Make the closed file, and remove the log once it is safe; return what ranks disagreed about.

        Parameters
        ----------
        limit
            Seconds after which to give up.
        costs
            What the capture took, by rank and name, where it is known better than by what the ranks wrote down.
        rank
            The rank that the time of the close itself is told of.

        Raises
        ------
        StorageError
            It could not be written, or not within `limit` seconds; the log stays.
        """
        self._log.close()
        with LogReader(self._log.path) as log:
            graph = closing.close(self.path, log, log.meta, log.summary(), limit=limit, costs=costs, rank=rank)
        closing.remove_log(self.path)
        return list(graph.run.details["disagreements"])

    def abandon_in_child(self) -> None:
        """In a forked child: see that its end, where HDF5 closes what is open, cannot touch the file."""
        turn_away(self._log.descriptor)

    def withdraw(self) -> None:
        """Give up what was claimed for a run that has not begun: nothing is left of a new output, and all of an old."""
        self._log.close()
        if self._undo:
            closing.remove_log(self.path)
        self._ownership.release()

    def let_go(self) -> None:
        """Close what is open and give up the lock."""
        self._log.close()
        self._ownership.release()
