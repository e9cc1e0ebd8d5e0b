"""What other trackers said, gathered in our vocabulary: a graph that all questions work on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from provml_hpc import identity
from provml_hpc._version import __version__
from provml_hpc.assembly.builder import Builder
from provml_hpc.assembly.graph import ABSENT, Graph, RunInfo, SampleTable, key_of
from provml_tools.importing.points import Points
from provml_tools.importing.repair import Document, Name

_STAGES = (
    (re.compile("train", re.I), "TrainingExecution"),
    (re.compile("valid|^val([^a-z]|$)", re.I), "ValidationExecution"),
    (re.compile("test|eval", re.I), "EvaluationExecution"),
)


def stage_of(name: str) -> str:
    """Return the class of an activity by the words of its name."""
    return next((cls for pattern, cls in _STAGES if pattern.search(name)), "DataTransformationExecution")


class Run:
    """A run while its parts are gathered."""

    def __init__(self, document: Document, authority: str) -> None:
        self.document = document
        self.authority = authority
        digest = hashlib.sha256(document.path.read_bytes()).hexdigest()
        self.uuid = identity.local(str(identity.NAMESPACE), "imported", digest)
        self.builder = Builder()
        self.name = document.path.stem
        self.root = ""
        self.training = ""
        """The training that validations belong to, where there is but one."""
        self._above: dict[str, str] = {}
        self._points: dict[tuple[str, str], Points] = {}
        self._sections: dict[tuple[str, int], str] = {}
        self._facts = 0

    def begin(self, name: str, start: int | None, end: int | None, learning: bool = True) -> str:
        """Add the run itself, and return its uuid."""
        self.name = name or self.name
        cls = "LearningExperimentExecution" if learning else "WorkflowExecution"
        phase = "learning" if learning else "preparation"
        self.root = self.activity(cls, "run", self.name, start, end, phase=phase, run=self.uuid)
        plan = self.named("LearningExperiment" if learning else "Workflow", self.name)
        self._plan = plan
        return self.root

    def named(self, cls: str, name: str, **fields: Any) -> str:
        """Add a named thing."""
        return self.builder.node(cls, identity.named(self.authority, cls, name), label=name, **fields)

    def person(self, name: str) -> None:
        """Say who carried the run out."""
        self.builder.relate(
            "wasAssociatedWith", self.root, self.named("Persona", name, identifier=name), plan=self._plan
        )

    def activity(
        self,
        cls: str,
        place: str,
        name: str,
        start: int | None = None,
        end: int | None = None,
        within: str = "",
        **fields: Any,
    ) -> str:
        """Add an activity that is known by its place, as a part of the run."""
        times = {"start_ns": start, "end_ns": end}
        said: dict[str, Any] = {key: time for key, time in times.items() if time is not None}
        said["outcome"] = "completed" if end is not None else "open"
        known = identity.local(self.uuid, "activity", place) if self.root else self.uuid
        uuid = self.builder.node(cls, known, 0, label=name, attempt=1, **said, **fields)
        if self.root and uuid != self.root and uuid not in self._above:
            # Validations go with the training, where there is one; sections with their activity.
            above = within or (self.training if cls == "ValidationExecution" and self.training else self.root)
            self._above[uuid] = above
            self.builder.relate("isPartOf", uuid, above)
            self.widen(uuid, start, end if end is not None else start)
        return uuid

    def widen(self, uuid: str, start: int | None, end: int | None) -> None:
        """Make an activity, and what it is part of, long enough for a stretch of time."""
        one = uuid
        while one:
            row = self.builder.row(one)
            one = self._above.get(one, "")
            if start is not None and start < row.get("start_ns", start + 1):
                row["start_ns"] = start
            if end is not None and end > row.get("end_ns", end - 1):
                row["end_ns"] = end
                row["outcome"] = "completed"

    def section(self, activity: str, epoch: int, start: int | None = None, end: int | None = None) -> str:
        """Return an epoch of an activity, made if it is not there."""
        key = (activity, epoch)
        if key not in self._sections:
            uuid = self.activity(
                "LearningStageSectionExecution",
                f"{activity} epoch {epoch}",
                f"epoch {epoch}",
                within=activity,
                section_kind="epoch",
                section_index=epoch,
            )
            self._sections[key] = uuid
        self.widen(self._sections[key], start, end)
        return self._sections[key]

    def value(self, cls: str, activity: str, name: str, value: Any, role: str = "") -> str:
        """Say how something was set; `cls` is a class of values."""
        text, kind = typed(value)
        self._facts += 1
        uuid = identity.local(self.uuid, cls, activity, name, self._facts)
        self.builder.node(cls, uuid, 0, label=name, value=text, value_type=kind, attempt=1)
        if cls == "AttributeValue":
            self.builder.relate("valueOf", uuid, self.named("Attribute", name))
            self.builder.relate("hasAttribute", activity, uuid)
        else:
            self.builder.relate("specifiedBy", uuid, self.named(cls.removesuffix("Value"), name))
            self.builder.relate("used", activity, uuid, role=role)
            self.builder.relate_where_allowed("hasInput", activity, uuid)
        return uuid

    def measure(self, activity: str, name: str, value: float, time: int | None) -> None:
        """Say what was measured."""
        self._facts += 1
        uuid = identity.local(self.uuid, "ModelEvaluation", activity, name, self._facts)
        at: dict[str, Any] = {"time_ns": time} if time is not None else {}
        text, kind = typed(float(value))
        self.widen(activity, time, time)
        self.builder.node("ModelEvaluation", uuid, 0, label=name, value=text, value_type=kind, attempt=1, **at)
        self.builder.relate("specifiedBy", uuid, self.named("EvaluationMeasure", name))
        self.builder.relate("wasGeneratedBy", uuid, activity, **at)
        self.builder.relate_where_allowed("hasOutput", activity, uuid)

    def data(self, cls: str, place: str, label: str, path: str = "", size: Any = None) -> str:
        """Add a version of data or of a model."""
        bytes_ = {"size": size} if isinstance(size, int) and size >= 0 else {}
        return self.builder.node(
            cls, identity.local(self.uuid, "data", place), 0, label=label, path=path, attempt=1, **bytes_
        )

    def uses(self, activity: str, data: str, time: int | None = None, role: str = "") -> None:
        """Say that an activity read data."""
        at: dict[str, Any] = {"time_ns": time} if time is not None else {}
        self.widen(activity, time, time)
        self.builder.relate("used", activity, data, role=role, **at)
        self.builder.relate_where_allowed("hasInput", activity, data)

    def makes(self, activity: str, data: str, time: int | None = None) -> None:
        """Say that an activity made data."""
        at: dict[str, Any] = {"time_ns": time} if time is not None else {}
        if self.training and activity == self.root and self.builder.class_of(data) == "Model":
            # What a run of one training made, the training made.
            activity = self.training
        self.widen(activity, time, time)
        self.builder.relate("wasGeneratedBy", data, activity, **at)
        self.builder.relate_where_allowed("hasOutput", activity, data)

    def samples(self, activity: str, measure: str, points: Points) -> None:
        """Add samples of one measure."""
        if points:
            self._points.setdefault((activity, measure), []).extend(points)

    def _sum_up(self, activity: str, measure: str, points: Points) -> None:
        """Make the sections and the series of samples."""
        values = np.array([value for _, value, _ in points])
        times = [time for _, _, time in points if time is not None]
        self.widen(activity, min(times, default=None), max(times, default=None))
        for epoch in sorted({epoch for epoch, _, _ in points if epoch is not None}):
            inside = [(value, time) for one, value, time in points if one == epoch]
            at = [time for _, time in inside if time is not None]
            section = self.section(activity, epoch, min(at, default=None), max(at, default=None))
            if len(inside) == 1:
                # Measured once an epoch: that is a measure of the epoch.
                self.measure(section, measure, *inside[0])
        series = identity.series(self.uuid, activity, measure)
        finite: Any = values[~np.isnan(values)]
        figures = {"minimum": float(finite.min()), "maximum": float(finite.max())} if len(finite) else {}
        figures["last"] = float(values[-1])
        by_rank = {"0": {"count": len(points), **{key: _plain(value) for key, value in figures.items()}}}
        self.builder.node(
            "MetricSeries",
            series,
            label=measure,
            count=len(points),
            **figures,
            by_rank=json.dumps(by_rank),
            first_row=0,
            row_count=len(points),
            attempt=1,
        )
        self.builder.relate("valueOf", series, self.named("EvaluationMeasure", measure))
        self.builder.relate("wasGeneratedBy", series, activity)

    def graph(self, dialect: str) -> Graph:
        """Return all of it."""
        for (activity, measure), points in self._points.items():
            self._sum_up(activity, measure, points)
        root = dict(self.builder.row(self.root))
        for one in self._above:
            # Nobody said when: not before the run.
            if "start_ns" in root:
                self.builder.row(one).setdefault("start_ns", root["start_ns"])
        nodes, relations, ids = self.builder.tables()
        tables = [
            SampleTable(measure, ids[activity], (measure,), len(points), self._reader(activity, measure, points, ids))
            for (activity, measure), points in self._points.items()
        ]
        times = [root[key] for key in ("end_ns", "start_ns") if key in root]
        run = RunInfo(
            self.uuid,
            self.name,
            "learning" if "LearningExperimentExecution" in nodes else "preparation",
            authority=self.authority,
            status="finished" if root.get("outcome") == "completed" else "incomplete",
            started_ns=root.get("start_ns", ABSENT),
            committed_ns=times[0] if times else ABSENT,
            writer=f"provml import {__version__} from {dialect}",
            file=self.document.path.name,
            details={"imported": {"from": self.document.path.name, "as": dialect, "repairs": self.document.repairs}},
        )
        return Graph(run, nodes, relations, tables)

    def _reader(
        self, activity: str, measure: str, points: Points, ids: dict[str, int]
    ) -> Callable[[int, int], dict[str, Any]]:
        sections = [ids[self._sections[activity, epoch]] if epoch is not None else ABSENT for epoch, _, _ in points]
        count = len(points)
        columns = {
            "rank": np.zeros(count, np.int64),
            "attempt": np.ones(count, np.int64),
            "section": np.array(sections, np.int64),
            "step": np.arange(count, dtype=np.int64),
            "time_ns": np.array([ABSENT if time is None else time for _, _, time in points], np.int64),
            key_of(measure): np.array([value for _, value, _ in points], np.float64),
        }
        return lambda start, stop: {name: column[start:stop] for name, column in columns.items()}


def typed(value: Any) -> tuple[str, str]:
    """Return a value as text, with the name of its type; text that is a number becomes one."""
    if isinstance(value, Name):
        return value.local, "text"
    if isinstance(value, bool):
        return str(value).lower(), "boolean"
    if isinstance(value, int):
        return str(value), "integer"
    if isinstance(value, float):
        return repr(value), "real"
    text = str(value)
    if re.fullmatch("[+-]?[0-9]{1,18}", text):
        return str(int(text)), "integer"
    if re.fullmatch(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][+-]?[0-9]+)?", text):
        return repr(float(text)), "real"
    if text in ("True", "False"):
        return text.lower(), "boolean"
    return text, "none" if text == "None" else "text"


def _plain(value: float) -> float | str:
    return value if np.isfinite(value) else str(value)
