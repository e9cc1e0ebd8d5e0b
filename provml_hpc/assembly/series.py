"""Samples: which rows of which sources make one table, and how to read a stretch of it without reading all."""

from __future__ import annotations

import json
from collections import OrderedDict
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from provml_hpc import identity, records
from provml_hpc.assembly.activities import Activities
from provml_hpc.assembly.builder import Builder
from provml_hpc.assembly.frames import FrameSource, Split, Stream, samples, split
from provml_hpc.assembly.graph import ABSENT, FIXED_COLUMNS, RunInfo, SampleTable, key_of
from provml_hpc.assembly.telemetry import Place, Telemetry, counters

_Array = np.ndarray[Any, np.dtype[Any]]


class _Stretch(NamedTuple):
    """Rows of a table that lie together: one layout of one block of one source."""

    first: int
    rows: int
    source: records.Source
    block: int
    layout: int
    order: tuple[int, ...]


class _Figures(NamedTuple):
    """What samples of one measure come to."""

    rows: int
    minimum: float
    maximum: float
    last: float
    last_ns: int

    def join(self, other: _Figures) -> _Figures:
        """Return what both come to together; NaN counts only where there is nothing else."""
        latest = self if self.last_ns >= other.last_ns else other
        return _Figures(
            self.rows + other.rows,
            float(np.fmin(self.minimum, other.minimum)),
            float(np.fmax(self.maximum, other.maximum)),
            latest.last,
            latest.last_ns,
        )


class _Table:
    def __init__(
        self, activity: str, measures: tuple[str, ...], place: Place | None = None, units: dict[str, str] | None = None
    ) -> None:
        self.activity, self.measures = activity, measures
        self.place, self.units = place, units or {}
        self.stretches: list[_Stretch] = []
        self.count = 0
        self.by_rank: dict[str, dict[int, _Figures]] = {}


class Series:
    """The sample tables of a run, in order of rank, attempt and sequence."""

    def __init__(
        self,
        run: RunInfo,
        frames: FrameSource,
        builder: Builder,
        activities: Activities,
        telemetry: Telemetry,
        streams: list[Stream],
    ) -> None:
        self._telemetry = telemetry
        self._run, self._frames, self._builder, self._activities = run, frames, builder, activities
        self._offsets = {stream.source: stream.start.clock_to_wall_ns for stream in streams}
        self._blocks: OrderedDict[tuple[records.Source, int], Split] = OrderedDict()
        self._reading: tuple[records.Source, int, Any] | None = None
        self._tables: dict[tuple[Any, ...], _Table] = {}
        self.unplaced = 0
        """Samples whose layout is lost."""
        for stream in sorted(streams, key=lambda s: (s.source.rank, s.source.attempt, s.source.lane)):
            self._place(stream)
        together: dict[tuple[str, Place | None], list[_Table]] = {}
        for table in self._tables.values():
            together.setdefault((table.activity, table.place), []).append(table)
        for (activity, place), tables in together.items():
            for name in dict.fromkeys(name for table in tables for name in table.measures):
                self._summarise(activity, place, name, [table for table in tables if name in table.measures])

    def _place(self, stream: Stream) -> None:
        layouts: dict[int, tuple[_Table, tuple[int, ...]]] = {}
        for _, _, record in stream.records:
            if isinstance(record, records.Layout):
                names = _names(record)
                if not names or stream.widths.get(record.number) != len(names):
                    continue  # no samples of it yet, or damaged
                activity = self._activities.part(stream.source, record.activity).uuid
                ordered = tuple(sorted(names))
                table = self._tables.get((activity, ordered))
                if table is None:
                    table = self._tables[activity, ordered] = _Table(activity, names)
                layouts[record.number] = table, tuple(names.index(name) for name in table.measures)
            elif isinstance(record, records.Counters):
                table = self._table_of(stream, record)
                if table is not None:
                    names = (*counters(record),)
                    layouts[record.number] = table, tuple(names.index(name) for name in table.measures)
        for number, counts in enumerate(stream.counts):
            for layout, count in counts.items():
                if layout not in layouts:
                    self.unplaced += count
                    continue
                table, order = layouts[layout]
                table.stretches.append(_Stretch(table.count, count, stream.source, number, layout, order))
                table.count += count
        for layout, summary in stream.summaries.items():
            if layout in layouts:
                table, order = layouts[layout]
                count = sum(counts.get(layout, 0) for counts in stream.counts)
                last_ns = summary.last_ns + stream.start.clock_to_wall_ns
                last_ns = stream.correction(last_ns) if stream.correction else last_ns
                for name, at in zip(table.measures, order, strict=True):
                    figures = _Figures(
                        count, float(summary.minimum[at]), float(summary.maximum[at]), float(summary.last[at]), last_ns
                    )
                    by_rank = table.by_rank.setdefault(name, {})
                    rank = stream.source.rank
                    by_rank[rank] = figures.join(by_rank[rank]) if rank in by_rank else figures

    def _table_of(self, stream: Stream, record: records.Counters) -> _Table | None:
        """Return the table of counters; None if there are no samples of them yet, or they are damaged."""
        units = counters(record)
        place = self._telemetry.place(stream.source, record)
        if not units or place is None or stream.widths.get(record.number) != len(units):
            return None
        key = place, tuple(sorted(units))
        if key not in self._tables:
            self._tables[key] = _Table(self._run.uuid, (*units,), place, units)
        return self._tables[key]

    def _summarise(self, activity: str, place: Place | None, name: str, tables: list[_Table]) -> None:
        """Make the series of a measure or counter: one, in however many tables it lies."""
        by_rank: dict[int, _Figures] = {}
        for table in tables:
            for rank, figures in table.by_rank[name].items():
                by_rank[rank] = by_rank[rank].join(figures) if rank in by_rank else figures
        whole = reduce(_Figures.join, by_rank.values())
        text = {
            str(rank): {
                "count": one.rows,
                "minimum": _plain(one.minimum),
                "maximum": _plain(one.maximum),
                "last": _plain(one.last),
            }
            for rank, one in sorted(by_rank.items())
        }
        run = self._run.uuid
        uuid = self._builder.node(
            "MetricSeries" if place is None else "TelemetrySeries",
            identity.series(run, activity, name) if place is None else identity.telemetry(run, *place, name),
            label=name,
            count=whole.rows,
            minimum=whole.minimum,
            maximum=whole.maximum,
            last=whole.last,
            by_rank=json.dumps(text),
            first_row=0,
            row_count=max(table.count for table in tables),
            attempt=self._builder.row(activity).get("attempt", ABSENT),
            unit=tables[0].units.get(name, ""),
        )
        self._builder.relate("wasGeneratedBy", uuid, activity)
        if place is None:
            measure = identity.named(self._run.authority, "EvaluationMeasure", name)
            self._builder.node("EvaluationMeasure", measure, label=name)
            self._builder.relate("valueOf", uuid, measure)
            return
        self._builder.relate("valueOf", uuid, self._telemetry.attribute(name))
        of_rank = self._builder.class_of(place.uuid) == "Rank"
        self._builder.relate("wasAttributedTo" if of_rank else "atLocation", uuid, place.uuid)

    def tables(self, ids: dict[str, int]) -> list[SampleTable]:
        """Return the tables of measures, now that every activity has its id."""
        return [
            SampleTable(
                self._builder.row(table.activity)["label"],
                ids[table.activity],
                table.measures,
                table.count,
                self._reader(table, ids),
            )
            for table in self._tables.values()
            if table.place is None
        ]

    def telemetry_tables(self, ids: dict[str, int]) -> list[SampleTable]:
        """Return the tables of counters, by the names of their places."""
        found = [
            SampleTable(
                table.place.label,
                ids[table.activity],
                table.measures,
                table.count,
                self._reader(table, ids),
                place=ids[table.place.uuid],
                units=table.units,
            )
            for table in self._tables.values()
            if table.place is not None
        ]
        return sorted(found, key=lambda table: table.name)

    def _split(self, source: records.Source, number: int) -> Split:
        key = source, number
        if key in self._blocks:
            self._blocks.move_to_end(key)
            return self._blocks[key]
        if self._reading is None or self._reading[0] != source or self._reading[1] > number:
            self._reading = source, 0, self._frames.blocks(source)
        _, at, blocks = self._reading
        while at < number:
            next(blocks)
            at += 1
        found = self._blocks[key] = split(next(blocks))
        self._reading = source, number + 1, blocks
        while len(self._blocks) > 2:
            self._blocks.popitem(last=False)
        return found

    def _reader(self, table: _Table, ids: dict[str, int]) -> Any:
        firsts = np.array([stretch.first for stretch in table.stretches])

        def read(start: int, stop: int) -> dict[str, _Array]:
            start, stop = max(start, 0), min(stop, table.count)
            width = max(stop - start, 0)
            columns: dict[str, _Array] = {name: np.empty(width, np.int64) for name in FIXED_COLUMNS}
            columns |= {key_of(name): np.empty(width, np.float64) for name in table.measures}
            at = start
            while at < stop:
                stretch = table.stretches[int(np.searchsorted(firsts, at, "right")) - 1]
                low = at - stretch.first
                high = min(stretch.rows, stop - stretch.first)
                rows = samples(self._split(stretch.source, stretch.block).samples[stretch.layout][low:high])
                here = slice(at - start, at - start + high - low)
                columns["rank"][here] = stretch.source.rank
                columns["attempt"][here] = stretch.source.attempt
                columns["step"][here] = rows.step
                columns["time_ns"][here] = rows.clock_ns + self._offsets[stretch.source]
                columns["section"][here] = self._sections(stretch.source, rows.section, ids)
                for name, place in zip(table.measures, stretch.order, strict=True):
                    columns[key_of(name)][here] = rows.values[:, place]
                at += high - low
            return columns

        return read

    def _sections(self, source: records.Source, handles: _Array, ids: dict[str, int]) -> _Array:
        different, inverse = np.unique(handles, return_inverse=True)
        meant = [ids[self._activities.part(source, int(h)).uuid] if h else ABSENT for h in different]
        return np.array(meant, np.int64)[inverse]


def _names(record: records.Layout) -> tuple[str, ...]:
    """Return the measures of a layout; none if it is damaged."""
    try:
        names = json.loads(record.measures)
    except (ValueError, RecursionError):
        return ()
    fitting = isinstance(names, list) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
    return tuple(names) if fitting else ()


def _plain(value: float) -> float | str:
    """JSON has no NaN and no infinity."""
    return float(value) if np.isfinite(value) else str(value)
