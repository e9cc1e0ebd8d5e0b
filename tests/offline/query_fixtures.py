"""Three small jobs, written by hand as graphs, whose answers can be worked out on paper.

The story: Ada curates two scans and rejects a third, Ben makes tiles of the good ones, Cleo trains twice on the tiles
(the second time worse) and evaluates the better model. The tests write the expected answers out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from provml_hpc import identity, vocabulary
from provml_hpc.assembly.graph import ABSENT, Graph, RunInfo, SampleTable, Table, column_names, key_of
from provml_tools.query import Answer, Engine, ask

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
MONDAY = 1_760_000_000 * SECOND
AUTHORITY = "example.org"
_EMPTY: dict[str, Any] = {"text": "", "integer": ABSENT, "real": float("nan"), "boolean": False, "type": "absent"}


def _typed(value: object) -> tuple[str, str]:
    kinds = {bool: "boolean", int: "integer", float: "real", str: "text", type(None): "none"}
    return ("" if value is None else str(value).lower() if isinstance(value, bool) else str(value)), kinds[type(value)]


class Builder:
    """Collects the records of one run, then gives its graph."""

    def __init__(self, name: str, phase: str, start: int, *, study: str = "facies", who: str = "ada") -> None:
        self.start = start
        self.run_uuid = str(identity.local(str(identity.NAMESPACE), "run", name))
        self.name, self.phase = name, phase
        self.count = 0
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.links: dict[str, list[dict[str, Any]]] = {}
        self.samples: list[SampleTable] = []
        self.known: dict[str, int] = {}
        self.status = "finished"
        learning = phase == "learning"
        self.run = self.add(
            "LearningExperimentExecution" if learning else "WorkflowExecution",
            label=name,
            start_ns=start,
            end_ns=start + 3600 * SECOND,
            outcome="completed",
            phase=phase,
            run=self.run_uuid,
        )
        self.plan = self.named("LearningExperiment" if learning else "Workflow", name)
        self.study = self.named("Study", study)
        self.link("hadMember", self.study, self.plan)
        self.person = self.named("Persona", who, identifier=f"{who}@example.org")
        self.link("wasAssociatedWith", self.run, self.person, plan=self.plan, role="researcher")

    def _place(self, cls: str, uuid: str, values: dict[str, Any]) -> int:
        if uuid in self.known:
            return self.known[uuid]
        self.known[uuid] = self.count
        self.rows.setdefault(cls, []).append({"id": self.count, "uuid": uuid, **values})
        self.count += 1
        return self.count - 1

    def add(self, cls: str, **values: Any) -> int:
        """Add a record that is known by its place in the run."""
        return self._place(cls, identity.local(self.run_uuid, cls, self.count), values)

    def named(self, cls: str, name: str, **values: Any) -> int:
        """Add a named thing."""
        return self._place(cls, identity.named(AUTHORITY, cls, name), {"label": name, **values})

    def link(self, relation: str, subject: int, target: int, **values: Any) -> None:
        """Add a relation between two records."""
        self.links.setdefault(relation, []).append({"subject": subject, "object": target, **values})

    def activity(
        self, cls: str, label: str, begin: float, end: float, *, within: int | None = None, **values: Any
    ) -> int:
        """Add an activity; times in seconds after the start of the run."""
        values = {"ranks": "0-3", **values}
        node = self.add(cls, label=label, start_ns=self.at(begin), end_ns=self.at(end), outcome="completed", **values)
        self.link("isPartOf", node, self.run if within is None else within)
        return node

    def section(self, within: int, index: int, begin: float, end: float | None, kind: str = "epoch") -> int:
        """Add a section; one without an end is still open."""
        node = self.add(
            "LearningStageSectionExecution",
            label=f"{kind} {index}",
            section_kind=kind,
            section_index=index,
            start_ns=self.at(begin),
            end_ns=ABSENT if end is None else self.at(end),
            outcome="open" if end is None else "completed",
            ranks="0-3",
        )
        self.link("isPartOf", node, within)
        return node

    def known_data(self, path: str) -> int:
        """Return the version of data at a path that was added last."""
        found = [
            row["id"]
            for cls in ("Dataset", "LearningDataset", "Model")
            for row in self.rows.get(cls, ())
            if row["path"] == path
        ]
        return int(found[-1])

    def at(self, seconds: float) -> int:
        """Return the time that is so many seconds after the start of the run."""
        return self.start + int(seconds * SECOND)

    def data(self, cls: str, path: str, content: str, *, size: int = 100, **values: Any) -> int:
        """Add a version of a dataset or model with the bytes that `content` stands for."""
        node = self.add(cls, label=path.rpartition("/")[2], path=path, size=size, digest_state="whole", **values)
        digest = content.encode().hex().ljust(64, "0")
        bytes_ = self._place(
            "Content", identity.content("sha256", digest, size), {"algorithm": "sha256", "digest": digest, "size": size}
        )
        self.link("specializationOf", node, bytes_)
        return node

    def use(self, activity: int, data: int, seconds: float, role: str = "") -> None:
        """Say that an activity used data."""
        self.link("used", activity, data, time_ns=self.at(seconds), role=role)

    def generate(self, data: int, activity: int, seconds: float) -> None:
        """Say that an activity generated data."""
        self.link("wasGeneratedBy", data, activity, time_ns=self.at(seconds))

    def param(
        self, activity: int, name: str, value: object, *, cls: str = "LearningHyperparameter", **more: Any
    ) -> int:
        """Say how a knob was set."""
        text, kind = _typed(value)
        node = self.add(cls + "Value", label=name, value=text, value_type=kind, **more)
        self.link("specifiedBy", node, self.named(cls, name))
        self.link("used", activity, node, time_ns=self.at(0))
        return node

    def fact(self, data: int, name: str, value: object) -> None:
        """Say a characteristic of a dataset."""
        text, kind = _typed(value)
        node = self.add("DatasetCharacteristic", label=name, value=text, value_type=kind)
        self.link("hasQuality", data, node)

    def measure(self, activity: int, name: str, value: float, seconds: float, *, model: int | None = None) -> int:
        """Say what was measured."""
        node = self.add("ModelEvaluation", label=name, value=repr(value), value_type="real", time_ns=self.at(seconds))
        self.link("wasGeneratedBy", node, activity, time_ns=self.at(seconds))
        self.link("specifiedBy", node, self.named("EvaluationMeasure", name))
        if model is not None:
            self.link("ofModel", node, model)
        return node

    def log(self, activity: int, measure: str, rows: list[tuple[int, int, int, float]]) -> None:
        """Add samples: rank, section, step, value; one a second."""
        columns = {
            "rank": np.array([r[0] for r in rows], dtype=np.int64),
            "attempt": np.ones(len(rows), dtype=np.int64),
            "section": np.array([r[1] for r in rows], dtype=np.int64),
            "step": np.array([r[2] for r in rows], dtype=np.int64),
            "time_ns": self.start + np.arange(len(rows), dtype=np.int64) * SECOND,
            key_of(measure): np.array([r[3] for r in rows], dtype=np.float64),
        }

        def read(start: int, stop: int) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
            return {name: column[start:stop] for name, column in columns.items()}

        self.samples.append(SampleTable(f"{measure}-{activity}", activity, (measure,), len(rows), read))

    def graph(self) -> Graph:
        """Return the run as a graph."""
        nodes = {cls: _table(cls, ("id", "uuid"), vocabulary.fields(cls), rows) for cls, rows in self.rows.items()}
        relations = {
            name: _table(name, ("subject", "object"), vocabulary.RELATION[name].fields, rows)
            for name, rows in self.links.items()
        }
        run = RunInfo(
            self.run_uuid,
            self.name,
            self.phase,
            study="facies",
            authority=AUTHORITY,
            status=self.status,
            started_ns=self.start,
            committed_ns=self.start + 3600 * SECOND,
            writer="provml-hpc 0.1.0",
            file=f"{self.name}.h5",
        )
        return Graph(run, nodes, relations, self.samples)


def _table(name: str, keys: tuple[str, str], fields: tuple[vocabulary.Field, ...], rows: list[dict[str, Any]]) -> Table:
    kinds = {keys[0]: "integer", keys[1]: "text" if keys[1] == "uuid" else "integer", **dict(column_names(fields))}
    unknown = {key for row in rows for key in row} - set(kinds)
    assert not unknown, f"{name} has no field {unknown}"
    columns: dict[str, Any] = {}
    for column, kind in kinds.items():
        values = [row.get(column, _EMPTY[kind]) for row in rows]
        dtypes = {"integer": np.int64, "real": np.float64, "boolean": np.bool_}
        columns[column] = np.array(values, dtype=dtypes[kind]) if kind in dtypes else values
    return Table(name, columns)


def curation() -> Graph:
    """Ada's job: a.dat and b.dat are cleaned, bad.dat is rejected; one activity a file."""
    job = Builder("curate-scans", "curation", MONDAY, who="ada")
    for index, name in enumerate(("a", "b", "bad")):
        clean = job.activity("DataTransformationExecution", "clean", 10 * index + 1, 10 * index + 9)
        raw = job.data("Dataset", f"/raw/{name}.dat", f"raw {name}")
        job.use(clean, raw, 10 * index + 2, role="raw")
        job.fact(raw, "inlines", 100 + index)
        job.param(clean, "threshold", 0.5)
        if name != "bad":
            cleaned = job.data("Dataset", f"/clean/{name}.npy", f"clean {name}")
            job.generate(cleaned, clean, 10 * index + 8)
    return job.graph()


def preparation() -> Graph:
    """Ben's job, a day later: the cleaned scans become tiles.h5; it also reads an empty file."""
    job = Builder("make-tiles", "preparation", MONDAY + DAY, who="ben")
    split = job.activity("DataTransformationExecution", "split", 1, 50)
    for index, name in enumerate(("a", "b")):
        job.use(split, job.data("Dataset", f"/clean/{name}.npy", f"clean {name}"), 2 + index)
    job.use(split, job.data("Dataset", "/clean/notes.txt", "", size=0), 5)
    job.param(split, "tile_size", 64)
    job.param(split, "seed", 7)
    tiles = job.data("LearningDataset", "/prepared/tiles.h5", "tiles")
    job.generate(tiles, split, 40)
    job.fact(tiles, "samples", 1437)
    # Written by the same job from nothing: an empty file too, which must not tie it to the empty notes.
    other = job.activity("DataTransformationExecution", "touch", 0.1, 0.5)
    job.generate(job.data("Dataset", "/prepared/empty.log", "", size=0), other, 0.2)
    return job.graph()


def learning(status: str = "finished") -> Graph:
    """Cleo's job, two days later: two trainings on the tiles, an evaluation of the first one's model."""
    job = Builder("facies-unet", "learning", MONDAY + 2 * DAY, who="cleo")
    job.status = status
    job.param(job.run, "batch", 32)
    job.param(job.run, "lr", 9.0)  # overridden by each training
    tiles = job.data("LearningDataset", "/prepared/tiles.h5", "tiles")
    for number, (rate, losses, accuracies) in enumerate(
        ((0.1, (0.9, 0.4), (0.70, 0.91)), (0.01, (0.95, 0.8), (0.60, 0.75)))
    ):
        begin = 100 * number
        training = job.activity("TrainingExecution", f"trial-{number}", begin + 1, begin + 90)
        job.use(training, tiles, begin + 2, role="training")
        job.param(training, "lr", rate)
        samples = []
        for epoch in range(2):
            section = job.activity(
                "LearningStageSectionExecution",
                f"epoch {epoch}",
                begin + 10 + 20 * epoch,
                begin + 29 + 20 * epoch,
                within=training,
                section_kind="epoch",
                section_index=epoch,
            )
            job.measure(section, "loss", losses[epoch], begin + 20 + 20 * epoch)
            validation = job.activity(
                "ValidationExecution", "validation", begin + 21 + 20 * epoch, begin + 28 + 20 * epoch, within=section
            )
            job.measure(validation, "accuracy", accuracies[epoch], begin + 27 + 20 * epoch)
            samples += [(0, section, 2 * epoch, 1.0 - epoch / 2), (0, section, 2 * epoch + 1, 0.5 - epoch / 4)]
        job.log(training, "grad_norm", samples)
        model = job.data("Model", f"/models/unet-{number}.npz", f"model {number}", step=100)
        layers = job.add("ModelHyperparameterValue", label="layers", value=str(3 + number), value_type="integer")
        job.link("specifiedBy", layers, job.named("ModelHyperparameter", "layers"))
        job.link("hasSetting", model, layers)
        job.generate(model, training, begin + 80)
        if number == 0:
            evaluation = job.activity("EvaluationExecution", "evaluation", 300, 320)
            job.use(evaluation, model, 301)
            job.use(evaluation, tiles, 302, role="test")
            job.measure(evaluation, "f1", 0.88, 310, model=model)
    return job.graph()


def jobs() -> list[Graph]:
    """Return the three jobs."""
    return [curation(), preparation(), learning()]


def answer(graphs: Sequence[Graph], name: str, **values: str) -> Answer:
    """Ask a named question."""
    return ask(Engine(graphs), name, values)


def cells(found: Answer, *columns: str) -> list[tuple[Any, ...]]:
    """Return some columns of an answer, row by row."""
    return [tuple(row.get(column) for column in columns) for row in found.rows]
