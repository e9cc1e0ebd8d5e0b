"""What is spoiled: the files of a small run, while it lives, after it was killed, and closed."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from provml_hpc import vocabulary
from provml_hpc.assembly.graph import ABSENT, Graph, SampleTable, Table
from provml_hpc.storage import careful
from provml_hpc.storage.tables import TablesFile, write_file
from tests.mpi import launch

_JOB = """
import os, signal, sys, threading, warnings
warnings.simplefilter("ignore")
import provml_hpc as provml
from provml_hpc.capture import places
from provml_hpc.storage import log
places.SMALLEST = 4096
log._CHUNKS = {"frames": 1 << 16, "extents": 64, "commits": 64}  # nothing is learned from megabytes of holes
if sys.argv[2] == "old":
    # As files of format 1.0 have it: all text of variable length.
    import h5py, numpy
    from provml_hpc.storage import careful, columns
    columns._FEW = columns._WASTE = 0
    text = h5py.string_dtype("utf-8")
    careful.put_text = lambda thing, name, value: thing.attrs.__setitem__(name, careful.clean(value))
    careful.put_texts = lambda thing, name, values: thing.attrs.create(name, numpy.array(list(values), text))
if sys.argv[3] == "short":
    from provml_hpc.capture import facts
    facts.collect = lambda *scope: []  # a table of packages tells a fuzzer nothing that others do not
run = provml.init("hostile", phase="learning", study="s", output=sys.argv[1], buffer=8192,
                  telemetry=None if sys.argv[3] == "long" else False)
if sys.argv[3] == "short":
    training = run.training(params={"lr": 0.1, "deep": [1, None]})
    for epoch in training.sections("epoch", 2):
        for step in range(3):
            training.log(step, loss=step * 0.5)
        if not epoch.index:
            run.flush()
    training.log_values({"v": "x" * 2000, "w": "y" * 3000})
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    run.finish()
    sys.exit()
data = os.path.join(os.path.dirname(sys.argv[1]), "data")
open(data, "w").write("1")
with run.activity("tiles", use=[data]) as activity:
    tiles = activity.generate_dataset(data, characteristics={"n": 2})
training = run.training(task="t", algorithm="SGD", use=[tiles], params={"lr": 0.1, "deep": {"a": [1, None, "x"]}})
for epoch in training.sections("epoch", 2):
    for step in range(20):
        training.log(step, loss=step * 0.5, lr=0.1)
    epoch.evaluate(accuracy=0.5)
    if epoch.index < 1:
        thread = threading.Thread(target=lambda: training.log(0, aside=1.0))
        thread.start()
        thread.join()
        run.flush()
training.log_model(data, params={"layers": 3})
training.log_values({f"v{n}": "x" * 500 for n in range(8)})
if sys.argv[2] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
run.finish()
"""


@dataclass
class Originals:
    """The bytes of the files, by kind."""

    closed: bytes
    small: bytes
    """The closed file with its most telling tables only: HDF5 takes its time for each column."""
    old: bytes
    """A closed file whose text is of variable length."""
    first: bytes
    """The closed file as the first of two parts of a run."""
    part: bytes
    """And as the second."""
    log: bytes
    journals: dict[str, bytes]
    heartbeat: bytes
    short: Originals | None = None
    """The same of a run that says little: HDF5 takes its time for each column, so these are done with sooner."""
    cache: dict[str, Any] = field(default_factory=dict)
    """What mutators find out about the originals once."""


_TOLD = (
    "LearningExperimentExecution",
    "TrainingExecution",
    "LearningStageSectionExecution",
    "Dataset",
    "Content",
    "Model",
    "LearningHyperparameterValue",
    "MetricSeries",
    "ModelEvaluation",
    "Attempt",
    "Training",
)
_LINKS = ("isPartOf", "used", "wasGeneratedBy", "wasDerivedFrom", "specializationOf", "hasSetting")


def _reduce(path: Path, target: Path) -> None:
    with TablesFile(path) as file:
        graph = file.graph()
        nodes = {name: graph.nodes[name] for name in _TOLD if name in graph.nodes}
        old = np.concatenate([np.asarray(table.columns["id"]) for table in nodes.values()])
        fresh = dict(zip(old.tolist(), range(len(old)), strict=True))
        links = {}
        for name in (one for one in _LINKS if one in graph.relations):
            table = graph.relations[name]
            keep = np.isin(table.columns["subject"], old) & np.isin(table.columns["object"], old)
            links[name] = Table(name, {key: _rows(column, keep) for key, column in table.columns.items()})
        tables = {**nodes, **links}
        for name, table in tables.items():
            fields = vocabulary.fields(name) if name in nodes else vocabulary.RELATION[name].fields
            ids = [field.name for field in fields if field.type == "reference"]
            for column in ("id", "subject", "object", *ids):
                if column in table.columns:
                    table.columns[column] = _renumbered(table.columns[column], fresh)
        samples = [_moved(table, fresh) for table in graph.samples if table.activity in fresh]
        links = {name: _said(table) for name, table in links.items() if len(table)}
        write_file(target, Graph(graph.run, {n: _said(t) for n, t in nodes.items()}, links, samples), file.commits())


def _renumbered(column: Any, fresh: dict[int, int]) -> Any:
    return np.array([fresh.get(one, ABSENT) for one in np.asarray(column).tolist()], np.int64)


def _moved(table: SampleTable, fresh: dict[int, int]) -> SampleTable:
    def read(start: int, stop: int) -> dict[str, Any]:
        columns = dict(table.read(start, stop))
        columns["section"] = _renumbered(columns["section"], fresh)
        return columns

    return dataclasses.replace(table, activity=fresh[table.activity], read=read)


def _rows(column: Any, keep: Any) -> Any:
    return [one for one, kept in zip(column, keep, strict=True) if kept] if isinstance(column, list) else column[keep]


def _said(table: Table) -> Table:
    """Leave out columns that say nothing, as an older release did."""
    keep = {}
    for name, column in table.columns.items():
        values = np.asarray(column)
        absent = values == ("" if values.dtype.kind == "U" else ABSENT)
        if name in ("id", "uuid", "subject", "object") or not (absent | (values != values)).all():
            keep[name] = column
    return Table(table.name, keep)


def make(folder: Path) -> Originals:
    """Run the jobs, unless the folder has what they left already, and return that."""
    made = _made(folder / "long")
    made.short = _made(folder / "short")
    return made


def _made(folder: Path) -> Originals:
    if not (folder / "small.h5").exists():
        _run_jobs(folder)
    hidden = folder / "left" / ".job.h5.provml"
    return Originals(
        (folder / "closed" / "job.h5").read_bytes(),
        (folder / "small.h5").read_bytes(),
        (folder / "old" / "job.h5").read_bytes(),
        (folder / "first.h5").read_bytes(),
        (folder / "part.h5").read_bytes(),
        (folder / "left" / "job.h5.partial").read_bytes(),
        # Nearly all of a journal is room that was never written.
        {path.name: path.read_bytes().rstrip(b"\0") + bytes(64) for path in sorted(hidden.glob("*.journal"))},
        (hidden / "heartbeat").read_bytes(),
    )


def _run_jobs(folder: Path) -> None:
    for name, end in (("closed", "well"), ("old", "old"), ("left", "die")):
        (folder / name).mkdir(parents=True)
        subprocess.run(
            [sys.executable, "-c", _JOB, str(folder / name / "job.h5"), end, folder.name],
            env=launch.environment(), timeout=120, check=end != "die", stdout=subprocess.DEVNULL,
        )  # fmt: skip
    for number, name in enumerate(("first.h5", "part.h5")):
        shutil.copy(folder / "closed" / "job.h5", folder / name)
        with h5py.File(folder / name, "r+") as file:
            file.attrs["part"], file.attrs["parts"] = number, 2
            details = json.loads(file.attrs["details"])
            careful.put_text(file, "details", json.dumps(details | {"parts": 2}))
    _reduce(folder / "closed" / "job.h5", folder / "small.h5")
