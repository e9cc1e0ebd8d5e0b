"""Any other PROV-JSON: activities are steps, entities are data, and their attributes are facts about them."""

from __future__ import annotations

from provml_tools.importing.mapping import Run, stage_of
from provml_tools.importing.repair import Document

NAME = "PROV-JSON"


def take(document: Document, run: Run) -> None:
    """Map a document."""
    times = {
        record.name.iri: [
            document.nanoseconds(record.get(*names))
            for names in (("startTime", "startedAtTime"), ("endTime", "endedAtTime"))
        ]
        for record in document.of("activity")
        if record.name is not None
    }
    starts = [pair[0] for pair in times.values() if pair[0] is not None]
    ends = [pair[1] for pair in times.values() if pair[1] is not None]
    names = [record.name.local for record in document.of("activity") if record.name is not None]
    learning = any(stage_of(name) != "DataTransformationExecution" for name in names)
    run.begin("", min(starts, default=None), max(ends, default=None), learning)
    of: dict[str, str] = {}
    for record in document.of("activity"):
        if record.name is not None:
            label = str(record.get("label") or record.name.local)
            start, end = times[record.name.iri]
            of[record.name.iri] = run.activity(
                stage_of(f"{record.name.local} {label}"), record.name.iri, label, start, end
            )
    for record in document.of("agent"):
        if record.name is not None:
            run.person(str(record.get("label") or record.name.local))
    makers: dict[str, tuple[str, int | None]] = {}
    for relation in document.of("wasGeneratedBy"):
        if relation.ends[1].iri in of:
            # PROV-CONSTRAINTS knows one generation.
            makers.setdefault(
                relation.ends[0].iri, (of[relation.ends[1].iri], document.nanoseconds(relation.get("time")))
            )
    data: dict[str, str] = {}
    for record in document.of("entity"):
        if record.name is None or record.name.iri in data:
            continue
        label = str(record.get("label") or record.name.local)
        cls = "Model" if "model" in str(record.get("type") or label).lower() else "Dataset"
        data[record.name.iri] = run.data(cls, record.name.iri, label, str(record.get("path", "identifier") or ""))
        for name, values in record.attributes.items():
            if not name.startswith("prov:"):
                run.value("AttributeValue", data[record.name.iri], name.rpartition(":")[2], values[0])
        if record.name.iri in makers:
            activity, time = makers[record.name.iri]
            run.makes(activity, data[record.name.iri], time)
    for relation in document.of("used"):
        activity, entity = (end.iri for end in relation.ends)
        if activity in of and entity in data:
            role = relation.get("role")
            run.uses(of[activity], data[entity], document.nanoseconds(relation.get("time")), str(role or ""))
    for kind in ("wasDerivedFrom", "specializationOf"):
        for relation in document.of(kind):
            one, other = (data.get(end.iri) for end in relation.ends)
            if kind == "wasDerivedFrom" and one and other and one != other:
                run.builder.relate("wasDerivedFrom", one, other)
