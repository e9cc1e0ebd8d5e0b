"""Bring what a dead job left into its closed file: each record that survived, once, however often it is tried."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from provml_hpc.errors import (
    FileBusyError,
    FileMissingError,
    FormatError,
    OutputExistsError,
    StorageError,
)
from provml_hpc.journal import DeadSegment
from provml_hpc.records import Source
from provml_hpc.storage import closing
from provml_hpc.storage.kept import last_sequences
from provml_hpc.storage.leftovers import (
    Found,
    Leftovers,
    find_segments,
    is_closed,
    journal_folders,
    refuse_the_living,
    remove_unfinished,
)
from provml_hpc.storage.log_format import COMMIT_ROW
from provml_hpc.storage.log_reader import LogReader
from provml_hpc.storage.owner import recovering
from provml_hpc.storage.place import hidden_of, output_of, part_in, part_of, partial_of, parts_in, run_of
from provml_hpc.storage.reopened import half_reopened, reopen
from provml_hpc.storage.run_file import RunFile
from provml_hpc.storage.tables import TablesFile, read_attributes


@dataclass
class Recovery:
    """What a recovery found and did."""

    output: Path
    run: str
    status: str
    sources: list[Found] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    done: bool = True
    """False for a dry run, and where there was nothing to do."""

    @property
    def taken(self) -> int:
        """Records that only journals had."""
        return sum(found.taken for found in self.sources)


def recover(
    path: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    force: bool = False,
    journals: Iterable[str | os.PathLike[str]] = (),
) -> Recovery:
    """Make the closed file of a job that died.

    May be repeated, and may itself be killed: the log and the journals are removed only when the closed file has its
    name.

    Parameters
    ----------
    path
        ``NAME.h5`` or ``NAME.h5.partial``.
    dry_run
        Only say what would be done.
    force
        Go on where it cannot be told whether the job lives.
    journals
        Further folders that hold journals, for example copies of node-local ones.

    Raises
    ------
    FileBusyError
        The job, or another recovery, is alive.
    FileMissingError
        Nothing of that name was left.
    FormatError
        What was left cannot be read.
    """
    output = output_of(path)
    hidden, given = hidden_of(output), list(map(Path, journals))
    if not partial_of(output).exists() and not _has_journals([hidden, *given]):
        if output.exists():
            told = _told(output)
            if hidden.is_dir() and not dry_run:
                with contextlib.suppress(FileBusyError, StorageError), recovering(output, force=True):
                    remove_unfinished(output)  # and on leaving, the lock and the folder
            return Recovery(output, *told, done=False)
        raise FileMissingError(
            f"{output}: there is neither this file, nor {partial_of(output).name}, nor journals; check the name"
        )
    with recovering(output, force=force or is_closed(output)), contextlib.ExitStack() as stack:
        if half_reopened(output):
            if dry_run:
                return Recovery(output, *_told(output), done=False)
            closing.remove_log(output)
        log = stack.enter_context(LogReader(partial_of(output))) if partial_of(output).exists() else None
        meta, segments, troubles = _gather(output, log, given)
        refuse_the_living(output, segments)
        left = Leftovers(log, segments)
        whole = output.exists() and _holds(output, meta, left)
        if log is None and output.exists() and not whole and not dry_run:
            # Journals that were not there when it was closed, from other nodes for example.
            reopen(output)
            log = stack.enter_context(LogReader(partial_of(output)))
            meta, left = dict(log.meta), Leftovers(log, segments)
        result = Recovery(output, run_of(meta, output), "", list(left.found.values()), troubles)
        if whole:
            result.status = _told(output)[1]
            result.done = not dry_run
        elif dry_run:
            result.done = False
        else:
            commits: Any = log.summary() if log is not None else np.empty(0, COMMIT_ROW)
            result.status = closing.close(output, left, meta, commits, recovered=True).run.status
        if log is not None:
            result.damage += log.damage
        if not dry_run:
            closing.remove_log(output)
            remove_unfinished(output)
            for segment in segments:
                segment.path.unlink(missing_ok=True)
    return result


def outputs_of(path: str | os.PathLike[str], journals: Iterable[str | os.PathLike[str]] = ()) -> list[Path]:
    """Return the files that a recovery of an output has to look at: itself, and further ones that its run wrote.

    Parameters
    ----------
    path
        ``NAME.h5`` or ``NAME.h5.partial``.
    journals
        Further folders that hold journals, which may be all that there is of a file.
    """
    output, given = output_of(path), list(map(Path, journals))
    first: Mapping[str, Any] = {}
    with contextlib.suppress(FileMissingError, FormatError), contextlib.closing(RunFile(output)) as file:
        first = file.meta
    told = [segment.description for segment in find_segments([hidden_of(output)], None, None, given=given)[0]]
    told = [one for one in told if first.get("run") in (None, one.get("run")) and _first_of(one).name == output.name]
    found = [output]
    count = 1 if part_in(first) else max(map(parts_in, (first, *told)))
    for number in range(1, count):
        further = part_of(output, number)
        with contextlib.suppress(FileMissingError, FormatError), contextlib.closing(RunFile(further)) as file:
            if (file.meta.get("run"), part_in(file.meta)) == (first.get("run", file.meta.get("run")), number):
                found.append(further)
            continue
        # A file that cannot be read has to be told of, and there may be no more of it than its journals.
        there = os.path.lexists(further) or os.path.lexists(partial_of(further)) or hidden_of(further).is_dir()
        if there or any(part_in(one) == number for one in told):
            found.append(further)
    return found


def _first_of(description: Mapping[str, Any]) -> Path:
    """Return the output of the run that a journal says that it is of."""
    return Path(str(description.get("output") or "unknown"))


def _told(output: Path) -> tuple[str, str]:
    attributes = read_attributes(output)
    return str(attributes.get("run")), str(attributes.get("status"))


def _has_journals(folders: list[Path]) -> bool:
    return any(folder.is_dir() and any(folder.glob("*.journal")) for folder in folders)


def _gather(
    output: Path, log: LogReader | None, given: list[Path]
) -> tuple[dict[str, Any], list[DeadSegment], list[str]]:
    meta: dict[str, Any] | None = None
    folders = [hidden_of(output)]
    if log is not None:
        meta = dict(log.meta)
        folders = journal_folders(output, meta)
    elif output.exists():
        attributes = read_attributes(output)
        meta = {"run": str(attributes.get("run")), "part": attributes.get("part")}
    if meta is not None:
        return meta, *find_segments(folders, run_of(meta, output), part_in(meta), given=given)
    segments, troubles = find_segments(folders, None, None, given=given)
    if any(parts_in(segment.description) > 1 for segment in segments):  # those of all files may lie in one folder
        segments = [segment for segment in segments if _is_of(segment, output)]
    if not segments and not troubles:
        raise FileMissingError(
            f"{output}: there is neither this file, nor {partial_of(output).name}, nor journals of it; check the name"
        )
    runs = {str(segment.description.get("run")) for segment in segments}
    if len(runs) != 1:
        raise FormatError(
            f"{output}: its journals are of {len(runs)} runs or damaged ({'; '.join(troubles)}); "
            "keep those of one run only"
        )
    return dict(segments[0].description), segments, troubles


def _is_of(segment: DeadSegment, output: Path) -> bool:
    """Tell whether a journal is of a rank that sent to whoever wrote this file."""
    return part_of(_first_of(segment.description), part_in(segment.description)).name == output.name


def _holds(output: Path, meta: dict[str, Any], left: Leftovers) -> bool:
    """Tell whether the closed file holds all that was left: the job then died while it removed the rest.

    A resumed run has a closed file of its earlier attempts beside its log; that one does not.
    """
    if closing.closed_run(output) != str(meta["run"]):
        raise OutputExistsError(f"{output} is there and is not of this run; move it away, then recover again")
    with TablesFile(output) as closed, closed.guarded():
        lasts = last_sequences(closed.file)
    return all(left.last(source) <= lasts.get(Source(*source), 0) for source in left.sources())
