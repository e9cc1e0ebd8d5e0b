"""A closed file taken apart into frames again, so that a later attempt of its run can go on in it.

The closed file keeps the records as they were logged (group ``frames``); the samples are made into frames again from
their tables. So a run that is resumed has one log, whether its earlier attempts died or were closed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from time import time_ns
from typing import Any

import numpy as np

from provml_hpc import records
from provml_hpc.assembly.activities import Activities
from provml_hpc.assembly.builder import Builder
from provml_hpc.assembly.frames import Stream, read
from provml_hpc.assembly.graph import key_of
from provml_hpc.errors import FormatError
from provml_hpc.records import Source
from provml_hpc.storage import careful
from provml_hpc.storage.closing import closed_run
from provml_hpc.storage.kept import FRAMES, extents, kept_bytes, last_sequences
from provml_hpc.storage.log import LogWriter
from provml_hpc.storage.log_reader import LogReader
from provml_hpc.storage.place import partial_of
from provml_hpc.storage.tables import TablesFile

_CHUNK = 65_536


def half_reopened(output: Path) -> bool:
    """Tell whether somebody died while making the log of a closed file again: the log then lacks what the file has."""
    if not partial_of(output).exists():
        return False
    with LogReader(partial_of(output)) as log:
        if closed_run(output) != str(log.meta["run"]):
            return False
        with TablesFile(output) as closed, closed.guarded():
            lasts = last_sequences(closed.file)
        return any(log.committed(source) < last for source, last in lasts.items())


def reopen(output: Path) -> None:
    """Make the log of a closed file again, ready for the next attempt; the closed file stays until that is closed too.

    Raises
    ------
    FormatError
        The file is damaged, or was written without its records.
    """
    with TablesFile(output) as closed:
        run = closed.run
        meta: dict[str, str | int | float | bool | None] = {
            "run": run.uuid,
            "name": run.name,
            "phase": run.phase,
            "study": run.study,
            "authority": run.authority,
            "started_ns": run.started_ns,
            "writer": run.writer,
        }
        log = LogWriter.create(partial_of(output), meta)
        try:
            for source, data, first, last in _Closed(closed).batches():
                log.append(source, data, first, last)
            log.commit(run.committed_ns if run.committed_ns > 0 else time_ns())
        except BaseException:
            log.close()
            partial_of(output).unlink(missing_ok=True)
            raise
        log.close()


class _Records:
    """The kept records, as a source of frames."""

    def __init__(self, closed: TablesFile) -> None:
        if not careful.has(closed.file, FRAMES):
            raise FormatError(
                f"{closed.path} was written without its records, so it cannot be resumed; choose another output"
            )
        self._closed = closed
        with closed.guarded():
            self._extents = extents(closed.file)
        self.ends = {
            Source(int(e["attempt"]), int(e["rank"]), int(e["lane"])): (int(e["count"]), int(e["last_seq"]))
            for e in self._extents
        }
        """How many frames each source had, and the sequence of its last."""

    def sources(self) -> list[tuple[int, int, int]]:
        return [(int(e["attempt"]), int(e["rank"]), int(e["lane"])) for e in self._extents]

    def blocks(self, source: tuple[int, int, int]) -> Iterator[bytes]:
        for extent in self._extents:
            if (extent["attempt"], extent["rank"], extent["lane"]) == tuple(source) and extent["size"]:
                with self._closed.guarded():
                    data = kept_bytes(self._closed.file, int(extent["offset"]), int(extent["size"]))
                yield data


class _Closed:
    """A closed file as batches of frames, each source's records before its samples."""

    def __init__(self, closed: TablesFile) -> None:
        self._graph = closed.graph()
        self._records = _Records(closed)
        self._streams: dict[Source, Stream] = {}
        for source in self._records.sources():
            self._streams[Source(*source)] = read(self._records, Source(*source))
        run = self._graph.run
        activities = Activities(run, Builder(), self._streams.values())
        ids: dict[str, int] = {}
        for table in self._graph.nodes.values():
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

    def batches(self) -> Iterator[tuple[Source, bytes, int, int]]:
        """Yield (source, frames, first and last sequence).

        Records keep their sequences, by which others refer to them. Samples get new ones. The first and last of each
        batch are counted such that they end where those of the source ended: what a journal has beyond that is new.
        """
        last: dict[Source, int] = {}
        for source in self._streams:
            data = b"".join(self._records.blocks(source))
            count, final = self._records.ends[source]
            here = sum(1 for _ in records.walk(data))
            last[source] = final - (count - here)
            if data:
                yield source, data, 1, last[source]
        for table in self._graph.samples:
            for start in range(0, table.count, _CHUNK):
                columns = table.read(start, min(start + _CHUNK, table.count))
                for attempt, rank in sorted(
                    set(zip(columns["attempt"].tolist(), columns["rank"].tolist(), strict=True))
                ):
                    mine = (columns["attempt"] == attempt) & (columns["rank"] == rank)
                    found = self._layout(attempt, rank, table.activity, table.measures)
                    if found is None:
                        continue
                    source, layout, names = found
                    first = last.get(source, 0) + 1
                    data = self._frames(source, layout, names, {k: c[mine] for k, c in columns.items()}, first)
                    last[source] = first + int(mine.sum()) - 1
                    yield source, data, first, last[source]

    def _layout(
        self, attempt: int, rank: int, activity: int, measures: tuple[str, ...]
    ) -> tuple[Source, int, list[str]] | None:
        for lane in (records.RUN_LANE, records.SIDE_LANE):
            found = self._layouts.get((Source(attempt, rank, lane), activity, tuple(sorted(measures))))
            if found is not None:
                return Source(attempt, rank, lane), *found
        return None

    def _frames(
        self, source: Source, layout: int, names: list[str], columns: dict[str, np.ndarray[Any, Any]], first: int
    ) -> bytes:
        count, width = len(columns["rank"]), records.SAMPLE_HEAD.size // 8 + len(names)
        words = np.empty((count, width), np.int64)
        words[:, 0] = width * 8 | layout << 32
        words[:, 1] = np.arange(first, first + count)
        words[:, 2] = columns["time_ns"] - self._streams[source].start.clock_to_wall_ns
        words[:, 3] = columns["step"]
        lane0 = source._replace(lane=records.RUN_LANE)
        different, inverse = np.unique(columns["section"], return_inverse=True)
        words[:, 4] = np.array([self._handles.get((lane0, int(s)), 0) for s in different], np.int64)[inverse]
        for place, name in enumerate(names, records.SAMPLE_HEAD.size // 8):
            words[:, place] = columns[key_of(name)].view(np.int64)
        return words.tobytes()
