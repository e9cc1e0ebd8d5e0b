"""What a person asks of a run, made from its graph: its activities, entities, parameters and evaluations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from provml_hpc.assembly.graph import Graph
from provml_hpc.storage.record_table import RecordTable, plain
from provml_hpc.values import decode
from provml_hpc.vocabulary import CLASS, Identity

_PARTS = ("Attempt", "RankExecution")  # How a run went on its ranks; Reader.nodes() has them.
_PARAMETERS = {
    "LearningHyperparameterValue": "learning",
    "ModelHyperparameterValue": "model",
    "AttributeValue": "attribute",
    "DatasetCharacteristic": "characteristic",
}
_Rows = Iterator[dict[str, Any]]


def _has(graph: Graph, wanted: Callable[[str], bool]) -> list[str]:
    return [name for name in graph.nodes if wanted(name)]


def rows(graph: Graph, classes: Iterable[str]) -> _Rows:
    """Yield the nodes of some classes with Python values, and ``kind`` for the class."""
    for cls in classes:
        table = graph.nodes.get(cls)
        if table is None:
            continue
        columns = {name: plain(column) for name, column in table.columns.items()}
        for values in zip(*columns.values(), strict=True):
            yield {"kind": cls, **dict(zip(columns, values, strict=True))}


def links(graph: Graph, name: str) -> _Rows:
    """Yield the relations of a name with Python values."""
    table = graph.relations.get(name)
    if table is not None:
        columns = {key: plain(column) for key, column in table.columns.items()}
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))


def value(kind: str, text: str) -> Any:
    """Return the value that a type and a text mean; the text itself where it does not fit the type."""
    try:
        return None if kind == "absent" else decode(kind, text)
    except (ValueError, ArithmeticError, RecursionError):
        return text


def activity_classes(graph: Graph) -> list[str]:
    """Return the classes of activities that a run has, without the parts that its ranks had in them."""
    return _has(graph, lambda name: "prov:Activity" in CLASS[name].prov and name not in _PARTS)


def parents(graph: Graph) -> dict[int, int]:
    """Return for each id what it is a part of."""
    return {row["subject"]: row["object"] for row in links(graph, "isPartOf")}


def inside(graph: Graph, ids: Iterable[int]) -> set[int]:
    """Return some activities and all that are a part of them, at any depth."""
    children: dict[int, list[int]] = defaultdict(list)
    for child, parent in parents(graph).items():
        children[parent].append(child)
    found: set[int] = set()
    waiting = list(ids)
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += children[one]
    return found


def activities(graph: Graph) -> RecordTable:
    """Return the activities in order of their start."""
    parent = parents(graph)
    found = sorted(
        rows(graph, activity_classes(graph)),
        key=lambda row: (row["start_ns"] is None, row["start_ns"] or 0, row["id"]),
    )
    return _table(
        "activities",
        found,
        {
            "name": lambda row: row["label"],
            "parent": lambda row: parent.get(row["id"]),
            "section_kind": lambda row: row.get("section_kind") or None,
            "section_index": lambda row: row.get("section_index"),
            "item": lambda row: value(row.get("item_type", "absent"), row.get("item", "")),
            **_as_they_are("start_ns", "end_ns", "outcome", "attempt", "ranks"),
            "phase": lambda row: row.get("phase") or None,
        },
    )


def entities(graph: Graph) -> RecordTable:
    """Return the data and models, with the digest of their bytes and what made and used them."""
    contents = {row["id"]: row for row in rows(graph, ["Content"])}
    content: dict[int, dict[str, Any]] = {}
    for link in links(graph, "specializationOf"):
        one = contents.get(link["object"])
        known = content.get(link["subject"])
        # A file can have a whole digest and a weaker fingerprint; the whole one says more.
        if one is not None and (known is None or one["algorithm"] == "sha256"):
            content[link["subject"]] = one
    made = {link["subject"]: link["object"] for link in links(graph, "wasGeneratedBy")}
    used: dict[int, list[int]] = defaultdict(list)
    roles: dict[int, list[str]] = defaultdict(list)
    for link in links(graph, "used"):
        used[link["object"]].append(link["subject"])
        if link.get("role") and link["role"] not in roles[link["object"]]:
            roles[link["object"]].append(link["role"])
    derived: dict[int, list[int]] = defaultdict(list)
    for link in links(graph, "wasDerivedFrom"):
        derived[link["subject"]].append(link["object"])
    versions = _has(graph, lambda name: CLASS[name].identity is Identity.VERSION)
    return _table(
        "entities",
        rows(graph, versions),
        {
            **_as_they_are("label", "path", "select", "size", "modified_ns"),
            "algorithm": lambda row: content.get(row["id"], {}).get("algorithm"),
            "digest": lambda row: content.get(row["id"], {}).get("digest"),
            "content": lambda row: content.get(row["id"], {}).get("uuid"),
            "digest_state": lambda row: row["digest_state"] or None,
            "generated_by": lambda row: made.get(row["id"]),
            "used_by": lambda row: list(dict.fromkeys(used.get(row["id"], []))),
            "role": lambda row: ", ".join(roles.get(row["id"], [])) or None,
            "derived_from": lambda row: derived.get(row["id"], []),
            **_as_they_are("step", "attempt", "ranks"),
        },
    )


def params(graph: Graph) -> RecordTable:
    """Return the values that activities were given and models were shaped with: one row for each activity or model."""
    values = {row["id"]: row for row in rows(graph, _PARAMETERS)}
    made = {link["subject"]: link["object"] for link in links(graph, "wasGeneratedBy")}
    shaping = {link["object"] for link in links(graph, "hasSetting")}
    found = []
    for link in links(graph, "used"):
        if link["object"] in values and link["object"] not in shaping:  # those have their row below
            row = values[link["object"]]
            found.append({**row, "activity": link["subject"], "entity": None, "ranks": link["ranks"] or row["ranks"]})
    for link in links(graph, "hasSetting"):
        if link["object"] in values:
            owner = link["subject"]
            found.append({**values[link["object"]], "activity": made.get(owner), "entity": owner})
    return _values("params", found)


def attributes(graph: Graph) -> RecordTable:
    """Return what was found out: facts of the run and its ranks, values of activities, characteristics of data."""
    values = {row["id"]: row for row in rows(graph, _PARAMETERS)}
    found = []
    for name in ("hasAttribute", "hasQuality"):
        for link in links(graph, name):
            if link["object"] in values:
                found.append({**values[link["object"]], "of": link["subject"]})
    return _values("attributes", found, "of")


def _values(name: str, found: list[dict[str, Any]], *ends: str) -> RecordTable:
    found.sort(key=lambda row: row["id"])
    return _table(
        name,
        found,
        {
            **_as_they_are(*(ends or ("activity", "entity"))),
            "name": lambda row: row["label"],
            "value": lambda row: value(row["value_type"], row["value"]),
            "kind": lambda row: _PARAMETERS[row["kind"]],
            "type": lambda row: row["value_type"],
            **_as_they_are("attempt", "ranks"),
        },
    )


def evaluations(graph: Graph) -> RecordTable:
    """Return the measures that were taken at one moment, in order of time."""
    by = {link["subject"]: link["object"] for link in links(graph, "wasGeneratedBy")}
    model = {link["subject"]: link["object"] for link in links(graph, "ofModel")}
    on = {link["subject"]: link["object"] for link in links(graph, "onData")}
    found = sorted(rows(graph, ["ModelEvaluation"]), key=lambda row: (row["time_ns"] or 0, row["id"]))
    return _table(
        "evaluations",
        found,
        {
            "activity": lambda row: by.get(row["id"]),
            "measure": lambda row: row["label"],
            "value": lambda row: value(row["value_type"], row["value"]),
            "model": lambda row: model.get(row["id"]),
            "on": lambda row: on.get(row["id"]),
            **_as_they_are("step", "time_ns", "attempt", "ranks"),
        },
    )


_Fields = dict[str, Callable[[dict[str, Any]], Any]]


def _as_they_are(*names: str) -> _Fields:
    return {name: lambda row, name=name: row[name] for name in names}  # type: ignore[misc]


def _table(name: str, found: Iterable[dict[str, Any]], fields: _Fields) -> RecordTable:
    """Make a table of rows; every one starts with id, uuid and kind."""
    fields = {**_as_they_are("id", "uuid", "kind"), **fields}
    columns: dict[str, list[Any]] = {key: [] for key in fields}
    for row in found:
        for key, take in fields.items():
            columns[key].append(take(row))
    return RecordTable(name, columns)
