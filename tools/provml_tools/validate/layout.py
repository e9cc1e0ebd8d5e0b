"""The layout of a closed file, as ``docs/format.md`` wants it: attributes, groups, columns and commits."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator
from typing import Any

import h5py
import numpy as np

from provml_hpc import vocabulary
from provml_hpc.assembly.graph import FIXED_COLUMNS, column_names
from provml_hpc.storage import careful
from provml_hpc.storage.columns import told_columns
from provml_hpc.storage.tables import TablesFile
from provml_tools.validate.findings import FORMAT, VIOLATION, WARNING, Finding

UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
STATUSES = ("finished", "failed", "incomplete", "recovered")
_TEXTS = ("run", "name", "phase", "study", "authority", "status", "writer")
_TABLE, _SAMPLES = "provml-table", "provml-samples"
_COPY = "Take another copy of the file, or recover the run."
_WRITER = "Report it to whoever wrote the program that made the file."
_NEWER = "Use the release that wrote the file, or a newer one."
_KINDS = {"integer": "iu", "real": "f", "boolean": "b"}


RULES = {
    "readable": "the file can be read at all",
    "log": "a log that is still written has no damaged part",
    "root-attribute": "the root attributes are there, and of their types",
    "status": "the status is one of those of a closed file",
    "group": "the groups are there, and are groups",
    "encoding": "a table says what it is, of which version, and how many rows it has",
    "columns": "the columns are those that the table tells of and that its class needs",
    "column-length": "a column has as many rows as its table",
    "column-type": "a column is of the type that the vocabulary gives it",
    "commits": "the commits are numbered from 1 without gaps",
    "samples-attribute": "a table of samples says of which activity they are",
    "unknown-table": "the vocabulary has the class or relation (a warning: it may be newer)",
    "identifier": "ids are dense and unique, uuids are uuids and unique",
    "abstract-class": "an abstract class has no records",
    "run": "one record is the execution that the file is of",
    "choice": "a text of few possible values is one of them",
    "value": "a captured value has the form of its type",
    "no-record": "the ends of relations are records",
    "domain": "the subject of a relation is of a class that it may have",
    "range": "the object of a relation is of a class that it may have, also together with the subject",
    "plan": "the plan of an association is of the kind that the activity follows",
    "repeated": "a relation is not said twice in the same words (a warning)",
    "content": "the uuid of bytes follows from their digest and size",
    "samples": "samples are of an activity and its sections, in order of rank and attempt",
    "series": "a series sums up its samples truly",
}
"""What a file has to keep to, by the names of findings."""


def fault(rule: str, record: str, message: str, remedy: str, severity: str = VIOLATION) -> Finding:
    """Return that a file is not as the format wants it, by one of `RULES`."""
    assert rule in RULES, rule
    return Finding(FORMAT, rule, record, message, remedy, severity)


def check_layout(tables: TablesFile) -> list[Finding]:
    """Return what is not as the format wants it; what the records say is checked elsewhere."""
    with tables.guarded():
        return list(_layout(tables))


def _layout(tables: TablesFile) -> Iterator[Finding]:
    file = tables.file
    yield from _attributes(file)
    for kind in ("records", "relations"):
        known: Container[str] = vocabulary.CLASS if kind == "records" else vocabulary.RELATION
        group = careful.find(file, kind)
        if not isinstance(group, h5py.Group):
            yield fault("group", f"/{kind}", "there is no such group", _COPY)
            continue
        for name in careful.members(group):
            if name not in known:
                what = f"the vocabulary of this release has no such {kind[:-1]}"
                yield fault("unknown-table", f"/{kind}/{name}", what, _NEWER, WARNING)
                continue
            fields = vocabulary.fields(name) if kind == "records" else vocabulary.RELATION[name].fields
            yield from _table(careful.member(group, name), kind, dict(column_names(fields)))
    for kind in ("samples", "telemetry"):
        found = careful.find(file, kind)
        for name in careful.members(found):
            yield from _samples(careful.member(found, name), kind)
    yield from _commits(tables)


def _attributes(file: Any) -> Iterator[Finding]:
    for name in _TEXTS:
        if not isinstance(careful.attribute(file, name), str):
            yield fault("root-attribute", f"/ @{name}", "it is missing, or no text", _WRITER)
    for name in ("started_ns", "committed_ns"):
        value = careful.attribute(file, name)
        if not isinstance(value, int) or file.attrs[name].dtype.itemsize != 8:
            yield fault("root-attribute", f"/ @{name}", "it is missing, or no int64", _WRITER)
    try:
        if not isinstance(json.loads(str(careful.attribute(file, "details"))), dict):
            raise ValueError("not an object")
    except ValueError as error:
        yield fault("root-attribute", "/ @details", f"it is no JSON object ({error})", _WRITER)
    status, run = careful.attribute(file, "status"), careful.attribute(file, "run")
    if status not in STATUSES:
        what = f"it is {status!r}, none of {', '.join(STATUSES)}"
        yield fault("status", "/ @status", what, _WRITER)
    if not UUID.fullmatch(str(run)):
        yield fault("identifier", "/ @run", f"{run!r} is no uuid", _WRITER)


def _describes(group: Any, kind: str, members: dict[str, Any]) -> Iterator[Finding]:
    """Yield what the attributes of a group lack that every table has."""
    encoding, version = (careful.attribute(group, f"encoding-{name}", "") for name in ("type", "version"))
    if encoding != kind:
        what = f"encoding-type is {encoding!r}, not {kind!r}"
        yield fault("encoding", group.name, what, _WRITER)
    if not str(version).startswith("1."):
        what = f"encoding-version is {version!r}, not 1.x"
        yield fault("encoding", group.name, what, _NEWER)
    rows = careful.attribute(group, "row_count")
    if not isinstance(rows, int):
        yield fault("encoding", group.name, "row_count is missing, or no number", _WRITER)
        return
    told = told_columns(group)
    there = {name: dataset for name, dataset in members.items() if isinstance(dataset, h5py.Dataset)}
    if sorted(told) != sorted(there):
        odd = ", ".join(sorted(set(told) ^ set(there)))
        yield fault("columns", group.name, f"the attribute columns and the datasets differ in {odd}", _WRITER)
    for dataset in there.values():
        if dataset.shape != (rows,):
            what = f"its shape is {dataset.shape}, and the table has {rows} rows"
            yield fault("column-length", dataset.name, what, _COPY)


def _members(group: Any) -> dict[str, Any]:
    return {name: careful.member(group, name) for name in careful.members(group)}


def _table(group: Any, kind: str, fields: dict[str, str]) -> Iterator[Finding]:
    if not isinstance(group, h5py.Group):
        yield fault("group", group.name, "it is no group", _WRITER)
        return
    members = _members(group)
    yield from _describes(group, _TABLE, members)
    fixed = {"id": "integer", "uuid": "text"} if kind == "records" else {"subject": "integer", "object": "integer"}
    for name, type_ in (fixed | fields).items():
        dataset = members.get(name)
        if not isinstance(dataset, h5py.Dataset):
            older = name not in fixed
            what = f"the column {name} is missing" + (", so it is absent in every row" if older else "")
            yield fault("columns", group.name, what, _WRITER, WARNING if older else VIOLATION)
        elif not _fits(dataset, type_):
            yield fault(
                "column-type", dataset.name, f"its type is {dataset.dtype}, and the column holds {type_}", _WRITER
            )
    for name in members:
        if name not in fixed and name not in fields:
            yield fault("columns", f"{group.name}/{name}", "this release does not know the column", _NEWER, WARNING)


def _fits(dataset: Any, type_: str) -> bool:
    enum = h5py.check_enum_dtype(dataset.dtype)
    if type_ in ("text", "type"):
        return h5py.check_string_dtype(dataset.dtype) is not None or enum is not None
    if enum is not None:
        return type_ == "boolean" and set(enum) == {"FALSE", "TRUE"}
    return bool(dataset.dtype.kind in _KINDS[type_])


def _samples(group: Any, kind: str) -> Iterator[Finding]:
    if not isinstance(group, h5py.Group):
        yield fault("group", group.name, "it is no group", _WRITER)
        return
    members = _members(group)
    yield from _describes(group, _SAMPLES, members)
    of_place = kind == "telemetry"
    for name in ("label", "activity", "activity_uuid", *(("place", "place_uuid") if of_place else ())):
        if careful.attribute(group, name) is None:
            yield fault("samples-attribute", f"{group.name} @{name}", "it is missing", _WRITER)
    for name in FIXED_COLUMNS:
        if name not in members and not (of_place and name == "section"):
            yield fault("columns", group.name, f"the column {name} is missing", _WRITER)
    for name, column in members.items():
        if not isinstance(column, h5py.Dataset):
            yield fault("group", column.name, "it is no column", _WRITER)
        elif name in FIXED_COLUMNS:
            if column.dtype.kind not in "iu":
                yield fault("column-type", column.name, f"its type is {column.dtype}, not an integer", _WRITER)
        elif careful.attribute(column, "measure") is None:
            yield fault("columns", column.name, "it has no attribute measure", _WRITER, WARNING)
        elif column.dtype != np.float64:
            yield fault("column-type", column.name, f"its type is {column.dtype}, not float64", _WRITER)


def _commits(tables: TablesFile) -> Iterator[Finding]:
    if not isinstance(careful.find(tables.file, "commits"), h5py.Group):
        yield fault("group", "/commits", "there is no such table", _WRITER)
        return
    rows = tables.commits()
    if len(rows) and not np.array_equal(rows["number"], np.arange(1, len(rows) + 1)):
        yield fault("commits", "/commits", "the numbers do not run from 1 without gaps", _COPY)
    if (np.diff(rows["time_ns"]) < 0).any():
        # Another attempt may have a clock of its own.
        yield fault("commits", "/commits", "a commit is earlier than the one before it", "Look at the clocks.", WARNING)
