"""Samples: which rows of which sources make one table, and how to read a stretch of it without reading all."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

from provml_hpc import identity, records
from provml_hpc.assembly.activities import Activities
from provml_hpc.assembly.builder import Builder
from provml_hpc.assembly.frames import FrameSource, Split, Stream, samples, split
from provml_hpc.assembly.graph import ABSENT, FIXED_COLUMNS, RunInfo, SampleTable, key_of

_Array = np.ndarray[Any, np.dtype[Any]]


class _Stretch(NamedTuple):
    """Rows of a table that lie together: one layout of one block of one source."""

    first: int
    rows: int
    source: records.Source
    block: int
    layout: int
    order: tuple[int, ...]


class _Table:
    def __init__(self, activity: str, measures: tuple[str, ...]) -> None:
        self.activity, self.measures = activity, measures
        self.stretches: list[_Stretch] = []
        self.count = 0
        self.by_rank: dict[int, dict[str, list[float]]] = {}


class Series:
    """The sample tables of a run, in order of rank, attempt and sequence."""

    def __init__(
        self, run: RunInfo, frames: FrameSource, builder: Builder, activities: Activities, streams: list[Stream]
    ) -> None:
        self._run, self._frames, self._builder, self._activities = run, frames, builder, activities
        self._offsets = {stream.source: stream.start.clock_to_wall_ns for stream in streams}
        self._blocks: OrderedDict[tuple[records.Source, int], Split] = OrderedDict()
        self._reading: tuple[records.Source, int, Any] | None = None
        self._tables: dict[tuple[str, tuple[str, ...]], _Table] = {}
        for stream in sorted(streams, key=lambda s: (s.source.rank, s.source.attempt, s.source.lane)):
            self._place(stream)
        for table in self._tables.values():
            self._summarise(table)

    def _place(self, stream: Stream) -> None:
        layouts: dict[int, tuple[_Table, tuple[int, ...]]] = {}
        for _, _, record in stream.records:
            if isinstance(record, records.Layout):
                activity = self._activities.part(stream.source, record.activity).uuid
                names = tuple(json.loads(record.measures))
                ordered = tuple(sorted(names))
                table = self._tables.get((activity, ordered))
                if table is None:
                    table = self._tables[activity, ordered] = _Table(activity, names)
                layouts[record.number] = table, tuple(names.index(name) for name in table.measures)
        for number, counts in enumerate(stream.counts):
            for layout, count in counts.items():
                if layout not in layouts:
                    continue
                table, order = layouts[layout]
                table.stretches.append(_Stretch(table.count, count, stream.source, number, layout, order))
                table.count += count
                stats = table.by_rank.setdefault(
                    stream.source.rank, {name: [0.0, np.nan, np.nan, np.nan] for name in table.measures}
                )
                for figures in stats.values():
                    figures[0] += count
        for layout, (low, high, last) in stream.summaries.items():
            if layout not in layouts:
                continue
            table, order = layouts[layout]
            for name, at in zip(table.measures, order, strict=True):
                figures = table.by_rank[stream.source.rank][name]
                figures[1] = float(np.fmin(figures[1], low[at]))
                figures[2] = float(np.fmax(figures[2], high[at]))
                figures[3] = float(last[at])

    def _summarise(self, table: _Table) -> None:
        """Make the MetricSeries of each measure of a table."""
        for name in table.measures:
            by_rank = {rank: stats[name] for rank, stats in table.by_rank.items()}
            uuid = identity.local(self._run.uuid, "series", table.activity, list(table.measures), name)
            figures = np.array(list(by_rank.values()))
            text = {
                str(rank): {"count": int(n), "minimum": _plain(low), "maximum": _plain(high), "last": _plain(last)}
                for rank, (n, low, high, last) in by_rank.items()
            }
            self._builder.node(
                "MetricSeries",
                uuid,
                label=name,
                count=int(figures[:, 0].sum()),
                minimum=float(np.fmin.reduce(figures[:, 1])),
                maximum=float(np.fmax.reduce(figures[:, 2])),
                last=float(figures[0, 3]),
                by_rank=json.dumps(text),
                first_row=0,
                row_count=table.count,
            )
            measure = identity.named(self._run.authority, "EvaluationMeasure", name)
            self._builder.node("EvaluationMeasure", measure, label=name)
            self._builder.relate("valueOf", uuid, measure)
            self._builder.relate("wasGeneratedBy", uuid, table.activity)

    def tables(self, ids: dict[str, int]) -> list[SampleTable]:
        """Return the tables, now that every activity has its id."""
        return [
            SampleTable(
                self._builder.row(table.activity)["label"],
                ids[table.activity],
                table.measures,
                table.count,
                self._reader(table, ids),
            )
            for table in self._tables.values()
        ]

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
            stop = min(stop, table.count)
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


def _plain(value: float) -> float | str:
    """JSON has no NaN and no infinity."""
    return float(value) if np.isfinite(value) else str(value)
