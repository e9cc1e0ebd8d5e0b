"""What trainings cost, beside what they reached."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from provml_tools.query.answer import Answer, Options, when
from provml_tools.query.engine import Engine, Iri, Row
from provml_tools.query.named import NamedQuery, find
from provml_tools.query.trainings import rank_trainings

HOUR = 3600e9
"""Nanoseconds."""


def cost(engine: Engine, query: NamedQuery, options: Options) -> Answer:
    """Return wall time, rank hours, GPU hours and energy of each training, best first by the measure it reached.

    GPU hours and energy come from the telemetry in the HDF5 files; where there is none they are unknown, not zero.
    """
    ranking = rank_trainings(engine, find("compare-trainings"), options)
    parts: dict[str, list[Row]] = defaultdict(list)
    for row in engine.select(query.bind(options.values)):
        parts[str(row["training"])].append(row)
    measure = [ranking.best] if ranking.best else []
    spent = ["wall s", "rank hours", "GPU hours", "energy Wh"]
    rows: list[dict[str, Any]] = []
    running = 0
    for one in ranking.trainings:
        found = parts[one.iri]
        running += any(row["finished"] is None for row in found)
        rows.append(
            {
                "training": one.name,
                "experiment": ", ".join(one.experiments),
                "study": ", ".join(one.studies),
                **{name: ranking.values(one).get(name) for name in measure},
                **_times(found),
                "GPU hours": None,
                "energy Wh": None,
                "outcome": one.outcome,
                "ranks": one.ranks,
                "started": when(one.started),
                "iri": Iri(one.iri),
            }
        )
    columns = ["training", "experiment", "study", *measure, *spent, "outcome", "ranks", "started", "iri"]
    answer = Answer(columns, rows, query.title, shown=["training", "experiment", *measure, *spent])
    if len({row["study"] for row in rows}) > 1:
        answer.shown.insert(2, "study")
    if any(row["outcome"] not in ("completed", "") for row in rows):
        answer.shown.insert(2, "outcome")
    if rows and (ranking.best is None or len(rows) > 1):
        answer.notes.append(ranking.note)
    if running:
        answer.notes.append(f"{running} of them did not end: what is open is counted up to the last commit of its file")
    unknown = sum(row["GPU hours"] is None for row in rows)
    if unknown:
        answer.notes.append(f"GPU hours and energy of {unknown} of {len(rows)} are unknown: no telemetry was recorded")
    return answer


def _times(rows: list[Row]) -> dict[str, float | None]:
    """Return the wall time of a training and the hours of all its ranks together; None where no end is known."""
    if not rows:
        return {"wall s": None, "rank hours": None}
    first = rows[0]
    wall = _length(first["began"], first["finished"], first["until"])
    each = {
        (row["rank"], row["attempt"], row["started"]): _length(row["started"], row["ended"], row["until"])
        for row in rows
        if row["rank"] is not None
    }
    known = [length for length in each.values() if length is not None]
    return {
        "wall s": None if wall is None else wall / 1e9,
        "rank hours": sum(known) / HOUR if known else None,
    }


def _length(start: Any, end: Any, until: Any) -> int | None:
    """Return the nanoseconds from a start to an end, or to the last commit where there is no end."""
    last = end if isinstance(end, int) else until
    return max(last - start, 0) if isinstance(start, int) and isinstance(last, int) else None
