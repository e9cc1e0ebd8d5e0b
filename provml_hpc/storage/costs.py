"""What activities took: time of their ranks, hours of the devices these used, and the energy of those devices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from provml_hpc.assembly.graph import ABSENT, Graph, SampleTable, key_of
from provml_hpc.storage import views
from provml_hpc.storage.record_table import RecordTable

ENERGY, POWER = "energy_J", "power_W"
"""The counters that energy comes from: the device's own counter, else its power, integrated over time."""

_SECOND = 1e9
_Array = np.ndarray[Any, np.dtype[Any]]


class Span(NamedTuple):
    """The time in which one rank took part in an activity, in nanoseconds since the epoch."""

    attempt: int
    rank: int
    start_ns: int
    end_ns: int


class Spent(NamedTuple):
    """What the devices of an activity took; None where no telemetry tells."""

    devices: tuple[str, ...] = ()
    gpu_s: float | None = None
    energy_J: float | None = None  # noqa: N815 - the unit's own letter
    energy_from: str = ""
    """``counter``, ``power`` or ``counter and power``."""
    measured: float | None = None
    """The share of `gpu_s` that the energy is known of, from 0 to 1."""
    slices: int = 0
    """How many of the devices are slices of a GPU, whose energy no counter tells."""


class _Curve(NamedTuple):
    """The energy that a device had taken at the times of its samples, in joules; it may begin anew."""

    time_ns: _Array
    joules: _Array
    source: str

    def between(self, start: int, end: int) -> tuple[float, int]:
        """Return the energy from a start to an end, and how much of that time the samples cover, in nanoseconds."""
        first, last = int(self.time_ns[0]), int(self.time_ns[-1])
        low, high = max(start, first), min(end, last)
        if high <= low:
            return 0.0, 0
        from_joules, to_joules = np.interp((low - first, high - first), self.time_ns - first, self.joules)
        return float(to_joules - from_joules), high - low


class Meter:
    """Reads the telemetry of one run, once, and tells what was spent in any part of it."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        ranks = {row["id"]: (row["attempt"], row["rank"]) for row in views.rows(graph, ["Rank"])}
        labels = {row["id"]: str(row["label"]) for row in views.rows(graph, ["Device"])}
        self._labels = labels
        wholes = {link["subject"] for link in views.links(graph, "isPartOf") if link["object"] in labels}
        self._slices = wholes & labels.keys()
        self._used: dict[tuple[int, int], list[int]] = defaultdict(list)
        for link in views.links(graph, "atLocation"):
            if link["subject"] in ranks and link["object"] in labels:
                self._used[ranks[link["subject"]]].append(link["object"])
        self._curves: dict[tuple[int, int], _Curve] | None = None

    def spent(self, spans: Iterable[Span]) -> Spent:
        """Return what the devices took that these ranks used, each from its first rank's start to its last one's end.

        Ranks that share a device share its time: it counts once.
        """
        times: dict[tuple[int, int], list[Span]] = defaultdict(list)
        for span in spans:
            for device in self._used.get((span.attempt, span.rank), ()):
                times[span.attempt, device].append(span)
        if not times:
            return Spent()
        total = covered = 0
        energy, sources = 0.0, set()
        for (attempt, device), mine in times.items():
            curve = self._curve(attempt, device)
            for start, end in _joined(mine):
                total += end - start
                if curve is not None:
                    joules, known = curve.between(start, end)
                    energy, covered = energy + joules, covered + known
                    if known:
                        sources.add(curve.source)
        devices = {device for _, device in times}
        return Spent(
            tuple(sorted(self._labels[device] for device in devices)),
            total / _SECOND,
            energy if covered else None,
            " and ".join(sorted(sources)),
            covered / total if covered else None,
            len(devices & self._slices),
        )

    def _curve(self, attempt: int, device: int) -> _Curve | None:
        if self._curves is None:
            self._curves = {}
            for table in self._graph.telemetry:
                if table.place in self._labels:
                    for turn, curve in _curves(table):
                        known = self._curves.get((turn, table.place))
                        # A device that two samplers saw, or with two sets of counters: the longer record counts.
                        if known is None or np.ptp(curve.time_ns) > np.ptp(known.time_ns):
                            self._curves[turn, table.place] = curve
        return self._curves.get((attempt, device))


def _joined(spans: list[Span]) -> Iterator[tuple[int, int]]:
    """Yield the times that are in any of some spans, each once."""
    start = end = None
    for span in sorted(spans, key=lambda span: span.start_ns):
        if start is None or end is None:
            start, end = span.start_ns, span.end_ns
        elif span.start_ns <= end:
            end = max(end, span.end_ns)
        else:
            yield start, end
            start, end = span.start_ns, span.end_ns
    if start is not None and end is not None:
        yield start, end


def _curves(table: SampleTable) -> Iterator[tuple[int, _Curve]]:
    """Yield the energy of each attempt of a device."""
    counter = next((name for name in (ENERGY, POWER) if name in table.measures), None)
    if counter is None:
        return
    columns = table.read(0, table.count)
    values, times, attempts = columns[key_of(counter)], columns["time_ns"], columns["attempt"]
    for attempt in np.unique(attempts).tolist():
        mine = (attempts == attempt) & np.isfinite(values)
        order = np.argsort(times[mine], kind="stable")
        time, value = times[mine][order], values[mine][order]
        if len(time) < 2:
            continue
        if counter == ENERGY:
            # A counter that was set to zero, by a reload of the driver, goes on from where it was.
            steps = np.maximum(np.diff(value), 0)
        else:
            steps = np.diff(time) / _SECOND * (value[1:] + value[:-1]) / 2
        joules = np.concatenate(([0.0], np.cumsum(steps)))
        yield attempt, _Curve(time, joules, "counter" if counter == ENERGY else "power")


def last_ns(graph: Graph, attempt: int) -> int:
    """Return when the last was said in an attempt, in nanoseconds since the epoch; ABSENT where nothing tells."""
    ends = graph.run.details.get("ends")
    last = ends.get(str(attempt)) if isinstance(ends, dict) else None
    return last if isinstance(last, int) else graph.run.committed_ns


def spans(graph: Graph) -> dict[int, list[Span]]:
    """Return the parts that ranks had in each activity, by the activity's id.

    What has no end counts up to the last that any rank said in its attempt.
    """
    parent = views.parents(graph)
    attempts = {row["id"] for row in views.rows(graph, ["Attempt"])}
    found: dict[int, list[Span]] = defaultdict(list)
    for row in views.rows(graph, ["RankExecution"]):
        end = row["end_ns"] if row["end_ns"] is not None else last_ns(graph, row["attempt"] or 1)
        if row["start_ns"] is None or end == ABSENT:
            continue
        span = Span(row["attempt"] or 1, row["rank"], row["start_ns"], max(end, row["start_ns"]))
        whole = parent.get(row["id"])
        if whole is not None:
            found[whole].append(span)
            if whole in attempts and whole in parent:  # the run is what its attempts are
                found[parent[whole]].append(span)
    ranks = {row["id"]: (row["attempt"] or 1, row["rank"]) for row in views.rows(graph, ["Rank"])}
    own = {
        link["subject"]: ranks[link["object"]]
        for link in views.links(graph, "wasAssociatedWith")
        if link["object"] in ranks
    }
    for row in views.rows(graph, views.activity_classes(graph)):
        if row["id"] in own and row["id"] not in found and row["start_ns"] is not None:
            end = row["end_ns"] if row["end_ns"] is not None else last_ns(graph, own[row["id"]][0])
            if end != ABSENT:
                found[row["id"]].append(Span(*own[row["id"]], row["start_ns"], max(end, row["start_ns"])))
    return found


def costs(graph: Graph) -> RecordTable:
    """Return what each activity took; see :meth:`provml_hpc.storage.reader.Reader.costs`."""
    meter, parts = Meter(graph), spans(graph)
    columns: dict[str, list[Any]] = defaultdict(list)
    for row in views.activities(graph):
        mine = parts.get(row.id, [])
        spent = meter.spent(mine)
        by_attempt: dict[int, list[Span]] = defaultdict(list)
        for span in mine:
            by_attempt[span.attempt].append(span)
        # Between two attempts nothing was spent.
        wall = sum(max(s.end_ns for s in each) - min(s.start_ns for s in each) for each in by_attempt.values())
        said = {
            "id": row.id,
            "uuid": row.uuid,
            "kind": row.kind,
            "name": row.name,
            "wall_s": wall / _SECOND if mine else None,
            "rank_s": sum(span.end_ns - span.start_ns for span in mine) / _SECOND if mine else None,
            "devices": list(spent.devices),
            "gpu_s": spent.gpu_s,
            "energy_J": spent.energy_J,
            "energy_from": spent.energy_from or None,
            "measured": spent.measured,
        }
        for name, value in said.items():
            columns[name].append(value)
    return RecordTable("costs", columns)
