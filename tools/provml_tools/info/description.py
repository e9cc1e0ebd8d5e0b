"""What is in a file, as one dict."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

from provml_hpc.assembly.clocks import corrections
from provml_hpc.assembly.graph import ABSENT, Graph
from provml_tools.info import telemetry
from provml_tools.info.summaries import RUN, Summaries
from provml_tools.query.answer import when
from provml_tools.query.tables import plain

BUSY = 0.005
"""Which part of a run a writer rank may be busy, while all other ranks wait for it."""
_LONG_S = 60.0


def collect(path: str) -> dict[str, Any]:
    """Return all that a file tells, ready for JSON.

    Raises
    ------
    FileMissingError, FormatError
        There is no such file, or it cannot be read.
    """
    from provml_hpc.storage import reader

    with reader.open(path) as file:
        found = describe(file.graph)
        found["status"] = str(file.status)
        commits = file.commits
        found["commits"] = {"count": len(commits)}
        if len(commits):
            last = int(commits["time_ns"][-1])
            found["commits"] |= {"last": when(last), "last_ns": last}
        found["file"] = str(file.path)
        found["files"] = [str(path) for path in file.paths]
        sizes = [_size(path) for path in file.paths]
        found["writers"] = writers(found)
        found["bytes"] = sum(one for one in sizes if one is not None) if any(sizes) else None
        found["damage"] = list(file.damage)
    return found


def writers(found: dict[str, Any]) -> dict[str, Any]:
    """Return how busy a writer rank was at flush points, and how many should write so that none is for too long.

    Parameters
    ----------
    found
        With ``files``, ``ranks``, ``seconds`` and ``cost``, as of :func:`collect`.

    Returns
    -------
    dict
        ``files`` (how many writer ranks there were), ``busy`` (the part of the run in which the busiest of them wrote)
        and ``wanted`` (how many keep that below :data:`BUSY`); as many as there were where the run was too short to
        tell.
    """
    files, seconds = len(found["files"]), found["seconds"] or 0.0
    busy = found["cost"].get("append_ns", {}).get("most", 0.0) / 1e9 / seconds if seconds >= _LONG_S else 0.0
    wanted = min(math.ceil(files * busy / BUSY), found["ranks"])
    return {"files": files, "busy": busy, "wanted": max(files, wanted)}


def _size(path: Path) -> int | None:
    # The log of a run that ends right now gives way to the closed file.
    for one in (path, path.with_suffix("") if path.suffix == ".partial" else path):
        with contextlib.suppress(OSError):
            return one.stat().st_size
    return None


def describe(graph: Graph) -> dict[str, Any]:
    """Return what the graph of a run tells."""
    known = Summaries(graph)
    run, details = graph.run, graph.run.details
    execution: dict[str, Any] = next(
        (row for cls in RUN for row in known.rows(cls) if row["run"] in ("", run.uuid)), {}
    )
    start = run.started_ns if run.started_ns not in (ABSENT, 0) else execution.get("start_ns", ABSENT)
    end = execution.get("end_ns", ABSENT)
    until = end if end != ABSENT else run.committed_ns
    # Reading samples of a million rows is not for one screen: the series sum them up already.
    return {
        "file": run.file,
        "run": run.uuid,
        "name": run.name,
        "phase": run.phase,
        "study": run.study,
        "status": run.status,
        "failures": [_failure(one) for one in details.get("failures", ())],
        "lost": [_failure(one) for one in details.get("lost", ())],
        "started": when(start) if start != ABSENT else None,
        "ended": when(end) if end != ABSENT else None,
        "seconds": (until - start) / 1e9 if ABSENT not in (start, until) else None,
        "who": [row["label"] for cls in ("Persona", "Organization") for row in known.rows(cls)],
        "ranks": len(details.get("ranks", ())) or len({row["rank"] for row in known.rows("Rank")}),
        "nodes": [row["label"] for row in known.rows("ComputeNode")],
        "attempts": [
            {"attempt": row["attempt"], "outcome": row["outcome"], "started": when(row["start_ns"])}
            for row in known.rows("Attempt")
        ],
        "facts": known.facts(execution.get("id")),
        "activities": known.activities(),
        "parameters": known.parameters(),
        "data": known.data(),
        "measures": known.measures(),
        "telemetry": telemetry.collect(graph),
        "rows": {name: len(table) for name, table in graph.nodes.items()}
        | {"samples": sum(table.count for table in (*graph.samples, *graph.telemetry))},
        "dropped": details.get("dropped", []),
        "disagreements": details.get("disagreements", []),
        "clocks": _clocks(graph),
        "cost": {name: _spread(by_rank) for name, by_rank in details.get("cost", {}).items()},
        "written by": run.writer,
    }


def _clocks(graph: Graph) -> dict[str, Any]:
    """Return by how much clocks of ranks are corrected at most, and of how many ranks."""
    by = corrections(graph.clocks)
    most = max((abs(one) for each in by.values() for one in (each.start_offset_ns, each.end_offset_ns)), default=0)
    return {"corrected": len({rank for _, rank in by}), "most_seconds": most / 1e9}


def _failure(one: dict[str, Any]) -> dict[str, Any]:
    return {**one, "time": when(one.get("time_ns"))}


def _spread(by_rank: Any) -> dict[str, Any]:
    numbers = [float(value) for value in by_rank.values()] if isinstance(by_rank, dict) else []
    if not numbers:
        return {}
    return {"mean": sum(numbers) / len(numbers), "most": max(numbers), "ranks": len(numbers)}


def as_json(found: dict[str, Any]) -> str:
    """Return a description as JSON; what is no number in JSON is said as in RDF."""
    return json.dumps(plain(found), ensure_ascii=False, indent=2, allow_nan=False) + "\n"
