"""A run as a Process Run Crate 0.5: a folder that RO-Crate tools can read.

https://www.researchobject.org/workflow-run-crate/profiles/process_run_crate; it builds on RO-Crate 1.1. Every activity
that read or made data becomes an action, with parameters and measures as property values.
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from provml_hpc import vocabulary
from provml_hpc.assembly.graph import ABSENT, Graph
from provml_tools.export import need
from provml_tools.rdf import terms

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
NO_LICENSE = "#no-license"
_ORCID = re.compile(r"(?:https?://orcid\.org/)?([0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]{3}[0-9X])")
_PARTS = ("LearningStageSectionExecution", "RankExecution", "Attempt")
_SETTINGS = ("LearningHyperparameterValue", "ModelHyperparameterValue", "AttributeValue")
_STATUS = {"completed": "http://schema.org/CompletedActionStatus", "failed": "http://schema.org/FailedActionStatus"}

Row = dict[str, Any]


def write(graph: Graph, files: Sequence[Path], folder: Path, license: str | None = None) -> None:
    """Write a run into a folder that is there, with a copy of its files.

    Parameters
    ----------
    graph
        The run.
    files
        The HDF5 files that it was read from: one, unless several ranks wrote.
    folder
        An empty folder.
    license
        The address of a licence. A crate must name one; if None it says that none was stated.

    Raises
    ------
    UsageError
        The package rocrate is not there.
    """
    need("rocrate", lambda: __import__("rocrate.rocrate"))
    copies = [folder / file.name for file in files]
    for file, copy in zip(files, copies, strict=True):
        shutil.copyfile(file, copy)
    _Maker(graph).make(copies, license).write(str(folder))


class _Maker:
    def __init__(self, graph: Graph) -> None:
        from rocrate.rocrate import ROCrate

        self._crate: Any = ROCrate(version="1.1")
        self._run = graph.run
        self._rows: dict[int, Row] = {}
        self._class: dict[int, str] = {}
        for name, table in graph.nodes.items():
            for row in table.rows():
                self._rows[row["id"]], self._class[row["id"]] = row, name
        self._links: dict[str, dict[int, list[Row]]] = {}
        for name, table in graph.relations.items():
            found = self._links[name] = defaultdict(list)
            for row in table.rows():
                found[row["subject"]].append(row)
        self._made: dict[int, list[int]] = defaultdict(list)
        for subject, rows in self._links.get("wasGeneratedBy", {}).items():
            for row in rows:
                self._made[row["object"]].append(subject)
        self._inner: dict[int, list[int]] = defaultdict(list)
        for subject, rows in self._links.get("isPartOf", {}).items():
            for row in rows:
                self._inner[row["object"]].append(subject)
        self._entities: dict[int, Any] = {}

    def make(self, files: Sequence[Path], license: str | None) -> Any:
        run = self._run
        root = self._crate.root_dataset
        root["name"] = run.name or "run"
        root["description"] = f"Provenance of the {run.phase or 'job'} job {run.name}, captured by {run.writer}."
        root["datePublished"] = (
            _time(run.committed_ns if run.committed_ns != ABSENT else run.started_ns) or "1970-01-01"
        )
        root["identifier"] = f"urn:uuid:{run.uuid}"
        root["license"] = self._license(license)
        profile = self._thing(PROFILE, "CreativeWork", name="Process Run Crate", version="0.5")
        root["conformsTo"] = profile
        for number, file in enumerate(files, 1):
            which = f", {number} of {len(files)}" if len(files) > 1 else ""
            self._crate.add_file(
                str(file),
                file.name,
                properties={
                    "name": f"what was captured, with all samples{which}",
                    "description": f"HDF5 file of the run {run.uuid}, written by {run.writer}",
                    "encodingFormat": "application/x-hdf5",
                    "contentSize": str(file.stat().st_size),
                },
            )
        actions = [self._action(at) for at in sorted(self._rows) if self._is_action(at)]
        root["mentions"] = actions
        return self._crate

    def _license(self, license: str | None) -> Any:
        if license is not None:
            return self._thing(license, "CreativeWork", name=license)
        return self._thing(NO_LICENSE, "CreativeWork", name="none stated", description="Ask those who made the data.")

    def _thing(self, iri: str, kind: Any, /, **properties: Any) -> Any:
        from rocrate.model.contextentity import ContextEntity

        said = {name: _single(value) for name, value in properties.items() if value not in (None, "", [])}
        return self._crate.add(ContextEntity(self._crate, iri, properties={"@type": kind, **said}))

    def _is_action(self, at: int) -> bool:
        cls = self._class[at]
        return "prov:Activity" in vocabulary.CLASS[vocabulary.lineage(cls)[-1]].prov and cls not in _PARTS

    def _with_parts(self, at: int) -> Iterator[int]:
        """Yield an activity and its sections and ranks, whose data is its own here."""
        yield at
        for inner in self._inner.get(at, ()):
            if self._class[inner] in _PARTS:
                yield from self._with_parts(inner)

    def _action(self, at: int) -> Any:
        row, cls = self._rows[at], self._class[at]
        whole = list(self._with_parts(at))
        used = [link["object"] for part in whole for link in self._links.get("used", {}).get(part, ())]
        made = [subject for part in whole for subject in self._made.get(part, ())]
        inputs = [self._described(one) for one in dict.fromkeys(used)]
        results = [
            self._described(one)
            for one in dict.fromkeys(made)
            if self._class[one] not in ("MetricSeries", "TelemetrySeries")
        ]
        outcome = row.get("outcome", "")
        return self._thing(
            _iri(row),
            "CreateAction",
            name=row.get("label") or cls,
            description=vocabulary.CLASS[cls].comment,
            additionalType=vocabulary.CLASS[cls].iri,
            startTime=_time(row.get("start_ns", ABSENT)),
            endTime=_time(row.get("end_ns", ABSENT)),
            actionStatus=_STATUS.get(outcome),
            instrument=self._instrument(at),
            agent=self._agents(at),
            object=[one for one in inputs if one is not None],
            result=[one for one in results if one is not None],
        )

    def _up(self, at: int) -> Iterator[int]:
        seen = {at}
        queue = [at]
        while queue:
            one = queue.pop(0)
            yield one
            for link in self._links.get("isPartOf", {}).get(one, ()):
                if link["object"] not in seen:
                    seen.add(link["object"])
                    queue.append(link["object"])

    def _instrument(self, at: int) -> Any:
        for one in self._up(at):
            for link in self._links.get("executes", {}).get(one, ()):
                return self._software(link["object"])
        for at_, cls in self._class.items():
            if cls == "Implementation":
                return self._software(at_)
        # A crate must name what ran, and this run does not say.
        known = self._crate.get("#program")
        return known or self._thing(
            "#program", "SoftwareApplication", name=self._run.name, description="What ran; its code was not recorded."
        )

    def _software(self, at: int) -> Any:
        if at not in self._entities:
            row = self._rows[at]
            needs = [self._software(link["object"]) for link in self._links.get("requires", {}).get(at, ())]
            self._entities[at] = self._thing(
                _iri(row),
                "SoftwareApplication" if self._class[at] == "Software" else "SoftwareSourceCode",
                name=row.get("label") or "software",
                version=row.get("version"),
                softwareRequirements=needs,
            )
        return self._entities[at]

    def _agents(self, at: int) -> list[Any]:
        for one in self._up(at):
            found = [
                self._person(link["object"])
                for link in self._links.get("wasAssociatedWith", {}).get(one, ())
                if "Persona" in vocabulary.lineage(self._class[link["object"]])
            ]
            if found:
                return list(dict.fromkeys(found))
        return []

    def _person(self, at: int) -> Any:
        if at not in self._entities:
            row = self._rows[at]
            orcid = _ORCID.fullmatch(row.get("identifier", "").strip())
            self._entities[at] = self._thing(
                f"https://orcid.org/{orcid[1]}" if orcid else _iri(row),
                "Person" if self._class[at] == "Persona" else "Organization",
                name=row.get("label") or row.get("identifier"),
                identifier=row.get("identifier"),
            )
        return self._entities[at]

    def _described(self, at: int) -> Any:
        if at not in self._entities:
            cls = self._class[at]
            if cls in _SETTINGS or cls == "ModelEvaluation":
                self._entities[at] = self._value(at)
            elif vocabulary.allows(("Dataset", "Model"), cls):
                self._entities[at] = self._data(at)
            else:
                self._entities[at] = None
        return self._entities[at]

    def _value(self, at: int) -> Any:
        row = self._rows[at]
        return self._thing(
            _iri(row),
            "PropertyValue",
            name=row.get("label") or self._class[at],
            additionalType=vocabulary.CLASS[self._class[at]].iri,
            value=_plain(row),
        )

    def _data(self, at: int) -> Any:
        row, cls = self._rows[at], self._class[at]
        contents = [
            self._rows[link["object"]]
            for link in self._links.get("specializationOf", {}).get(at, ())
            if self._class[link["object"]] == "Content"
        ]
        digest = {one["algorithm"]: one["digest"] for one in contents}
        facts = [
            self._value(link["object"])
            for name in ("hasQuality", "hasSetting")
            for link in self._links.get(name, {}).get(at, ())
        ]
        size = row.get("size", ABSENT)
        origins = [
            {"@id": _iri(self._rows[link["object"]])}
            for name in ("wasDerivedFrom", "wasRevisionOf")
            for link in self._links.get(name, {}).get(at, ())
        ]
        return self._thing(
            _iri(row),
            # No File: that would have to lie in the crate, or on the web.
            "CreativeWork",
            name=row.get("label") or row.get("path") or cls,
            additionalType=vocabulary.CLASS[cls].iri,
            identifier=[f"{algorithm}:{value}" for algorithm, value in sorted(digest.items())],
            sha256=digest.get("sha256"),
            alternateName=row.get("path"),
            contentSize=None if size == ABSENT else str(size),
            variableMeasured=facts,
            isBasedOn=origins,
        )


def _single(value: Any) -> Any:
    """Return the one of a list of one: RO-Crate recommends it."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _plain(row: Row) -> Any:
    text, kind = row.get("value", ""), row.get("value_type", "absent")
    try:
        number = {"integer": int, "real": float}.get(kind, str)(text)
    except ValueError:
        return text
    # JSON has no NaN and no infinity.
    return text if isinstance(number, float) and not np.isfinite(number) else number


def _iri(row: Row) -> str:
    return f"{terms.DEFAULT_BASE}{terms.check_uuid(row['uuid'])}"


def _time(nanoseconds: int) -> str | None:
    if nanoseconds == ABSENT:
        return None
    # To the millisecond, and with an offset: the form that the profile recommends.
    return terms.times(np.array([nanoseconds], np.int64))[0][:23] + "+00:00"
