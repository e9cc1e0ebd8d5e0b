"""The PROV-ML graph of one run, as tables: what a closed file stores and what RDF is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from provml_hpc import vocabulary
from provml_hpc.assembly.clocks import Correction, Measured, correct, corrections

ABSENT = -(2**63)
"""What an integer, time or reference column holds where nothing was said. A text column has the empty text, a real
one NaN."""

VALUE_TYPES = ("absent", "text", "integer", "real", "boolean", "none", "json", "time")
"""The types that a field of type ``value`` can have; its table has the text in `name` and the type in `name_type`."""

Column = np.ndarray[Any, np.dtype[Any]] | list[str]
"""What a table holds for each row. In a large file a column may also be one that stays there, and acts like these."""


def column_names(fields: Sequence[vocabulary.Field]) -> Iterator[tuple[str, str]]:
    """Yield the name and the kind of each column that fields need.

    The kinds are ``text``, ``integer``, ``real``, ``boolean`` and ``type`` (a name of `VALUE_TYPES`).
    """
    for one in fields:
        if one.type == "value":
            yield one.name, "text"
            yield one.name + "_type", "type"
        else:
            yield one.name, {"time": "integer", "reference": "integer"}.get(one.type, one.type)


@dataclass
class Table:
    """Columns of one length. Text columns are lists of str, the others numpy arrays of int64, float64 or bool."""

    name: str
    columns: dict[str, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each row as a dict of Python values."""
        lists = {k: c.tolist() if isinstance(c, np.ndarray) else c for k, c in self.columns.items()}
        for values in zip(*lists.values(), strict=True):
            yield dict(zip(lists, values, strict=True))


@dataclass
class SampleTable:
    """The samples of one activity with the same measures, or the counters of one place.

    They are in order of rank, attempt and sequence.

    `read(start, stop)` gives the columns ``rank``, ``attempt``, ``section`` (the id of the innermost open section, or
    ABSENT), ``step``, ``time_ns`` (all int64) and one float64 column a measure, under :func:`key_of` it.
    """

    name: str
    activity: int
    measures: tuple[str, ...]
    count: int
    read: Callable[[int, int], dict[str, np.ndarray[Any, np.dtype[Any]]]]
    path: str = ""
    """Its group in a closed file; empty while the run goes on."""
    column_of: Mapping[str, str] = field(default_factory=dict)
    """The name of each measure's column in the file, where it could not have the measure's own."""

    def corrected(self, by: Mapping[tuple[int, int], Correction]) -> SampleTable:
        """Return the same with its times corrected."""
        return replace(self, read=lambda start, stop: correct(self.read(start, stop), by))

    place: int = ABSENT
    """The id of what counters are of: a Device, a ComputeNode, or the Rank of a process; ABSENT for measures."""
    units: Mapping[str, str] = field(default_factory=dict)
    """The unit of each counter."""


FIXED_COLUMNS = ("rank", "attempt", "section", "step", "time_ns")
"""The columns that every sample table has before its measures."""


def key_of(measure: str) -> str:
    """Return under which key a stretch of samples holds a measure: its name, unless a fixed column has that name."""
    return f"{measure}-2" if measure in FIXED_COLUMNS else measure


@dataclass
class RunInfo:
    """What is known of the run as a whole."""

    uuid: str
    name: str
    phase: str
    study: str = ""
    authority: str = ""
    status: str = "running"
    started_ns: int = ABSENT
    committed_ns: int = ABSENT
    """The time of the last commit."""
    writer: str = ""
    """Which release wrote it."""
    file: str = ""
    apart: bool = False
    """Whether this is of some ranks of a run whose other ranks have files of their own."""
    part: int = 0
    """Which of the files of the run it is, where several ranks wrote."""
    parts: int = 1
    """How many files the run was to have. It has them if anybody began: `details` say so."""
    details: dict[str, Any] = field(default_factory=dict)
    """Counts of what was dropped, the capture's own cost, the failure if there was one, ranks that disagreed."""


@dataclass
class Graph:
    """One run.

    `nodes` has one table a class, with the columns ``id`` (int64, dense from 0 over all classes), ``uuid`` (text) and
    the class's fields. `relations` has one table a relation, with ``subject`` and ``object`` (ids) and the relation's
    fields.
    """

    run: RunInfo
    nodes: dict[str, Table]
    relations: dict[str, Table]
    samples: list[SampleTable]
    telemetry: list[SampleTable] = field(default_factory=list)
    """The counters that were sampled beside the training: a table for each place and attempt's set of counters. Their
    `rank` is the one that sampled, their `step` counts the turns of its sampler."""
    clocks: list[Measured] = field(default_factory=list)
    """How far the ranks' clocks were found to be from the writer rank's. All times are on that one's clock already, but
    for those of samples."""

    def on_one_clock(self) -> Graph:
        """Return the same with the times of samples on the writer rank's clock, too."""
        by = corrections(self.clocks)
        if not by:
            return self
        samples, telemetry = ([table.corrected(by) for table in tables] for tables in (self.samples, self.telemetry))
        return replace(self, samples=samples, telemetry=telemetry)
