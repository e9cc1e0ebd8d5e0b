"""A closed file as a source of frames again: to go on in it, or to put it together with others.

The closed file keeps the records as they were logged (group ``frames``); the samples are made into frames again from
their tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from provml_hpc import records, wire
from provml_hpc.assembly.activities import Activities, rank_uuid
from provml_hpc.assembly.builder import Builder
from provml_hpc.assembly.frames import Stream, read
from provml_hpc.assembly.graph import ABSENT, SampleTable, key_of
from provml_hpc.assembly.telemetry import Telemetry, counters
from provml_hpc.errors import FormatError
from provml_hpc.records import Source
from provml_hpc.storage import careful
from provml_hpc.storage.kept import FRAMES, extents, kept_bytes
from provml_hpc.storage.tables import TablesFile

_ROWS = 65_536
"""Samples of one batch at most; also how many rows are looked at together."""


class _Share(NamedTuple):
    """The rows of a sample table that one source wrote."""

    table: SampleTable
    start: int
    stop: int
    layout: int
    names: list[str]


class Unpacked:
    """The frames of a closed file, each source's records before its samples.

    Records keep their sequences, by which others refer to them. Samples get new ones, such that they end where those of
    the source ended.

    Parameters
    ----------
    closed
        The file, which must stay open.

    Raises
    ------
    FormatError
        The file is damaged, or was written without its records.
    """

    def __init__(self, closed: TablesFile) -> None:
        graph = closed.graph()
        self._closed = closed
        self._records = _Records(closed)
        self._streams: dict[Source, Stream] = {}
        for source in self._records.sources():
            self._streams[source] = read(self._records, source)
        builder = Builder()
        activities = Activities(graph.run, builder, self._streams.values())
        for source in self._streams:
            if source.lane == records.RUN_LANE:
                builder.node("Rank", rank_uuid(graph.run, source.attempt, source.rank))
        telemetry = Telemetry(graph.run, builder, list(self._streams.values()))
        ids: dict[str, int] = {}
        for table in graph.nodes.values():
            ids.update(zip(table.columns["uuid"], np.asarray(table.columns["id"]).tolist(), strict=True))
        self._handles: dict[tuple[Source, int], int] = {}
        for (source, handle), part in activities.parts.items():
            self._handles[source, ids.get(part.uuid, -1)] = handle
        self._layouts: dict[tuple[Source, int, tuple[str, ...]], tuple[int, list[str]]] = {}
        for source, stream in self._streams.items():
            for _, _, record in stream.records:
                if isinstance(record, records.Layout):
                    names = json.loads(record.measures)
                    activity = ids.get(activities.part(source, record.activity).uuid, -1)
                    self._layouts[source, activity, tuple(sorted(names))] = record.number, names
                elif isinstance(record, records.Counters):
                    place = telemetry.place(source, record)
                    if place is not None:
                        names = [*counters(record)]
                        self._layouts[source, ids.get(place.uuid, -1), tuple(sorted(names))] = record.number, names
        self._shares: dict[Source, list[_Share]] = {source: [] for source in self._streams}
        for sample_table in (*graph.samples, *graph.telemetry):
            self._share_out(sample_table)

    def sources(self) -> list[Source]:
        """Return every source, sorted."""
        return sorted(self._streams)

    def kept(self, source: Source) -> tuple[int, int, bytes]:
        """Return how many frames a source had, the sequence of the last one, and its records."""
        return (*self._records.ends[source], b"".join(self._records.blocks(source)))

    def blocks(self, source: Source) -> Iterator[bytes]:
        """Yield the frames of a source in blocks."""
        for data, _, _ in self.batches(Source(*source)):
            yield data

    def batches(self, source: Source) -> Iterator[tuple[bytes, int, int]]:
        """Yield (frames, first and last sequence) of a source, counted as if nothing were missing between them."""
        count, final, data = self.kept(source)
        last = final - (count - sum(1 for _ in wire.walk(data)))
        if data:
            yield data, 1, last
        parts: list[bytes] = []
        first, rows = last + 1, 0
        for share in self._shares[source]:
            for start in range(share.start, share.stop, _ROWS):
                stop = min(start + _ROWS, share.stop)
                if rows and rows + stop - start > _ROWS:
                    yield b"".join(parts), first, first + rows - 1
                    parts, first, rows = [], first + rows, 0
                parts.append(self._frames(source, share, start, stop, first + rows))
                rows += stop - start
        if rows:
            yield b"".join(parts), first, first + rows - 1

    def _share_out(self, table: SampleTable) -> None:
        """Find whose the rows of a table are: they lie in order of rank and attempt."""
        found: dict[tuple[int, int], list[int]] = {}
        for start in range(0, table.count, _ROWS):
            columns = self._closed.read_columns(table.path, ("attempt", "rank"), start, min(start + _ROWS, table.count))
            places = np.stack([columns["attempt"], columns["rank"]])
            edges = [0, *(np.flatnonzero((places[:, 1:] != places[:, :-1]).any(axis=0)) + 1).tolist(), places.shape[1]]
            for low, high in pairwise(edges):
                key = int(places[0, low]), int(places[1, low])
                found.setdefault(key, [start + low, 0])[1] = start + high
        for (attempt, rank), (start, stop) in found.items():
            layout = self._layout(attempt, rank, table)
            if layout is not None:
                source, number, names = layout
                self._shares[source].append(_Share(table, start, stop, number, names))

    def _layout(self, attempt: int, rank: int, table: SampleTable) -> tuple[Source, int, list[str]] | None:
        about = table.activity if table.place == ABSENT else table.place
        for lane in (records.RUN_LANE, records.SIDE_LANE, records.TELEMETRY_LANE):
            source = Source(attempt, rank, lane)
            found = self._layouts.get((source, about, tuple(sorted(table.measures))))
            if found is not None:
                return source, *found
        return None

    def _frames(self, source: Source, share: _Share, start: int, stop: int, first: int) -> bytes:
        columns = share.table.read(start, stop)
        count, width = stop - start, wire.SAMPLE_HEAD.size // 8 + len(share.names)
        words = np.empty((count, width), np.int64)
        words[:, 0] = width * 8 | share.layout << 32
        words[:, 1] = np.arange(first, first + count)
        words[:, 2] = columns["time_ns"] - self._streams[source].start.clock_to_wall_ns
        words[:, 3] = columns["step"]
        lane0 = source._replace(lane=records.RUN_LANE)
        different, inverse = np.unique(columns["section"], return_inverse=True)
        words[:, 4] = np.array([self._handles.get((lane0, int(s)), 0) for s in different], np.int64)[inverse]
        for place, name in enumerate(share.names, wire.SAMPLE_HEAD.size // 8):
            words[:, place] = columns[key_of(name)].view(np.int64)
        return words.tobytes()


class _Records:
    """The kept records, as a source of frames."""

    def __init__(self, closed: TablesFile) -> None:
        if not careful.has(closed.file, FRAMES):
            raise FormatError(
                f"{closed.path} was written without its records, so it cannot be resumed or merged; take another"
            )
        self._closed = closed
        with closed.guarded():
            self._extents = extents(closed.file)
        self.ends = {
            Source(int(e["attempt"]), int(e["rank"]), int(e["lane"])): (int(e["count"]), int(e["last_seq"]))
            for e in self._extents
        }
        """How many frames each source had, and the sequence of its last."""

    def sources(self) -> list[Source]:
        return list(self.ends)

    def blocks(self, source: Source) -> Iterator[bytes]:
        for extent in self._extents:
            if (extent["attempt"], extent["rank"], extent["lane"]) == tuple(source) and extent["size"]:
                with self._closed.guarded():
                    data = kept_bytes(self._closed.file, int(extent["offset"]), int(extent["size"]))
                yield data
