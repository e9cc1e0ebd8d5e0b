"""From the frames of all ranks to one PROV-ML graph. What PROV-ML means is decided here, and nowhere else.

`frames` makes records and arrays of bytes, and `clocks` puts their times on one clock. `activities` and `entities`
(`versions`, `collections`) find what several ranks mean as one; `statements`, `code`, `series` and `telemetry` say
all else of them. `builder` collects it into a `graph`.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping

from provml_hpc import records
from provml_hpc.assembly.activities import Activities
from provml_hpc.assembly.builder import Builder
from provml_hpc.assembly.clocks import Measured, corrections
from provml_hpc.assembly.entities import Entities
from provml_hpc.assembly.frames import FrameSource, Stream, read
from provml_hpc.assembly.graph import Graph, RunInfo
from provml_hpc.assembly.series import Series
from provml_hpc.assembly.statements import Statements
from provml_hpc.assembly.telemetry import Telemetry

__all__ = ["FrameSource", "Graph", "RunInfo", "assemble"]


def assemble(frames: FrameSource, run: RunInfo, costs: Mapping[int, Mapping[str, int]] | None = None) -> Graph:
    """Merge what all ranks said into one graph.

    Structure is held in memory; samples are counted now and read, a stretch at a time, when somebody asks for them.

    Parameters
    ----------
    frames
        The frames of all sources; they must stay readable as long as the samples are wanted.
    run
        What is known of the run already. Its `details` are filled in: ``failures``, ``lost``, ``silent`` (ranks
        of the last attempt of which no end is known), ``disagreements``, ``dropped``, ``cost``, ``ranks``.
    costs
        What the capture took in the last attempt, by rank and name, where it is known better than by what the ranks
        wrote down.
    """
    collecting = gc.isenabled()
    gc.disable()  # millions of objects that all stay: searching them for garbage costs more than making them
    try:
        return _assemble(frames, run, costs or {})
    finally:
        if collecting:
            gc.enable()


def _assemble(frames: FrameSource, run: RunInfo, costs: Mapping[int, Mapping[str, int]]) -> Graph:
    sources = sorted(records.Source(*source) for source in frames.sources())
    streams = _with_clocks(frames, [read(frames, source) for source in sources], run)
    measured, streams = _on_one_clock(streams)
    builder = Builder()
    if not any(stream.source.lane == records.RUN_LANE for stream in streams):
        return Graph(run, {}, {}, [])
    activities = Activities(run, builder, streams)
    entities = Entities(run, builder, activities, streams)
    statements = Statements(run, builder, activities, entities, streams)
    telemetry = Telemetry(run, builder, streams)
    series = Series(run, frames, builder, activities, telemetry, streams)
    nodes, relations, ids = builder.tables()
    last = max(stream.source.attempt for stream in streams)
    for rank, spent in costs.items():
        for name, value in spent.items():
            statements.costs[name][rank][last] = float(value)
    damaged = sum(stream.damaged for stream in streams)
    run.details |= {
        "failures": activities.failures,
        "lost": activities.lost,
        "silent": sorted(activities.silent[max(activities.silent)]),
        "disagreements": activities.disagreements + statements.disagreements,
        "dropped": list(statements.drops.values()),
        "cost": {
            name: {rank: sum(told.values()) for rank, told in sorted(by_rank.items())}
            for name, by_rank in statements.costs.items()
        },
        "ranks": sorted({stream.source.rank for stream in streams}),
        "sizes": sorted({stream.start.size for stream in streams if stream.source.lane == records.RUN_LANE}),
        "attempts": sorted({stream.source.attempt for stream in streams}),
        "damaged": {"records": damaged, "samples": series.unplaced},
        "last_ns": max(stream.last_ns for stream in streams),
        "ends": _ends(streams),
    }
    if run.parts > 1:
        run.details["parts"] = min(run.parts, max(stream.start.parts for stream in streams))
    return Graph(run, nodes, relations, series.tables(ids), series.telemetry_tables(ids), measured)


def _on_one_clock(streams: list[Stream]) -> tuple[list[Measured], list[Stream]]:
    """Return what was measured of the clocks, and the streams with all times on that of the writer rank."""
    measured = [
        Measured(*stream.source[:2], at, record.offset_ns, record.uncertainty_ns)
        for stream in streams
        for _, at, record in stream.records
        if isinstance(record, records.Clock)
    ]
    by = corrections(measured)
    return measured, [stream.corrected(by.get(stream.source[:2])) for stream in streams]


def _ends(streams: list[Stream]) -> dict[str, int]:
    """Return when the last was said in each attempt; an attempt that was killed has no other end."""
    found: dict[str, int] = {}
    for stream in streams:
        attempt = str(stream.source.attempt)  # as it comes back from JSON
        found[attempt] = max(found.get(attempt, stream.last_ns), stream.last_ns)
    return found


def _with_clocks(frames: FrameSource, streams: list[Stream], run: RunInfo) -> list[Stream]:
    """Give those a clock whose first record, which has it, is lost: that of the rank's other lane, or a likely one."""
    known = {stream.source[:2]: stream.start.clock_to_wall_ns for stream in streams if stream.start.size}
    mended = []
    for stream in streams:
        if not stream.start.size and (stream.records or stream.summaries):
            likely = max(run.started_ns, 0) - stream.started_ns
            stream = read(frames, stream.source, known.get(stream.source[:2], likely))
        if stream.records:
            mended.append(stream)
    return mended
