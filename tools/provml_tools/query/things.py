"""Runs, activities and versions of data, with what a person knows them by."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from provml_hpc import vocabulary
from provml_tools.query.answer import most_special
from provml_tools.query.engine import Engine, Row, Value
from provml_tools.query.named import part


@dataclass
class Thing:
    """A run, an activity, or a version of data, with what a person knows it by."""

    iri: str
    cls: str = ""
    name: str = ""
    path: str = ""
    select: str = ""
    digest: str = ""
    algorithm: str = ""
    size: int | None = None
    start: int | None = None
    end: int | None = None
    outcome: str = ""
    section_kind: str = ""
    section_index: int | None = None
    step: int | None = None
    phase: str = ""
    facts: dict[str, dict[str, Value]] = field(default_factory=dict)
    """Parameters, attributes and characteristics, by those words."""

    @property
    def details(self) -> dict[str, Value]:
        """All facts by name."""
        found: dict[str, Value] = {}
        # The facts of a run, from its host to its packages, are too many to be details of it.
        is_run = vocabulary.allows(("WorkflowExecution",), self.cls)
        for kind in ("parameter", "characteristic") if is_run else ("parameter", "characteristic", "attribute"):
            for name, value in self.facts.get(kind, {}).items():
                found.setdefault(name, value)
        return found


def things_of(engine: Engine) -> dict[str, Thing]:
    """Return all things of the loaded runs by their IRIs."""
    classes: dict[str, list[str]] = defaultdict(list)
    rows: dict[str, Row] = {}
    for row in engine.select(part("things")):
        classes[str(row["thing"])].append(str(row["class"]))
        rows[str(row["thing"])] = row
    found = {}
    for iri in sorted(rows):
        row = rows[iri]
        found[iri] = Thing(
            iri,
            most_special(classes[iri]),
            name=_text(row["name"]),
            path=_text(row["path"]),
            select=_text(row["select"]),
            digest=_text(row["digest"]),
            algorithm=_text(row["algorithm"]),
            size=_number(row["size"]),
            start=_number(row["startNs"]),
            end=_number(row["endNs"]),
            outcome=_text(row["outcome"]),
            section_kind=_text(row["sectionKind"]),
            section_index=_number(row["sectionIndex"]),
            step=_number(row["step"]),
            phase=_text(row["phase"]),
        )
    return found


def _text(value: Value) -> str:
    return "" if value is None else str(value)


def _number(value: Value) -> int | None:
    return value if isinstance(value, int) else None
