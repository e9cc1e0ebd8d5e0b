"""A description on one screen."""

from __future__ import annotations

from collections import Counter
from typing import Any, TextIO

from provml_tools.info import telemetry
from provml_tools.query.answer import Answer, kind_of
from provml_tools.query.tables import cell, number, safe, write_table
from provml_tools.units import duration, size

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


def show(found: dict[str, Any], stream: TextIO) -> None:
    """Write a description for a person."""
    _Screen(found, stream).show()


class _Screen:
    """One description on its way to a terminal or a text."""

    def __init__(self, found: dict[str, Any], stream: TextIO) -> None:
        self.found, self.stream = found, stream

    def line(self, name: str, value: str) -> None:
        if value:
            self.stream.write(f"{name:<11} {value}\n")

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
        more = len(found.get("files", [])) - 1
        parts = f" and {more} more part{'s' * (more > 1)} beside it" if more > 0 else ""
        self.line(
            "file",
            f"{safe(found['file'])}{parts}: {size(found['bytes']) if found['bytes'] is not None else '?'}, {counted}",
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
        rows = telemetry.rows(self.found["telemetry"])
        self.table("Telemetry", telemetry.COLUMNS, rows[:_MOST], len(rows) - len(rows[:_MOST]))

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
        busy = found["writers"]
        if busy["wanted"] > busy["files"]:
            told = f"a writer rank was busy {100 * busy['busy']:.1f} % of the time, and all wait for it meanwhile"
            self.line("writers", f"{told}: init(writers={busy['wanted']}) divides its work")
        self.line("written by", cell(found["written by"], {}))
