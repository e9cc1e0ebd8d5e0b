"""A run as Parquet: a file for each table of records, of relations and of samples, streamed.

Times are whole nanoseconds (int64), since Spark reads no finer timestamps than microseconds. What was not said is null.
Every table begins with the run's uuid, so that the exports of many runs can be read as one.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from provml_hpc import vocabulary
from provml_hpc.assembly.graph import ABSENT, FIXED_COLUMNS, Graph, SampleTable, Table, key_of
from provml_tools.export import need

if TYPE_CHECKING:
    import pyarrow

ROWS = 1 << 17
"""How many samples are held at a time; also the rows of a row group."""

_TEXTS = ("name", "phase", "study", "authority", "status", "writer")
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def write(graph: Graph, folder: Path) -> list[Path]:
    """Write a run into a folder that is there, and return the files.

    Raises
    ------
    UsageError
        The package pyarrow is not there.
    """
    need("pyarrow", lambda: __import__("pyarrow.parquet"))
    return _Writer(graph, folder).write()


class _Writer:
    def __init__(self, graph: Graph, folder: Path) -> None:
        import pyarrow

        self._pa: Any = pyarrow
        self._graph = graph
        self._folder = folder
        self._files: list[Path] = []
        # For Parquet tools that show it: where the table came from.
        self._about = {"provml.run": graph.run.uuid, "provml.name": graph.run.name, "provml.writer": graph.run.writer}

    def write(self) -> list[Path]:
        self._write_run()
        for group, tables, fields in (
            ("records", self._graph.nodes, vocabulary.fields),
            ("relations", self._graph.relations, lambda name: vocabulary.RELATION[name].fields),
        ):
            for name, table in tables.items():
                if len(table):
                    kinds = {field.name: field.type for field in fields(name)}
                    self._save(f"{group}/{name}.parquet", self._table(table, kinds))
        names: dict[str, int] = {}
        for folder, samples in (
            *(("samples", one) for one in self._graph.samples),
            *(("telemetry", one) for one in self._graph.telemetry),
        ):
            name = _NOT_A_NAME.sub("_", samples.path.rpartition("/")[2] or samples.name) or "samples"
            taken = f"{folder}/{name}".lower()
            names[taken] = names.get(taken, 0) + 1
            if names[taken] > 1:
                name += f"-{names[taken]}"
            self._write_samples(samples, f"{folder}/{name}")
        return self._files

    def _place(self, name: str) -> Path:
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        self._files.append(path)
        return path

    def _save(self, name: str, table: pyarrow.Table) -> None:
        import pyarrow.parquet

        with self._place(name).open("wb") as stream:
            pyarrow.parquet.write_table(table.replace_schema_metadata(self._about), stream, compression="zstd")

    def _run_column(self, rows: int) -> pyarrow.Array:
        pa = self._pa
        codes = pa.array(np.zeros(rows, np.int32))
        return pa.DictionaryArray.from_arrays(codes, pa.array([self._graph.run.uuid]))

    def _write_run(self) -> None:
        run = self._graph.run
        columns = {
            "run": [run.uuid],
            **{
                name: [getattr(run, name) or None]
                for name in ("name", "phase", "study", "authority", "status", "writer")
            },
            **{
                name: self._pa.array([None if value == ABSENT else value], self._pa.int64())
                for name, value in (("started_ns", run.started_ns), ("committed_ns", run.committed_ns))
            },
            "file": [Path(run.file).name or None],
            "details": [json.dumps(run.details, default=str)],
        }
        self._save("run.parquet", self._pa.table(columns))

    def _table(self, table: Table, kinds: dict[str, str]) -> pyarrow.Table:
        pa = self._pa
        columns: dict[str, Any] = {"run": self._run_column(len(table))}
        for name, column in table.columns.items():
            if isinstance(column, list):
                empty = "absent" if name.removesuffix("_type") in kinds and name.endswith("_type") else ""
                columns[name] = pa.array([_clean(text) if text != empty else None for text in column], pa.string())
            elif column.dtype.kind == "i":
                columns[name] = pa.array(column, pa.int64(), mask=np.asarray(column) == ABSENT)
            elif column.dtype.kind == "f":
                # In a record, NaN stands for: nothing was said.
                columns[name] = pa.array(column, pa.float64(), mask=np.isnan(column))
            else:
                columns[name] = pa.array(column)
        # A text that was given as empty is not one that was not given.
        for name, kind in kinds.items():
            if kind == "value" and name in table.columns and f"{name}_type" in table.columns:
                marks = table.columns[f"{name}_type"]
                texts = table.columns[name]
                said = [_clean(text) if mark != "absent" else None for text, mark in zip(texts, marks, strict=True)]
                columns[name] = pa.array(said, pa.string())
        return pa.table(columns)

    def _write_samples(self, samples: SampleTable, name: str) -> None:
        import pyarrow.parquet

        pa = self._pa
        measures = {measure: _column_name(measure) for measure in samples.measures}
        fields = [pa.field("run", pa.dictionary(pa.int32(), pa.string())), pa.field("activity", pa.int64())]
        fields += [pa.field(one, pa.int64()) for one in FIXED_COLUMNS]
        fields += [pa.field(column, pa.float64()) for column in measures.values()]
        schema = pa.schema(fields, metadata=self._about)
        with (
            self._place(f"{name}.parquet").open("wb") as stream,
            pyarrow.parquet.ParquetWriter(stream, schema, compression="zstd") as writer,
        ):
            for start in range(0, max(samples.count, 1), ROWS):
                rows = samples.read(start, min(start + ROWS, samples.count))
                count = len(rows["rank"])
                columns = [self._run_column(count), pa.array(np.full(count, samples.activity, np.int64))]
                columns += [pa.array(rows[one], pa.int64(), mask=rows[one] == ABSENT) for one in FIXED_COLUMNS]
                # A sample that is NaN was logged as that.
                columns += [pa.array(rows[key_of(measure)], pa.float64()) for measure in measures]
                writer.write_table(pa.table(columns, schema=schema))


def _column_name(measure: str) -> str:
    """Return the column of a measure: its name, unless a column that every table has is called so."""
    return f"{key_of(measure)}-2" if measure in ("run", "activity") else _clean(key_of(measure))


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
