"""yProv4ML, in its versions 1 to 3."""

from __future__ import annotations

import re
from pathlib import Path

from provml_tools.importing.mapping import Run, stage_of
from provml_tools.importing.points import series, table
from provml_tools.importing.repair import Document, Record

NAME = "yProv4ML"

_RUN_FACTS = (
    "run_id",
    "experiment_name",
    "python_version",
    "runtime_type",
    "global_rank",
    "source_git_commit",
    "requirements",
)
_PARAMETERS = ("Parameter", "HyperParameter")
_MODELS = ("Model", "ModelVersion")
_LEARNED = re.compile("data|train|test|val", re.I)
_NOT_DATA = ("Metric", "LearningStage", "Experiment", "RunStatistics", "SourceCode", *_PARAMETERS)


def speaks(document: Document) -> bool:
    """Tell whether yProv4ML wrote it."""
    return any(
        name.partition(":")[0] in ("prov-ml", "yprov") for record in document.records for name in record.attributes
    )


def _kind(record: Record) -> str:
    # `prov-ml:type` in version 1, `prov:type` with the value "provml:Metric" later.
    said = record.get("type")
    return str(getattr(said, "local", said) or "").rpartition(":")[2]


def _context_of(record: Record) -> str:
    label = record.name.local.rpartition("//")[2] if record.name is not None else ""
    return stage_of(_kind(record) or label)


def take(document: Document, run: Run) -> None:
    """Map a document."""
    activities = {record.name.iri: record for record in document.of("activity") if record.name is not None}
    informed = {r.ends[0].iri: r.ends[1].iri for r in document.of("wasInformedBy", "wasStartedBy")}
    roots = [iri for iri in activities if iri not in informed]
    root = next((iri for iri in roots if _kind(activities[iri]) == "LearningExecution"), None)
    root = root or next((iri for iri in roots if activities[iri].get("startedAtTime", "startTime")), None)
    root = root or (roots or list(activities) or [""])[0]
    first = activities.get(root)
    name = first.name.local.removesuffix("_execution") if first is not None and first.name is not None else ""
    begin = document.nanoseconds(first.get("startedAtTime", "startTime")) if first is not None else None
    end = document.nanoseconds(first.get("endedAtTime", "endTime")) if first is not None else None
    of: dict[str, str] = {root: run.begin(name, begin, end)}
    for agent in document.of("agent"):
        if agent.name is not None:
            run.person(agent.name.local)
    for record in [first, *(one for one in document.of("entity") if _kind(one) in ("LearningStage", "Experiment"))]:
        for fact in record.attributes if record is not None else ():
            plain = fact.rpartition(":")[2]
            if record is not None and (plain in _RUN_FACTS or fact.startswith("yprov:")):
                run.value("AttributeValue", run.root, plain, record.attributes[fact][0])

    def stage(iri: str) -> str:
        """Return our activity for one of theirs."""
        if iri in of:
            return of[iri]
        record = activities.get(iri)
        local = iri.rpartition("#")[2] if record is None or record.name is None else record.name.local
        kind = _kind(record) if record is not None else ""
        number = local.rpartition("_")[2]
        if local.startswith(("epoch_", "val_epoch_")) and number.isdecimal():
            whole = "validation" if local.startswith("val_") else "training"
            above = run.activity(stage_of(whole), whole, whole)
            of[iri] = run.section(above, int(number))
            return of[iri]
        label = local.rpartition("//")[2].removeprefix("Context.")
        cls = stage_of(kind or label)
        start, end = (document.nanoseconds(record.get(*names)) if record is not None else None for names in _TIMES)
        of[iri] = run.activity(cls, iri, label, start, end)
        return of[iri]

    trainings = [iri for iri, one in activities.items() if iri != root and _context_of(one) == "TrainingExecution"]
    epochs = [one for one in activities.values() if one.name is not None and one.name.local.startswith("epoch_")]
    if len(trainings) - len(epochs) == 1 and not epochs:
        run.training = stage(trainings[0])
    elif epochs:
        run.training = run.activity("TrainingExecution", "training", "training")

    used = {(r.ends[0].iri, r.ends[1].iri) for r in document.of("used")}
    made = {(r.ends[1].iri, r.ends[0].iri) for r in document.of("wasGeneratedBy")}
    data: dict[str, str] = {}
    for entity in document.of("entity"):
        if entity.name is None:
            continue
        iri, kind = entity.name.iri, _kind(entity)
        users = [stage(a) for a, e in sorted(used) if e == iri]
        makers = [stage(a) for a, e in sorted(made) if e == iri]
        label = str(entity.get("label", "name") or entity.name.local)
        if kind == "Metric":
            _metric(document, run, entity, label, makers)
        elif kind in _PARAMETERS:
            value = entity.get("parameter_value", "value")
            for activity in users or makers or [run.root]:
                run.value("LearningHyperparameterValue", activity, label, value)
        elif kind not in _NOT_DATA and (users or makers):
            path = entity.get("identifier", "artifact_uri", "artifact_path")
            size = entity.get("file_size")
            size = int(size) if str(size).isdecimal() else None
            cls = "Model" if kind in _MODELS else "LearningDataset" if users and _LEARNED.search(label) else "Dataset"
            time = document.nanoseconds(entity.get("generatedAtTime", "creation_timestamp"))
            data[iri] = run.data(cls, iri, label, str(path or ""), size)
            for activity in users:
                run.uses(activity, data[iri])
            # At most one generation: the innermost, which has a kind of its own.
            for activity in sorted(makers, key=lambda one: one == run.root)[:1]:
                run.makes(activity, data[iri], time)
    for relation in document.of("wasDerivedFrom"):
        one, other = (data.get(end.iri) for end in relation.ends)
        if one and other and one != other:
            run.builder.relate("wasDerivedFrom", one, other)


_TIMES = (("startedAtTime", "startTime"), ("endedAtTime", "endTime"))


def _metric(document: Document, run: Run, entity: Record, label: str, makers: list[str]) -> None:
    points = series(document, entity)
    name = label
    context = str(entity.get("context") or "").removeprefix("Context.")
    if not points and (path := entity.get("identifier")):
        for place in (document.path.parent / str(path), document.path.parent / "/".join(Path(str(path)).parts[-2:])):
            if place.suffix in (".csv", ".txt") and place.is_file():
                points = table(document, place)
                break
        else:
            document.repairs["metrics whose files are not there, or no CSV"] = (
                document.repairs.get("metrics whose files are not there, or no CSV", 0) + 1
            )
    cls = stage_of(context)
    if cls == "DataTransformationExecution":
        activity = makers[0] if makers else run.root
        if run.builder.class_of(activity) == "LearningStageSectionExecution":
            activity = run.root
    else:
        # One activity for a context, be it told by name (version 1) or as an activity (version 3).
        whole = [one for one in makers if run.builder.class_of(one) == cls]
        word = {"TrainingExecution": "training", "ValidationExecution": "validation"}.get(cls, "evaluation")
        activity = whole[0] if whole else run.activity(cls, word, word)
    run.samples(activity, name, points)
