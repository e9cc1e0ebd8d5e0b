"""From frames to the closed file: what the end of a run and a recovery share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from provml_hpc.assembly import FrameSource, Graph, RunInfo, assemble
from provml_hpc.errors import ProvMLError, StorageError
from provml_hpc.storage.columns import CHUNK
from provml_hpc.storage.kept import keep_records
from provml_hpc.storage.place import part_in, partial_of, parts_in, publish, run_of, scratch_of
from provml_hpc.storage.tables import read_attributes, write_file

FINISHED, FAILED, INCOMPLETE, RECOVERED, RUNNING = "finished", "failed", "incomplete", "recovered", "running"


def run_info(meta: dict[str, Any], file: Path) -> RunInfo:
    """Return what the log or a journal says of its run."""
    return RunInfo(
        uuid=run_of(meta, file),
        name=str(meta.get("name", "")),
        phase=str(meta.get("phase", "")),
        study=str(meta.get("study", "")),
        authority=str(meta.get("authority", "localhost")),
        started_ns=_time(meta.get("started_ns")),
        writer=str(meta.get("writer", "")),
        file=file.name,
        apart=bool(meta.get("apart", False)),
        part=part_in(meta),
        parts=parts_in(meta),
    )


def run_meta(run: RunInfo) -> dict[str, str | int | float | bool | None]:
    """Return what a log is to say of a run that a closed file told of: :func:`run_info` the other way round."""
    return {
        "run": run.uuid,
        "name": run.name,
        "phase": run.phase,
        "study": run.study,
        "authority": run.authority,
        "started_ns": run.started_ns,
        "writer": run.writer,
        "apart": True if run.apart else None,
        "part": run.part if run.part or run.parts > 1 else None,
        "parts": run.parts if run.parts > 1 else None,
    }


def _time(value: Any) -> int:
    return value if isinstance(value, int) and abs(value) < 2**62 else 0


def ended_as(graph: Graph) -> str:
    """Return how the run ended, going by what its ranks said at their ends: finished, failed or incomplete.

    Where ranks died and the others went on and finished, it is recovered: if all that they left was brought in.
    """
    details = graph.run.details
    last = max(details.get("attempts", [1]), default=1)
    if any(failure["attempt"] == last for failure in details.get("failures", ())):
        return FAILED
    adopted = {one["rank"] for one in details.get("lost", ()) if one["attempt"] == last and one["adopted"]}
    silent = set(details.get("silent", ()))
    if silent:
        return RECOVERED if silent <= adopted else INCOMPLETE
    attempts = graph.nodes["Attempt"].rows() if "Attempt" in graph.nodes else ()
    outcomes = {row["outcome"] for row in attempts if row["attempt"] == last}
    return FINISHED if outcomes == {"completed"} else INCOMPLETE


def closed_run(output: Path) -> str | None:
    """Return the run that a closed file is of; empty if something else has the name, None if it is free."""
    if not os.path.lexists(output):
        return None
    try:
        return str(read_attributes(output).get("run", ""))
    except ProvMLError:
        return ""


def close(
    output: Path,
    frames: FrameSource,
    meta: dict[str, Any],
    commits: Any,
    *,
    recovered: bool = False,
    replace: bool = True,
    limit: float = float("inf"),
    costs: Mapping[int, Mapping[str, int]] | None = None,
    rank: int | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Graph:
    """Write the closed file of a run and give it its name.

    Parameters
    ----------
    output
        ``NAME.h5``, which must be free or hold earlier attempts of the same run.
    frames
        All frames of the run.
    meta
        What the log says of the run.
    commits
        The commits of the log, for their table.
    recovered
        Whether a recovery does this: what would be incomplete is then recovered.
    replace
        Whether a file of earlier attempts of the same run is replaced.
    limit
        Seconds after which to give up and leave it to a recovery.
    costs
        What the capture took in this attempt, by rank and name, as the ranks told it last.
    rank
        The rank that the time of this close is told of.
    progress
        Called with how much of how much is written, now and then.

    Raises
    ------
    OutputExistsError
        The name is taken.
    StorageError
        The file could not be written, or not in time; what it was to be made from is untouched.
    """
    began = monotonic()
    until = began + limit

    done = 0

    def check() -> None:
        nonlocal done
        progress(done := done + 1, steps)
        if monotonic() > until:
            raise StorageError(f"{output} could not be closed within {limit:.0f} s: recover it after the job")

    graph = assemble(frames, run_info(meta, output), costs)
    steps = len(graph.nodes) + len(graph.relations) + sum(-(-table.count // CHUNK) for table in graph.samples)
    if len(commits):
        graph.run.committed_ns = int(commits["time_ns"][-1])
    status = ended_as(graph)
    graph.run.status = RECOVERED if recovered and status == INCOMPLETE else status
    cost = graph.run.details.setdefault("cost", {})

    def more(file: Any) -> None:
        keep_records(file, frames)
        if rank is not None:  # all but the sync and the name
            cost.setdefault("close_ns", {})[rank] = float(int((monotonic() - began) * 1e9))

    temporary = scratch_of(output)
    try:
        write_file(temporary, graph, commits, check=check, more=more)
        if replace and closed_run(output) == graph.run.uuid:
            temporary.replace(output)  # the file of its own earlier attempts, which this one holds too
        else:
            publish(temporary, output)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return graph


def remove_log(output: Path) -> None:
    """Remove the log of a run whose closed file is safe."""
    partial_of(output).unlink(missing_ok=True)
