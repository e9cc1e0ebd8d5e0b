"""One file from several that hold parts of one run: of several writer ranks, of ranks that did not speak to each other.

The parts are put together by the code that puts together what ranks send under MPI, from the records as they were
logged. So a merged file tells of shared activities, equal declarations, digests and samples as if the ranks had been
gathered while they ran; and what is merged once can be merged again with more.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from provml_hpc import records
from provml_hpc.assembly import FrameSource, Graph, RunInfo
from provml_hpc.errors import FileBusyError, FileMissingError, FormatError, OutputExistsError, UsageError
from provml_hpc.storage import closing
from provml_hpc.storage.joined import ConflictError, Held, Joined, join_commits
from provml_hpc.storage.leftovers import Leftovers, find_segments, journal_folders
from provml_hpc.storage.place import output_of, part_in, partial_of, parts_in
from provml_hpc.storage.run_file import RunFile, RunFiles


@dataclass
class Merged:
    """What a merge made."""

    output: Path
    graph: Graph
    missing: list[int] = field(default_factory=list)
    """Ranks that the last attempt had and no file holds."""

    @property
    def run(self) -> str:
        """The uuid of the run."""
        return self.graph.run.uuid

    @property
    def status(self) -> str:
        """How the run ended, as far as the merged file knows."""
        return self.graph.run.status

    @property
    def ranks(self) -> list[int]:
        """The ranks that it holds."""
        return list(self.graph.run.details.get("ranks", ()))

    @property
    def attempts(self) -> list[int]:
        """The attempts that it holds."""
        return list(self.graph.run.details.get("attempts", ()))


class Part(NamedTuple):
    """One file of the run."""

    name: str
    meta: dict[str, Any]
    frames: FrameSource
    commits: Any
    closed: RunInfo | None
    """What it says of its run, if it is a closed file."""


def merge(
    files: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    progress: Callable[[str, int, int], object] = lambda what, done, total: None,
) -> Merged:
    """Make one file of the files of one run. The files stay as they are.

    The same files give the same bytes, in whatever order they are named. A record that several files hold is taken
    once, so a merged file may be merged again with further ones.

    Parameters
    ----------
    files
        Files of one run: closed ones, or the logs (``NAME.h5.partial``) that dead jobs left, whose journals are read
        too where they are found.
    output
        The file to make, under a name that must be free. It appears when it is whole.
    progress
        Called now and then with what is done (``"reading"`` or ``"writing"``), and how much of how much.

    Raises
    ------
    UsageError
        The files are of different runs, one is named twice, or two say different things of the same rank.
    OutputExistsError
        The output is there already.
    FileBusyError
        A file is that of a job that lives, or of which that cannot be told.
    FormatError
        A file is damaged, or was written without its records.
    """
    path = output_of(output)
    if os.path.lexists(path) or os.path.lexists(partial_of(path)):
        raise OutputExistsError(f"{path} exists already: move it away, or choose another output")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}: make it, or mend the path of the output")
    names = _each_once(files)
    with contextlib.ExitStack() as stack:
        parts = []
        for number, name in enumerate(names, 1):
            parts.append(_open(name, stack))
            progress("reading", number, len(names))
        if not parts:
            raise UsageError("there is nothing to merge: name the files of a run")
        _of_one_run(parts)
        try:
            joined = Joined(Held(part.name, part.frames) for part in parts)
        except ConflictError as error:  # which files belong together is for the user to say
            raise UsageError(str(error)) from error
        # What is said of the run as a whole is that of its first source, whichever file was named first.
        parts.sort(key=lambda part: min(part.frames.sources(), default=(0, 0, 0)))
        meta = {**parts[0].meta, "started_ns": min(int(part.meta.get("started_ns", 0)) for part in parts)}
        ranks = {rank for _, rank, _ in joined.sources()}
        meta["apart"] = len(ranks) == 1 and any(part.meta.get("apart") and parts_in(part.meta) == 1 for part in parts)
        meta |= {"part": None, "parts": None}
        graph = closing.close(
            path, joined, meta, join_commits([part.commits for part in parts]),
            replace=False, recovered=_recovered(parts, joined), progress=lambda done, of: progress("writing", done, of),
        )  # fmt: skip
    details = graph.run.details
    last = max(details.get("attempts", [1]), default=1)
    there = {rank for attempt, rank, lane in joined.sources() if attempt == last and lane == records.RUN_LANE}
    expected = range(0 if meta["apart"] else max(details.get("sizes", [1]), default=1))
    return Merged(path, graph, [rank for rank in expected if rank not in there])


def _each_once(files: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the names of all files of the run: those that were given, and the parts of those that several ranks wrote.

    A part may be given as well as the first file, as by ``NAME*.h5``.
    """
    seen: set[Path] = set()
    for name in files:
        path = output_of(name).resolve()
        if path in seen:
            raise UsageError(f"{name} is given twice: name each file once")
        seen.add(path)
    names = [os.fspath(name) for name in files]
    for name in files:
        with contextlib.closing(_files(os.fspath(name))) as found:
            for path, why in found.missing.items():
                if path.exists() or partial_of(path).exists():
                    raise FormatError(f"{path} {why}: move it away, or bring back the one that belongs to {name}")
            parts = (output_of(file.path) for file in found.files[1:])
            names += [str(path) for path in parts if path.resolve() not in seen]
    return names


def _files(name: str) -> RunFiles:
    try:
        return RunFiles(Path(os.path.abspath(name)))  # noqa: PTH100 - links stay as the user wrote them
    except FileMissingError as error:
        raise FileMissingError(f"{error}; where only journals are left, run provml recover first") from error


def _open(name: str, stack: contextlib.ExitStack) -> Part:
    file = stack.enter_context(contextlib.closing(RunFile(Path(os.path.abspath(name)))))  # noqa: PTH100
    if file.log is None:
        return Part(name, file.meta, file.frames, file.commits, file.closed.run if file.closed else None)
    alive = file.liveness
    if alive.state != "dead":
        raise FileBusyError(
            f"{name}: its job {'lives' if alive.state == 'alive' else 'may live'} ({alive.reason}); "
            "wait for its end, or recover it"
        )
    meta = file.meta
    folders = journal_folders(output_of(file.path), meta)
    segments, _ = find_segments(folders, str(meta["run"]), part_in(meta))
    return Part(name, dict(meta), Leftovers(file.log, segments), file.commits, None)


def _recovered(parts: Sequence[Part], joined: Joined) -> bool:
    """Tell whether a recovery brought in what ranks left that did not come to their end, and all are there."""
    closed = [part.closed for part in parts if part.closed is not None]
    sizes = [size for run in closed for size in run.details.get("sizes", ())]
    last = max((attempt for attempt, _, _ in joined.sources()), default=1)
    ranks = {rank for attempt, rank, lane in joined.sources() if attempt == last and lane == records.RUN_LANE}
    recovered = any(run.status == closing.RECOVERED for run in closed)
    return recovered and len(closed) == len(parts) and len(ranks) >= max(sizes, default=1)


def _of_one_run(parts: list[Part]) -> None:
    first = parts[0]
    for part in parts[1:]:
        if part.meta["run"] != first.meta["run"]:
            raise UsageError(
                f"{first.name} is of run {first.meta['run']} ({first.meta.get('name')}), {part.name} of run "
                f"{part.meta['run']} ({part.meta.get('name')}): merge the files of one run; those of several are asked "
                "together, as in provml query A.h5 B.h5"
            )
