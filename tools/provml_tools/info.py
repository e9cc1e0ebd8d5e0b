"""What is in a file, as one dict for programs and one screen for people."""

from __future__ import annotations

import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from provml_hpc import vocabulary
from provml_hpc.assembly.clocks import corrections
from provml_hpc.assembly.graph import ABSENT, Graph, Table
from provml_tools import info_telemetry
from provml_tools.query.answer import Answer, kind_of, when
from provml_tools.query.tables import cell, number, safe, write_table

_RUN = ("WorkflowExecution", "LearningExperimentExecution")
_SHOWN_FACTS = {
    "user": "user.name",
    "system": "os.distribution",
    "command": "command.line",
    "folder": "command.directory",
    "python": "python.version",
    "mpi": "mpi.library",
    "scheduler": "scheduler.name",
    "job": "scheduler.job_id",
}
_MOST = 12
"""Lines of one kind on a person's screen; what is left out is counted there, and all in the JSON."""


def collect(path: str) -> dict[str, Any]:
    """Return all that a file tells, ready for JSON.

    Raises
    ------
    FileMissingError, FormatError
        There is no such file, or it cannot be read.
    """
    from provml_hpc.storage import reader

    with reader.open(path) as file:
        found = describe(file.graph)
        found["status"] = str(file.status)
        commits = file.commits
        found["commits"] = {"count": len(commits)}
        if len(commits):
            last = int(commits["time_ns"][-1])
            found["commits"] |= {"last": when(last), "last_ns": last}
        found["file"] = str(file.path)
        found["bytes"] = _size(file.path)
        found["damage"] = list(file.damage)
    return found


def _size(path: Path) -> int | None:
    # The log of a run that ends right now gives way to the closed file.
    for one in (path, path.with_suffix("") if path.suffix == ".partial" else path):
        with contextlib.suppress(OSError):
            return one.stat().st_size
    return None


def describe(graph: Graph) -> dict[str, Any]:
    """Return what the graph of a run tells."""
    known = _Records(graph)
    run, details = graph.run, graph.run.details
    execution: dict[str, Any] = next(
        (row for cls in _RUN for row in known.rows(cls) if row["run"] in ("", run.uuid)), {}
    )
    start = run.started_ns if run.started_ns not in (ABSENT, 0) else execution.get("start_ns", ABSENT)
    end = execution.get("end_ns", ABSENT)
    until = end if end != ABSENT else run.committed_ns
    # Reading samples of a million rows is not for one screen: the series sum them up already.
    return {
        "file": run.file,
        "run": run.uuid,
        "name": run.name,
        "phase": run.phase,
        "study": run.study,
        "status": run.status,
        "failures": [_failure(one) for one in details.get("failures", ())],
        "lost": [_failure(one) for one in details.get("lost", ())],
        "started": when(start) if start != ABSENT else None,
        "ended": when(end) if end != ABSENT else None,
        "seconds": (until - start) / 1e9 if ABSENT not in (start, until) else None,
        "who": [row["label"] for cls in ("Persona", "Organization") for row in known.rows(cls)],
        "ranks": len(details.get("ranks", ())) or len({row["rank"] for row in known.rows("Rank")}),
        "nodes": [row["label"] for row in known.rows("ComputeNode")],
        "attempts": [
            {"attempt": row["attempt"], "outcome": row["outcome"], "started": when(row["start_ns"])}
            for row in known.rows("Attempt")
        ],
        "facts": known.facts(execution.get("id")),
        "activities": known.activities(),
        "parameters": known.parameters(),
        "data": known.data(),
        "measures": known.measures(),
        "telemetry": info_telemetry.collect(graph),
        "rows": {name: len(table) for name, table in graph.nodes.items()}
        | {"samples": sum(table.count for table in (*graph.samples, *graph.telemetry))},
        "dropped": details.get("dropped", []),
        "disagreements": details.get("disagreements", []),
        "clocks": _clocks(graph),
        "cost": {name: _spread(by_rank) for name, by_rank in details.get("cost", {}).items()},
        "written by": run.writer,
    }


def _clocks(graph: Graph) -> dict[str, Any]:
    """Return by how much clocks of ranks are corrected at most, and of how many ranks."""
    by = corrections(graph.clocks)
    most = max((abs(one) for each in by.values() for one in (each.start_offset_ns, each.end_offset_ns)), default=0)
    return {"corrected": len({rank for _, rank in by}), "most_seconds": most / 1e9}


def _failure(one: dict[str, Any]) -> dict[str, Any]:
    return {**one, "time": when(one.get("time_ns"))}


def _spread(by_rank: Any) -> dict[str, Any]:
    numbers = [float(value) for value in by_rank.values()] if isinstance(by_rank, dict) else []
    if not numbers:
        return {}
    return {"mean": sum(numbers) / len(numbers), "most": max(numbers), "ranks": len(numbers)}


class _Records:
    """The tables of a graph, as a person asks for them."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def rows(self, cls: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of one class, not of those below it."""
        table: Table | None = self._graph.nodes.get(cls)
        if table is not None:
            yield from table.rows()

    def _links(self, name: str) -> Iterator[tuple[int, int]]:
        table = self._graph.relations.get(name)
        if table is not None and len(table):
            ends = (np.asarray(table.columns[column]).tolist() for column in ("subject", "object"))
            yield from zip(*ends, strict=True)

    def facts(self, run: int | None) -> dict[str, Any]:
        """Return the facts of the run as a whole."""
        mine = {target for subject, target in self._links("hasAttribute") if subject == run}
        rows = (row for row in self.rows("AttributeValue") if row["id"] in mine)
        return {row["label"]: row["value"] for row in rows}

    def activities(self) -> list[dict[str, Any]]:
        """Count and time the activities of each kind and name."""
        groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for cls in vocabulary.CLASSES:
            if "prov:Activity" in cls.prov and cls.name not in (*_RUN, "Attempt", "RankExecution"):
                for row in self.rows(cls.name):
                    groups[cls.name, row.get("section_kind") or row["label"]].append(row)
        found = []
        for (cls_name, name), rows in groups.items():
            times = [(r["end_ns"] - r["start_ns"]) / 1e9 for r in rows if ABSENT not in (r["start_ns"], r["end_ns"])]
            found.append(
                {
                    "kind": cls_name,
                    "name": name,
                    "count": len(rows),
                    "seconds": sum(times),
                    "mean seconds": sum(times) / len(times) if times else None,
                    "longest": max(times, default=None),
                    "outcomes": dict(Counter(row["outcome"] or "open" for row in rows)),
                }
            )
        return found

    def parameters(self) -> list[dict[str, Any]]:
        """Return each parameter with the different values that it was given."""
        used = {target for _, target in self._links("used")} | {target for _, target in self._links("hasSetting")}
        values: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for cls in ("LearningHyperparameterValue", "ModelHyperparameterValue", "AttributeValue"):
            for row in self.rows(cls):
                if row["id"] in used:
                    values[cls, row["label"]][row["value"]] += 1
        return [{"kind": cls, "name": name, "values": dict(found)} for (cls, name), found in values.items()]

    def data(self) -> list[dict[str, Any]]:
        """Return the datasets and models with what identifies them."""
        contents = {row["id"]: row for row in self.rows("Content")}
        content_of = {one: contents[other] for one, other in self._links("specializationOf") if other in contents}
        used = Counter(target for _, target in self._links("used"))
        made = {one for one, _ in self._links("wasGeneratedBy")}
        found = []
        for cls in ("Dataset", "LearningDataset", "FeatureSetData", "Model"):
            for row in self.rows(cls):
                content = content_of.get(row["id"])
                found.append(
                    {
                        "kind": cls,
                        "name": row["label"],
                        "path": row["path"],
                        "bytes": row["size"] if row["size"] != ABSENT else None,
                        "digest": f"{content['algorithm']}:{content['digest']}" if content else "",
                        "digest state": row["digest_state"],
                        "made here": row["id"] in made,
                        "used": used[row["id"]],
                    }
                )
        return found

    def measures(self) -> list[dict[str, Any]]:
        """Return each measure with its samples and its evaluations."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for row in self.rows("MetricSeries"):
            one = found.setdefault((row["label"], "samples"), {"count": 0, "last": None, "least": None, "most": None})
            one["count"] += row["count"] if row["count"] != ABSENT else 0
            one["last"] = row["last"]
            for name, column, choose in (("least", "minimum", min), ("most", "maximum", max)):
                if row[column] == row[column]:
                    one[name] = row[column] if one[name] is None else choose(one[name], row[column])
        for row in sorted(self.rows("ModelEvaluation"), key=lambda row: row["time_ns"]):
            one = found.setdefault((row["label"], "evaluations"), {"count": 0, "last": None})
            one["count"] += 1
            one["last"] = _number(row["value"])
            if isinstance(one["last"], float) and one["last"] == one["last"]:
                one["least"] = min(one.get("least", one["last"]), one["last"])
                one["most"] = max(one.get("most", one["last"]), one["last"])
        return [{"name": name, "from": source, **one} for (name, source), one in found.items()]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def as_json(found: dict[str, Any]) -> str:
    """Return a description as JSON; what is no number in JSON is said as in RDF."""
    from provml_tools.query.tables import plain

    return json.dumps(plain(found), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def show(found: dict[str, Any], stream: TextIO) -> None:
    """Write a description for a person."""
    _Screen(found, stream).show()


def duration(seconds: float | None) -> str:
    """Return a duration as a person says it.

    Examples
    --------
    >>> [duration(x) for x in (0.0042, 3.14159, 200, 7384, 200000)]
    ['4.2 ms', '3.14 s', '3 min 20 s', '2 h 3 min', '2 d 7 h']
    """
    if seconds is None:
        return ""
    if seconds < 0.1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for name, size, below, smaller in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // smaller} {below}"
    return f"{whole} s"


def size(count: int | None) -> str:
    """Return a number of bytes as a person says it.

    Examples
    --------
    >>> [size(x) for x in (0, 1023, 1536, 5 * 2**30)]
    ['0 B', '1023 B', '1.5 KiB', '5 GiB']
    """
    if count is None:
        return ""
    if count < 1024:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, 4)
    return f"{count / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


class _Screen:
    """One description on its way to a terminal or a text."""

    def __init__(self, found: dict[str, Any], stream: TextIO) -> None:
        self.found, self.stream = found, stream

    def line(self, name: str, value: str) -> None:
        if value:
            self.stream.write(f"{name:<12}{value}\n")

    def table(self, title: str, columns: list[str], rows: list[dict[str, Any]], left: int = 0) -> None:
        if not rows:
            return
        self.stream.write(f"\n{title}\n")
        write_table(Answer(columns, rows), self.stream, {})
        if left:
            self.stream.write(f"... and {left} more (--json lists all)\n")

    def show(self) -> None:
        found = self.found
        named = f"{found['name']} ({found['phase']})" if found["phase"] else found["name"]
        self.line("run", safe(f"{named}, study {found['study']}" if found["study"] else named))
        self.line("id", found["run"])
        self.line("status", found["status"])
        for failure in found["failures"][:3]:
            said = f"{failure.get('error') or ''} {failure.get('reason') or ''}".strip()
            self.line("", safe(f"rank {failure.get('rank')} at {failure.get('time')}: {said}"))
        for one in found["lost"][:3]:
            left = "what it left is here" if one.get("adopted") else "its journal was not found"
            self.line(
                "", safe(f"went on without rank {one.get('rank')} at {one.get('time')}: {one.get('reason')}; {left}")
            )
        self._when()
        self.line("who", safe(", ".join(found["who"])))
        self._where()
        facts = found["facts"]
        for name, fact in _SHOWN_FACTS.items():
            self.line(name, safe(" ".join(str(facts.get(fact, "")).split())))
        self._code(facts)
        self._file()
        self._activities()
        self._parameters()
        self._data()
        self._measures()
        self._telemetry()
        self._losses()

    def _when(self) -> None:
        found = self.found
        took = f" ({duration(found['seconds'])})" if found["seconds"] is not None else ""
        self.line("when", f"{found['started'] or '?'} to {found['ended'] or 'now or unknown'}{took}")
        if len(found["attempts"]) > 1:
            said = (f"{one['attempt']}: {one['outcome']}, from {one['started']}" for one in found["attempts"])
            self.line("attempts", "; ".join(said))

    def _where(self) -> None:
        nodes = self.found["nodes"]
        listed = ", ".join(nodes[:4]) + (f" and {len(nodes) - 4} more" if len(nodes) > 4 else "")
        ranks = self.found["ranks"]
        self.line("ranks", safe(f"{ranks}{f' on {listed}' if listed else ''}"))

    def _code(self, facts: dict[str, Any]) -> None:
        commit = str(facts.get("code.commit", ""))
        if commit:
            changed = ", with changes" if facts.get("code.dirty") == "true" else ""
            branch = f" on {facts['code.branch']}" if facts.get("code.branch") else ""
            self.line("code", safe(f"{facts.get('code.repository', '')} {commit[:12]}{branch}{changed}".strip()))

    def _file(self) -> None:
        found = self.found
        commits = found.get("commits", {})
        said = f", {commits.get('count')} commits" + (f", the last at {commits['last']}" if commits.get("last") else "")
        rows = sum(count for name, count in found["rows"].items() if name != "samples")
        counted = f"{rows} records, {found['rows']['samples']} samples{said if commits else ''}"
        self.line(
            "file",
            f"{safe(found['file'])}: {size(found['bytes']) if found.get('bytes') is not None else '?'}, {counted}",
        )

    def _activities(self) -> None:
        rows = []
        for one in self.found["activities"]:
            odd = {name: count for name, count in one["outcomes"].items() if name != "completed"}
            rows.append(
                {
                    "activity": one["name"],
                    "kind": kind_of(one["kind"]),
                    "count": one["count"],
                    "in all": duration(one["seconds"]),
                    "mean": duration(one["mean seconds"]),
                    "longest": duration(one["longest"]),
                    "not completed": ", ".join(f"{count} {name}" for name, count in odd.items()),
                }
            )
        columns = ["activity", "kind", "count", "in all", "mean", "longest"]
        if any(row["not completed"] for row in rows):
            columns.append("not completed")
        self.table("Activities", columns, rows[:_MOST], len(rows) - len(rows[:_MOST]))

    def _parameters(self) -> None:
        rows = []
        for one in self.found["parameters"]:
            values = list(one["values"])
            more = f" and {len(values) - 6} more" if len(values) > 6 else ""
            rows.append({"parameter": one["name"], "values": ", ".join(values[:6]) + more})
        self.table("Parameters", ["parameter", "values"], rows[: 2 * _MOST], len(rows) - len(rows[: 2 * _MOST]))

    def _data(self) -> None:
        rows = []
        for one in self.found["data"]:
            algorithm, _, digest = one["digest"].partition(":")
            rows.append(
                {
                    "data": one["name"] or one["path"],
                    "kind": kind_of(one["kind"]),
                    "size": size(one["bytes"]),
                    "digest": f"{algorithm}:{digest[:12]}" if digest else one["digest state"],
                    "here": "made" if one["made here"] else f"used {one['used']}x" if one["used"] else "",
                }
            )
        # Of many, those that matter most are models, then what was made here.
        rows.sort(key=lambda row: (row["kind"] != "model", row["here"] != "made", row["data"]))
        self.table("Data", ["data", "kind", "size", "digest", "here"], rows[:_MOST], len(rows) - len(rows[:_MOST]))

    def _measures(self) -> None:
        rows = [
            {
                "measure": one["name"],
                "from": one["from"],
                "count": one["count"],
                "last": one["last"],
                "least": one.get("least"),
                "most": one.get("most"),
            }
            for one in self.found["measures"]
        ]
        columns = ["measure", "from", "count", "last", "least", "most"]
        self.table("Measures", columns, rows[: 2 * _MOST], len(rows) - len(rows[: 2 * _MOST]))

    def _telemetry(self) -> None:
        rows = info_telemetry.rows(self.found["telemetry"])
        self.table("Telemetry", info_telemetry.COLUMNS, rows[:_MOST], len(rows) - len(rows[:_MOST]))

    def _losses(self) -> None:
        found = self.found
        self.stream.write("\n")
        dropped = found["dropped"]
        lost = Counter[str]()
        for one in dropped:
            lost[f"{one.get('name')} ({one.get('reason')})"] += int(one.get("count") or 0)
        self.line("dropped", safe(", ".join(f"{count} of {name}" for name, count in lost.items()) or "nothing"))
        for damage in found.get("damage", ()):
            self.line("damaged", safe(damage))
        clocks = found["clocks"]
        if clocks["corrected"]:
            text = f"of {clocks['corrected']} ranks are up to {clocks['most_seconds']:.3g} s off; times are corrected"
            self.line("clocks", text)
        if found["disagreements"]:
            self.line("ranks differ", f"in {len(found['disagreements'])} places; --json lists them")
        said = []
        for name, one in found["cost"].items():
            if one:
                timed = name.endswith("_ns")
                most = duration(one["most"] / 1e9) if timed else number(one["most"])
                said.append(f"{name.removesuffix('_ns').replace('_', ' ')} {most}")
        self.line("own cost", f"{', '.join(said)} (the most of any rank)" if said else "")
        self.line("written by", cell(found["written by"], {}))
