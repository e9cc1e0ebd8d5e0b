"""What trainings cost, beside what they reached."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from provml_hpc.assembly.graph import ABSENT, Graph
from provml_hpc.storage.costs import Meter, Span, Spent, last_ns
from provml_tools.query.answer import Answer, Options, when
from provml_tools.query.engine import Engine, Iri, Row
from provml_tools.query.named import NamedQuery, find
from provml_tools.query.trainings import rank_trainings

HOUR = 3600e9
"""Nanoseconds."""
_WHOLE = 0.95
"""The share of GPU hours from which on their energy counts as known."""


def cost(engine: Engine, query: NamedQuery, options: Options) -> Answer:
    """Return wall time, rank hours, GPU hours and energy of each training, best first by the measure it reached.

    GPU hours and energy come from the telemetry in the HDF5 files; where there is none they are unknown, not zero.
    """
    ranking = rank_trainings(engine, find("compare-trainings"), options)
    parts: dict[str, list[Row]] = defaultdict(list)
    for row in engine.select(query.bind(options.values)):
        parts[str(row["training"])].append(row)
    measure = [ranking.best] if ranking.best else []
    spent, told = ["wall s", "rank hours", "GPU hours", "energy Wh"], ["energy from", "measured", "devices"]
    rows: list[dict[str, Any]] = []
    running = 0
    meters = _Meters(engine)
    for one in ranking.trainings:
        found = meters.until_last(one.iri, parts[one.iri])
        running += any(row["finished"] is None for row in found)
        taken = meters.spent(one.iri, found)
        rows.append(
            {
                "training": one.name,
                "experiment": ", ".join(one.experiments),
                "study": ", ".join(one.studies),
                **{name: ranking.values(one).get(name) for name in measure},
                **_times(found),
                "GPU hours": None if taken.gpu_s is None else taken.gpu_s / 3600,
                "energy Wh": None if taken.energy_J is None else taken.energy_J / 3600,
                "energy from": taken.energy_from or None,
                "measured": taken.measured,
                "devices": ", ".join(taken.devices),
                "outcome": one.outcome,
                "ranks": one.ranks,
                "started": when(one.started),
                "iri": Iri(one.iri),
            }
        )
    columns = ["training", "experiment", "study", *measure, *spent, *told, "outcome", "ranks", "started", "iri"]
    columns = list(dict.fromkeys(columns))  # a measure may have the name of one of ours
    answer = Answer(columns, rows, query.title, shown=["training", "experiment", *measure, *spent])
    if len({row["study"] for row in rows}) > 1:
        answer.shown.insert(2, "study")
    if any(row["outcome"] not in ("completed", "") for row in rows):
        answer.shown.insert(2, "outcome")
    if rows and (ranking.best is None or len(rows) > 1):
        answer.notes.append(ranking.note)
    if running:
        answer.notes.append(
            f"{running} of them did not end: what is open is counted up to the last that its file tells of"
        )
    answer.notes += _remarks(rows, meters)
    return answer


class _Meters:
    """Finds the telemetry of each training: in the file that has it, which is read only when it is asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._of: dict[str, tuple[Graph, Meter]] | None = None
        self.slices = 0

    def until_last(self, training: str, rows: list[Row]) -> list[Row]:
        """Return the parts of a training, with the last of their attempt in place of the last commit of the file."""
        known = self._find().get(training[-36:]) if any(row["ended"] is None for row in rows) else None
        if known is None:
            return rows
        found = []
        for row in rows:
            last = last_ns(known[0], row["attempt"] if isinstance(row["attempt"], int) else 1)
            found.append(row if last == ABSENT else {**row, "until": last})
        return found

    def spent(self, training: str, rows: list[Row]) -> Spent:
        """Return what the devices took that the ranks of a training used."""
        known = self._find().get(training[-36:])
        if known is None:
            return Spent()
        found = known[1].spent(_spans(rows))
        self.slices += found.slices
        return found

    def _find(self) -> dict[str, tuple[Graph, Meter]]:
        if self._of is None:
            self._of = {}
            for graph in self._engine.graphs:
                trainings = graph.nodes.get("TrainingExecution")
                if trainings is not None:
                    self._of |= dict.fromkeys(map(str, trainings.columns["uuid"]), (graph, Meter(graph)))
        return self._of


def _spans(rows: list[Row]) -> list[Span]:
    found = set()
    for row in rows:
        length = _length(row["started"], row["ended"], row["until"])
        if length is not None and isinstance(row["rank"], int) and isinstance(row["started"], int):
            attempt = row["attempt"] if isinstance(row["attempt"], int) else 1
            found.add(Span(attempt, row["rank"], row["started"], row["started"] + length))
    return sorted(found)


def _remarks(rows: list[dict[str, Any]], meters: _Meters) -> list[str]:
    """Return what a person should know of the numbers: what is unknown, and how the others came about."""
    notes = []
    no_hours = sum(row["GPU hours"] is None for row in rows)
    no_energy = sum(row["energy Wh"] is None for row in rows) - no_hours
    if no_hours:
        why = "no telemetry tells of a device that their ranks used"
        notes.append(f"GPU hours and energy of {no_hours} of {len(rows)} are unknown: {why}")
    if no_energy:
        notes.append(f"the energy of {no_energy} more is unknown: their devices have no counter of energy or power")
    integrated = sum("power" in str(row["energy from"] or "") for row in rows)
    if integrated:
        notes.append(f"the energy of {integrated} is power integrated over time: their devices have no counter of it")
    partly = [row["measured"] for row in rows if row["measured"] is not None and row["measured"] < _WHOLE]
    if partly:
        share = f"{min(partly):.0%}"
        notes.append(f"the energy of {len(partly)} is known of a part of their GPU hours only, {share} at the least")
    if meters.slices:
        notes.append(
            "an hour of a slice of a GPU (MIG) counts as an hour; the energy of a slice is not told by its GPU"
        )
    return notes


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
