"""Reading the file of a run, closed or still being written, through one face."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from provml_hpc.assembly import assemble
from provml_hpc.assembly.clocks import Correction, Measured, correct, corrections
from provml_hpc.assembly.graph import FIXED_COLUMNS, Graph, RunInfo, SampleTable, key_of
from provml_hpc.errors import FormatError, ProvMLError, StateError, UsageError
from provml_hpc.storage import costs, views
from provml_hpc.storage.closing import FAILED, INCOMPLETE, RECOVERED, ended_as, run_info
from provml_hpc.storage.joined import Held, Joined, join_commits, join_costs
from provml_hpc.storage.owner import Liveness
from provml_hpc.storage.record_table import RecordTable, Row, SampleArray
from provml_hpc.storage.run_file import RunFiles
from provml_hpc.storage.tables import TablesFile
from provml_hpc.vocabulary import CLASS, RELATION

_CHUNK = 1 << 20
CLOCKS = ("writer", "raw")


def open(path: str | os.PathLike[str]) -> Reader:
    """Open the file of a run.

    Parameters
    ----------
    path
        ``NAME.h5``. While its run goes on, or if it died, there is only ``NAME.h5.partial``: that is opened then, and
        may be named itself. Where several ranks wrote (``init(writers=...)``), the files of the others beside it are
        read with it as one; one of those by its own name, ``NAME-part1.h5``, is read alone.

    Raises
    ------
    FileMissingError
        There is neither of the two.
    FormatError
        It is damaged, foreign, or of a newer format version.
    """
    return Reader(path)


class Reader:
    """The file of a run, open for reading; a context manager. :func:`open` makes one.

    Times are int64 nanoseconds since the epoch. Activities, entities and all else are known by their `id`, an integer
    that holds within one file (and while it is live, until the next :meth:`refresh`), and by their `uuid`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._graph: Graph | None = None
        self._as_counted: Graph
        self._views: dict[str, RecordTable] = {}
        self._is_open = True
        self._asked = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
        self._run = RunFiles(self._asked)

    @property
    def path(self) -> Path:
        """The file that is open: where several ranks wrote, the one that was named."""
        return self._run.files[0].path

    @property
    def paths(self) -> list[Path]:
        """All files that are open: where several ranks wrote, those of the others too."""
        return [file.path for file in self._run.files]

    @property
    def live(self) -> bool:
        """Whether this is the log of a run that was not closed yet."""
        return bool(self._run.live)

    @property
    def liveness(self) -> Liveness:
        """Whether the job that writes the file lives, and how one knows."""
        found = [file.liveness for file in self._run.live or self._run.files]
        return next((one for one in found if one.state != "dead"), found[0])

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``failed``, ``incomplete`` (its job died, or ended early) or ``recovered``."""
        if self._run.single or self._run.live:
            return self._run.status
        return self.run.status

    @property
    def commits(self) -> np.ndarray[Any, np.dtype[Any]]:
        """The commits: a numpy structured array with ``number``, ``time_ns``, ``rows`` (records) and ``bytes``."""
        found = [file.commits for file in self._run.files]
        return found[0] if len(found) == 1 else join_commits(found)

    @property
    def damage(self) -> list[str]:
        """What of a log could not be read, or is not there, as sentences; a closed file is whole or an error."""
        return self._run.damage

    @property
    def run(self) -> RunInfo:
        """What is known of the run as a whole."""
        return self.graph.run

    @property
    def graph(self) -> Graph:
        """The whole run as tables. They are read, and samples too, while the file is open."""
        if self._graph is None:
            closed = self._closed
            self._as_counted = closed.graph() if closed is not None else self._assembled()
            self._graph = self._as_counted.on_one_clock()
        return self._graph

    @property
    def stored_graph(self) -> Graph:
        """The same for who goes through it once: of a closed file, columns stay there and are read in stretches."""
        closed = self._closed
        return closed.graph(stored=True) if closed is not None else self.graph

    def _assembled(self) -> Graph:
        """Return the graph of a log, or of all files that several ranks wrote or still write."""
        files = self._run.files
        try:
            run = run_info(files[0].meta, self.path)
            run.status = self._run.status
            commits = self.commits
            if len(commits):
                run.committed_ns = int(commits["time_ns"][-1])
            if self._run.single:
                return assemble(files[0].frames, run)
            run.apart = False
            graph = assemble(Joined(Held(file.path.name, file.frames) for file in files), run)
            closed = [file.closed.run for file in files if file.closed is not None]
            join_costs(run, closed)
            if not self._run.live:
                run.status = ended_as(graph)
                if self._run.missing and run.status != FAILED:
                    run.status = INCOMPLETE
                elif run.status == INCOMPLETE and any(one.status == RECOVERED for one in closed):
                    run.status = RECOVERED
            return graph
        except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
            if isinstance(error, ProvMLError):
                raise
            raise FormatError(f"{self.path} holds records that cannot be read ({error}): recover the run") from error

    @property
    def _closed(self) -> TablesFile | None:
        """The closed file, if there is one that holds all there is."""
        return self._run.files[0].closed if self._run.single else None

    @property
    def activities(self) -> RecordTable:
        """What ran, in order of the start: the run, its stages, their sections and all other activities.

        Fields: id, uuid, kind (the class), name, parent (an id, or None), section_kind, section_index, item, start_ns,
        end_ns, outcome, attempt, ranks, phase. The parts that ranks had in shared activities are
        ``nodes("RankExecution")``.
        """
        return self._view("activities", views.activities)

    @property
    def entities(self) -> RecordTable:
        """The data and models.

        Fields: id, uuid, kind (the class), label, path, select, size, modified_ns, algorithm, digest, content (the uuid
        that equal bytes have in every run), digest_state, generated_by (an activity's id, or None), used_by (ids),
        role, derived_from (ids), step, attempt, ranks.
        """
        return self._view("entities", views.entities)

    @property
    def params(self) -> RecordTable:
        """The parameters: what activities were given, and how models are shaped.

        Fields: id, uuid, kind (``learning``, ``model`` or ``attribute``), activity (an id), entity (a model's id, or
        None), name, value (as it was given), type, attempt, ranks.
        """
        return self._view("params", views.params)

    @property
    def attributes(self) -> RecordTable:
        """What was found out about the run, its ranks, activities and data.

        Fields: id, uuid, kind (``attribute`` or ``characteristic``), of (an id), name, value, type, attempt, ranks.
        """
        return self._view("attributes", views.attributes)

    @property
    def evaluations(self) -> RecordTable:
        """The measures that were taken at one moment.

        Fields: id, uuid, kind, activity (an id), measure, value, model and on (ids of entities, or None), step,
        time_ns, attempt, ranks.
        """
        return self._view("evaluations", views.evaluations)

    def _view(self, name: str, make: Any) -> RecordTable:
        if name not in self._views:
            self._views[name] = make(self.graph)
        return self._views[name]

    def nodes(self, cls: str) -> RecordTable:
        """Return the records of one class of the vocabulary, with its own fields; an integer not said is None.

        Raises
        ------
        UsageError
            The vocabulary has no such class.
        """
        return self._of(self.graph.nodes, cls, CLASS, "class")

    def relations(self, name: str) -> RecordTable:
        """Return the relations of one name, each with the ids of its ``subject`` and ``object``.

        Raises
        ------
        UsageError
            The vocabulary has no such relation.
        """
        return self._of(self.graph.relations, name, RELATION, "relation")

    def _of(self, tables: Any, name: str, known: Any, what: str) -> RecordTable:
        if name not in known:
            raise UsageError(f"the vocabulary has no {what} {name!r}; choose one of {', '.join(known)}")
        return RecordTable.of(tables[name]) if name in tables else RecordTable(name, {})

    @property
    def measures(self) -> list[str]:
        """The names of all measures that have samples."""
        return sorted({measure for table in self.graph.samples for measure in table.measures})

    def samples(
        self,
        measure: str | None = None,
        activity: int | str | Row | None = None,
        rank: int | Iterable[int] | None = None,
        clock: str = "writer",
    ) -> SampleArray:
        """Read samples.

        Parameters
        ----------
        measure
            The name of a measure, or None for all of them, with a field ``measure`` that tells them apart.
        activity
            Only those of an activity and what is inside of it: its id, its row, its uuid, its name, or a kind
            of section.
        rank
            Only those of one rank, or of several.
        clock
            ``"writer"``: times are told by the clock of the writer rank, as all times of the run are, so that those of
            ranks on several nodes can be compared; see :attr:`clocks`. ``"raw"``: as each rank's own clock told them.

        Returns
        -------
        SampleArray
            A numpy structured array, in order of rank, attempt and time, with ``rank``, ``attempt``, ``section`` (the
            id of the innermost section, or the least int64), ``step``, ``time_ns``, ``value`` and ``activity`` (the id
            of the activity that it was logged on); its ``to_pandas()`` gives a DataFrame.

        Raises
        ------
        UsageError
            There is no such measure or activity.
        """
        if clock not in CLOCKS:
            raise UsageError(f"clock={clock!r}; choose one of {', '.join(CLOCKS)}")
        names = self.measures
        if measure is not None and measure not in names:
            there = f"choose one of {', '.join(names)}" if names else "this run has none"
            raise UsageError(f"there are no samples of {measure!r}; {there}")
        within = None if activity is None else views.inside(self.graph, self._ids(activity))
        ranks = None if rank is None else np.atleast_1d(np.array(list(rank) if isinstance(rank, Iterable) else rank))
        wanted = names if measure is None else [measure]
        fields: list[tuple[str, Any]] = [(name, np.int64) for name in FIXED_COLUMNS]
        fields += [("value", np.float64), ("activity", np.int64)]
        if measure is None:
            fields.append(("measure", f"U{max(map(len, names), default=1) or 1}"))
        by = corrections(self.graph.clocks) if clock == "writer" else {}
        parts = [
            part
            for table in self._as_counted.samples
            for part in self._parts(
                table, [name for name in wanted if name in table.measures], within, ranks, fields, by
            )
        ]
        found = np.concatenate(parts) if parts else np.empty(0, fields)
        return _in_order(found).view(SampleArray)

    @property
    def clocks(self) -> RecordTable:
        """How far each rank's clock was from the writer rank's (of several, the lead's); empty for one process.

        Fields: attempt, rank, time_ns (when it was measured, on the rank's own clock), offset_ns (what that clock
        lacked) and uncertainty_ns. Where an offset exceeds its uncertainty, the times of that rank are told with it,
        and between two measurements with what lies on a straight line between them.
        """
        rows = list(zip(*self.graph.clocks, strict=True)) or [()] * len(Measured._fields)
        return RecordTable("clocks", dict(zip(Measured._fields, rows, strict=True)))

    @property
    def counters(self) -> dict[str, dict[str, str]]:
        """What telemetry there is: for each place (a device, a node, a rank's process) its counters and their units."""
        found: dict[str, dict[str, str]] = {}
        for table in self.graph.telemetry:
            found.setdefault(table.name, {}).update({name: table.units.get(name, "") for name in table.measures})
        return found

    def telemetry(self, counter: str | None = None, place: str | None = None) -> SampleArray:
        """Read what was sampled of devices, nodes and processes beside the training.

        Parameters
        ----------
        counter
            The name of a counter, such as ``power_W``, or None for all, with a field ``counter`` that tells them apart.
        place
            Only those of one place, by its name: ``"n1 gpu0"``, ``"n1"``, ``"rank 3"``; see :attr:`counters`.

        Returns
        -------
        SampleArray
            A numpy structured array, in order of place and time, with ``place``, ``attempt``, ``turn`` (which turn of
            its sampler it was), ``time_ns`` and ``value``, which is NaN where the counter did not answer.

        Raises
        ------
        UsageError
            There is no such counter or place.
        """
        known = self.counters
        names = {name for units in known.values() for name in units}
        for what, wanted, there in (("counter", counter, names), ("place", place, known.keys())):
            if wanted is not None and wanted not in there:
                listed = f"choose one of {', '.join(sorted(there))}" if there else "this run has no telemetry"
                raise UsageError(f"there is no {what} {wanted!r}; {listed}")
        fields: list[tuple[str, Any]] = [("place", f"U{max(map(len, known), default=1) or 1}")]
        fields += [("attempt", np.int64), ("turn", np.int64), ("time_ns", np.int64), ("value", np.float64)]
        if counter is None:
            fields.append(("counter", f"U{max(map(len, names), default=1) or 1}"))
        parts = []
        for table in self.graph.telemetry:
            wanted_here = [name for name in table.measures if counter in (None, name)]
            if not wanted_here or place not in (None, table.name):
                continue
            columns = table.read(0, table.count)
            for name in wanted_here:
                part = np.empty(table.count, fields)
                part["place"], part["attempt"], part["turn"] = table.name, columns["attempt"], columns["step"]
                part["time_ns"], part["value"] = columns["time_ns"], columns[key_of(name)]
                if counter is None:
                    part["counter"] = name
                parts.append(part)
        found = np.concatenate(parts) if parts else np.empty(0, fields)
        return found[np.lexsort((found["time_ns"], found["place"]))].view(SampleArray)

    def costs(self) -> RecordTable:
        """Return what each activity took: time, GPU hours and energy, in order of the start.

        Fields: id, uuid, kind, name, wall_s, rank_s (of all its ranks together), devices (their names), gpu_s (of all
        devices that its ranks used), energy_J (of those), energy_from (``counter``, ``power``: integrated, or both) and
        measured (the share of gpu_s that the energy is known of, from 0 to 1). What no telemetry tells is None.
        """
        return self._view("costs", costs.costs)

    def _parts(
        self,
        table: SampleTable,
        measures: list[str],
        within: set[int] | None,
        ranks: Any,
        fields: list[tuple[str, Any]],
        by: dict[tuple[int, int], Correction],
    ) -> Iterator[np.ndarray[Any, np.dtype[Any]]]:
        """Yield the wanted rows of a table, a stretch at a time, for each measure."""
        whole = within is None or table.activity in within
        closed = self._closed
        for start in range(0, table.count if measures else 0, _CHUNK):
            stop = min(start + _CHUNK, table.count)
            if closed is not None:  # which can leave the other measures where they are
                columns = closed.read_columns(table.path, (*FIXED_COLUMNS, *measures), start, stop)
            else:
                columns = table.read(start, stop)
            columns = correct(columns, by)
            keep = np.ones(stop - start, np.bool_)
            if not whole:
                keep &= np.isin(columns["section"], np.array(sorted(within or ()), np.int64))
            if ranks is not None:
                keep &= np.isin(columns["rank"], ranks)
            for measure in measures if keep.any() else ():
                part = np.empty(int(keep.sum()), fields)
                for name in FIXED_COLUMNS:
                    part[name] = columns[name][keep]
                part["value"] = columns[key_of(measure)][keep]
                part["activity"] = table.activity
                if "measure" in (part.dtype.names or ()):
                    part["measure"] = measure
                yield part

    def _ids(self, activity: int | str | Row) -> list[int]:
        if isinstance(activity, Row):
            return [int(activity["id"])]
        rows = self.activities
        if isinstance(activity, str):
            ids = [row.id for row in rows if activity in (row.uuid, row.name, row.section_kind)]
        else:
            ids = [row.id for row in rows if row.id == activity]
        if not ids:
            names = ", ".join(dict.fromkeys(row.name for row in rows[:50]))
            raise UsageError(f"there is no activity {activity!r}; choose one of {names}, or an id")
        return ids

    def refresh(self) -> int:
        """See what was committed since the file was opened, and return the number of commits.

        When the run has ended meanwhile, its closed file takes the place of the log. Ids may change.
        """
        if not self._is_open:
            raise StateError(f"{self._asked} was closed: open it again")
        if self.live or self._run.missing:
            self._run.refresh()
            self._graph = None
            self._views.clear()
        return len(self.commits)

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._is_open = False
        self._run.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if not self._is_open:
            return f"<Reader of {str(self.path)!r}, closed>"
        return f"<Reader of {str(self.path)!r}: {self.run.phase} run {self.run.name!r}, {self.status}>"


def _in_order(found: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    """Return samples in order of rank, attempt and time; one table has them so already, and looking is cheap."""
    rank, attempt, time = (np.diff(np.ascontiguousarray(found[name])) for name in ("rank", "attempt", "time_ns"))
    if ((rank > 0) | ((rank == 0) & ((attempt > 0) | ((attempt == 0) & (time >= 0))))).all():
        return found
    return found[np.lexsort((found["time_ns"], found["attempt"], found["rank"]))]
