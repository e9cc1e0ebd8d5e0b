"""DLProv, the successor of DNNProv and Keras-Prov."""

from __future__ import annotations

import re
from typing import Any

from provml_tools.importing.mapping import Run, stage_of
from provml_tools.importing.repair import Document, Record

NAME = "DLProv"

_NOTHING = -9999999.0
"""What DLProv writes where there was no value."""
_PATH = re.compile("dir|path|source|file|set$", re.I)
_BESIDE = ("ds_tag", "timestamp", "elapsed_time", "epoch")


def speaks(document: Document) -> bool:
    """Tell whether DLProv wrote it."""
    return any(name.startswith(("dlprov:", "dnnprov:")) for record in document.records for name in record.attributes)


def _plain(record: Record) -> dict[str, Any]:
    return {name.rpartition(":")[2]: values[0] for name, values in record.attributes.items() if values}


def take(document: Document, run: Run) -> None:
    """Map a document."""
    records = {record.name.iri: record for record in document.of("activity", "entity") if record.name is not None}
    whole = next((iri for iri, one in records.items() if one.kind == "activity" and one.get("exec_tag")), "")
    tag = str(records[whole].get("exec_tag")) if whole else document.path.stem
    # The tag is the name of the dataflow, and when it started.
    found = re.fullmatch(r"(.*?)-?([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]+)", tag)
    begin = document.nanoseconds(found[2]) if found else None
    of = {whole: run.begin(found[1] if found else tag, begin, None)}
    for iri, record in records.items():
        if record.kind == "activity" and iri != whole:
            name = str(record.get("dt_tag") or (record.name.local if record.name else ""))
            of[iri] = run.activity(stage_of(name), iri, name)
    for agent in document.of("agent"):
        if agent.name is not None:
            run.person(str(agent.get("name", "label") or agent.name.local))

    used = {(r.ends[1].iri, r.ends[0].iri) for r in document.of("used")}
    made = {(r.ends[0].iri, r.ends[1].iri) for r in document.of("wasGeneratedBy")}
    for iri, record in records.items():
        if record.kind != "entity":
            continue
        said = {key: value for key, value in _plain(record).items() if value != _NOTHING}
        users = [of[activity] for entity, activity in sorted(used) if entity == iri and activity in of]
        makers = [of[activity] for entity, activity in sorted(made) if entity == iri and activity in of]
        if "tag" in said and not makers:
            continue  # the plan, which the run has already
        _entity(document, run, iri, str(said.get("ds_tag") or ""), said, users, makers)


def _entity(
    document: Document, run: Run, iri: str, tag: str, said: dict[str, Any], users: list[str], makers: list[str]
) -> None:
    names = [key for key in said if key not in _BESIDE]
    path = next((key for key in names if _PATH.search(key) and isinstance(said[key], str)), None)
    time = document.nanoseconds(said.get("timestamp"))
    numbers = [key for key in names if isinstance(said[key], float | int) and not isinstance(said[key], bool)]
    if path is not None:
        is_model = "model" in tag.lower() or path.startswith("model")
        cls = "Model" if is_model else "LearningDataset" if re.search("train|test", tag) else "Dataset"
        label = str(said.get("model_name") or said.get("dataset_name") or said[path])
        data = run.data(cls, iri, label, str(said[path]))
        for activity in users:
            run.uses(activity, data)
        for activity in makers[:1]:
            run.makes(activity, data)
    elif makers:
        activity = makers[0]
        if isinstance(said.get("epoch"), float | int):
            length = said.get("elapsed_time")
            try:
                start = None if time is None else time - int(float(str(length)) * 1e9)
            except ValueError:
                start = time
            activity = run.section(activity, int(said["epoch"]), start, time)
        else:
            run.widen(activity, time, time)
        for key in numbers:
            run.measure(activity, key, float(said[key]), time)
    else:
        for activity in users:
            learns = run.builder.class_of(activity) == "TrainingExecution"
            for key in names:
                value = said[key]
                # All numbers are written as doubles; a count stays one.
                if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
                    value = int(value)
                cls = "LearningHyperparameterValue" if learns else "AttributeValue"
                run.value(cls, activity, key, value)
