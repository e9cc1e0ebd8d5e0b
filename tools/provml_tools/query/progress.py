"""One training section by section: its measures, and its samples where that is all there is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from provml_tools.query.answer import Answer, Options, when
from provml_tools.query.engine import Engine, Iri, Row
from provml_tools.query.named import NamedQuery
from provml_tools.query.samples import section_statements


def progress(engine: Engine, query: NamedQuery, options: Options) -> Answer:
    """Return a row for each section of each training, in order of start, then one for the training's own measures."""
    for graph in engine.graphs:
        engine.add(section_statements(graph))
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in engine.select(query.bind(options.values)):
        rows[str(row["kind"])].append(row)
    sections = {str(row["section"]): row for row in rows["section"]}
    measured = _measured(rows["measure"], sections)
    sampled: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows["samples"]:
        sampled[str(row["section"])][str(row["what"])] = row

    answer = Answer([], [], query.title)
    measures: dict[str, None] = {}
    series: dict[str, None] = {}
    inside: dict[str, list[str]] = defaultdict(list)
    for section, row in sections.items():
        inside[str(row["training"])].append(section)
    for training in rows["training"]:
        iri = str(training["training"])
        for node, row in [*((one, sections[one]) for one in inside[iri]), (iri, training)]:
            values, samples = measured.get(node, {}), sampled.get(node, {})
            if node == iri and inside[iri] and not values and not samples:
                continue
            line: dict[str, Any] = {
                "training": training["name"],
                "experiment": training["run"],
                "section": "" if node == iri else section_path(node, sections),
                "outcome": row["outcome"],
                "ranks": row["ranks"],
                "started": when(row["started"]),
                "seconds": _seconds(row),
                "iri": Iri(node),
            }
            for name, (_, value) in values.items():
                line[name] = value
                measures[name] = None
            for name, row in samples.items():
                if name not in values:
                    line[f"{name} mean"], line[f"{name} last"] = row["value"], row["last"]
                    line["samples"] = max(line.get("samples", 0), row["count"] if isinstance(row["count"], int) else 0)
                    series[name] = None
            answer.rows.append(line)
    columns = [*measures, *(f"{name} {what}" for name in series for what in ("mean", "last"))]
    columns += ["samples"] if series else []
    taken = ["training", "experiment", "section", "outcome", "ranks", "started", "seconds", "iri"]
    # A measure may have the name of one of our columns; then ours are the ones in front.
    columns = [name for name in columns if name not in taken]
    answer.columns = [*taken[:3], *columns, *taken[3:]]
    answer.shown = ["training", "section", *columns, "seconds"]
    if len({row["experiment"] for row in answer.rows}) > 1:
        answer.shown.insert(1, "experiment")
    if any(row["outcome"] not in ("completed", None) for row in answer.rows):
        answer.shown.append("outcome")
    return answer


def _measured(rows: list[Row], sections: dict[str, Row]) -> dict[str, dict[str, tuple[tuple[int, str], Any]]]:
    """Credit each value to the innermost section that it was measured in, and keep the latest of each measure."""
    places: dict[str, list[str]] = defaultdict(list)
    facts: dict[str, Row] = {}
    for row in rows:
        places[str(row["fact"])].append(str(row["section"]))
        facts[str(row["fact"])] = row
    found: dict[str, dict[str, tuple[tuple[int, str], Any]]] = defaultdict(dict)
    for fact, row in facts.items():
        node = max(places[fact], key=lambda one: len(_above(one, sections)))
        time = (row["time"] if isinstance(row["time"], int) else 0, fact)
        what = str(row["what"])
        if what not in found[node] or time > found[node][what][0]:
            found[node][what] = (time, row["value"])
    return found


def _above(section: str, sections: Mapping[str, Row]) -> list[str]:
    """Return a section and the sections around it, innermost first."""
    found: list[str] = []
    while section in sections and section not in found:
        found.append(section)
        section = str(sections[section]["within"])
    return found


def section_path(section: str, sections: Mapping[str, Row]) -> str:
    """Return the name of a section with those around it: ``fold 1 / epoch 3``."""
    names = []
    for one in reversed(_above(section, sections)):
        row = sections[one]
        names.append(f"{row['what']} {row['value']}" if row["value"] is not None else str(row["what"] or row["name"]))
    return " / ".join(names)


def _seconds(row: Row) -> float | None:
    start, end = row["started"], row["ended"]
    return (end - start) / 1e9 if isinstance(start, int) and isinstance(end, int) else None
