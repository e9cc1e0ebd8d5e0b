"""Bring what a dead job left into its closed file: each record that survived, once, however often it is tried."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from provml_hpc.errors import FileMissingError, FormatError, OutputExistsError
from provml_hpc.journal import DeadSegment
from provml_hpc.storage import closing
from provml_hpc.storage.leftovers import Found, Leftovers, find_segments, journal_folders
from provml_hpc.storage.log_reader import LogReader
from provml_hpc.storage.owner import recovering
from provml_hpc.storage.place import hidden_of, output_of, partial_of
from provml_hpc.storage.tables import read_attributes


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
    folders = [hidden_of(output), *map(Path, journals)]
    if not partial_of(output).exists() and not _has_journals(folders):
        if output.exists():
            return Recovery(
                output, str(read_attributes(output)["run"]), str(read_attributes(output)["status"]), done=False
            )
        raise FileMissingError(
            f"{output}: there is neither this file, nor {partial_of(output).name}, nor journals; check the name"
        )
    with recovering(output, force=force), contextlib.ExitStack() as stack:
        log = stack.enter_context(LogReader(partial_of(output))) if partial_of(output).exists() else None
        meta, segments, troubles = _gather(output, log, folders)
        left = Leftovers(log, segments)
        result = Recovery(output, str(meta["run"]), "", list(left.found.values()), troubles)
        if output.exists() and _is_complete(output, meta, left):
            result.status = str(read_attributes(output).get("status", ""))
            result.done = not dry_run
        elif dry_run:
            result.done = False
        else:
            commits: Any = log.commits if log is not None else np.empty(0)
            result.status = closing.close(output, left, meta, commits, recovered=True).run.status
        if log is not None:
            result.damage += log.damage
        if not dry_run:
            closing.remove_log(output)
            for segment in segments:
                segment.path.unlink(missing_ok=True)
    return result


def _has_journals(folders: list[Path]) -> bool:
    return any(folder.is_dir() and any(folder.glob("*.journal")) for folder in folders)


def _gather(
    output: Path, log: LogReader | None, folders: list[Path]
) -> tuple[dict[str, Any], list[DeadSegment], list[str]]:
    run = None
    if log is not None:
        run = str(log.meta["run"])
        folders = [*folders, *journal_folders(output, log.meta)]
    segments, troubles = find_segments(folders, run)
    if log is not None:
        return dict(log.meta), segments, troubles
    runs = {str(segment.description.get("run")) for segment in segments}
    if len(runs) != 1 or "None" in runs:
        raise FormatError(
            f"{output}: its journals are of {len(runs)} runs or damaged ({'; '.join(troubles)}); "
            "keep those of one run only"
        )
    return dict(segments[0].description), segments, troubles


def _is_complete(output: Path, meta: dict[str, Any], left: Leftovers) -> bool:
    """Tell whether the closed file holds all that was left: the job then died while it removed the rest.

    A resumed run has a closed file of its earlier attempts beside its log; that one is not complete.
    """
    attributes = read_attributes(output)
    if str(attributes.get("run")) != str(meta["run"]):
        raise OutputExistsError(f"{output} is there and belongs to another run; move it away, then recover again")
    last = max((source[0] for source in left.sources()), default=0)
    return max(attributes["details"].get("attempts", [1]), default=1) >= last
