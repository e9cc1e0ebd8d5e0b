"""Samples as RDF, on demand: one node for each value of a row, since RDF has no tables.

A sample says which series it is part of (that is where the measure and the activity are), which activity or section
it was logged in, its rank, attempt, step, time and value. A million rows are some ten million statements: the summary
that every ``provml:MetricSeries`` carries is there so that they are seldom needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from provml_hpc import identity
from provml_hpc.assembly.graph import ABSENT, Graph, SampleTable
from provml_hpc.errors import FormatError
from provml_hpc.vocabulary import below, expand
from provml_tools.rdf import terms, uuids

ROWS = 2048


def sample_statements(graph: Graph, nodes: Sequence[str], base: str, end: str) -> Iterator[str]:
    """Yield the statements of all samples of a graph; `end` is what closes a statement."""
    series = _Series(graph)
    for table in graph.samples:
        if not 0 <= table.activity < len(nodes):
            raise FormatError(f"The samples {table.name!r} belong to no activity. Try `provml recover` on the file.")
        maker = _Samples(table, nodes, base, end, series)
        for start in range(0, table.count, ROWS):
            yield maker.rows(start, min(start + ROWS, table.count))


class _Series:
    """The series of a graph, by activity and measure."""

    def __init__(self, graph: Graph) -> None:
        rows: dict[int, dict[str, Any]] = {}
        for name in below("MetricSeries"):
            if name in graph.nodes:
                rows.update((row["id"], row) for row in graph.nodes[name].rows())
        self._found: dict[tuple[int, str], list[dict[str, Any]]] = {}
        made = graph.relations.get("wasGeneratedBy")
        if made is not None and len(made):
            ends = (np.asarray(made.columns[name]).tolist() for name in ("subject", "object"))
            for subject, activity in zip(*ends, strict=True):
                if subject in rows:
                    self._found.setdefault((activity, rows[subject].get("label", "")), []).append(rows[subject])

    def of(self, table: SampleTable, measure: str) -> int | None:
        """Return the id of the series that a column belongs to, or None if there is none, or no telling which."""
        found = self._found.get((table.activity, measure), [])
        return found[0]["id"] if len(found) == 1 else None


class _Samples:
    """The samples of one table."""

    def __init__(self, table: SampleTable, nodes: Sequence[str], base: str, end: str, series: _Series) -> None:
        self._table = table
        self._nodes = nodes
        self._base = base
        self._end = end
        self._seen: Counter[tuple[int, int]] = Counter()
        self._activity = nodes[table.activity]
        # NUL stands for the subject, which is known only later: no text of a statement can hold it.
        types = "".join(f" {terms.TYPE} <{one}>{end}\0" for one in (expand("provml:Sample"), expand("prov:Entity")))
        self._constant: list[str] = []
        self._seeds: list[bytes] = []
        for measure in table.measures:
            constant = f"\0{types} <{expand('rdfs:label')}> {terms.literal(measure)}{end}"
            at = series.of(table, measure)
            if at is not None:
                constant += f"\0 <{expand('dcterms:isPartOf')}> <{base}{nodes[at]}>{end}"
            self._constant.append(constant)
            # Named by the place among the samples of its rank: the name stays while a file grows.
            self._seeds.append(uuids.seed(identity.local(self._activity, "Sample", measure, *table.measures)))

    def rows(self, start: int, stop: int) -> str:
        columns = self._table.read(start, stop)
        ranks, attempts, sections, steps, times = (
            columns[name].tolist() for name in ("rank", "attempt", "section", "step", "time_ns")
        )
        texts = terms.times(columns["time_ns"])
        values = [columns[measure].tolist() for measure in self._table.measures]
        end, integer, base = self._end, terms.INTEGER, self._base
        rank_is, attempt_is = f'\0 <{expand("provml:rank")}> "', f'\0 <{expand("provml:attempt")}> "'
        step_is, time_is = f'\0 <{expand("provml:step")}> "', f'\0 <{expand("prov:generatedAtTime")}> "'
        ns_is, value_is = f'\0 <{expand(terms.companion("time_ns"))}> "', f'\0 <{expand("prov:value")}> "'
        made_by = f"\0 <{expand('prov:wasGeneratedBy')}> <{base}"
        parts = []
        for row, (rank, attempt, section, step) in enumerate(zip(ranks, attempts, sections, steps, strict=True)):
            self._seen[rank, attempt] += 1
            place = uuids.place(rank, attempt, self._seen[rank, attempt])
            said = (
                f"{made_by}{self._maker(section)}>{end}{rank_is}{rank}{integer}{end}{attempt_is}{attempt}{integer}{end}"
            )
            if step != ABSENT:
                said += f"{step_is}{step}{integer}{end}"
            if times[row] != ABSENT:
                said += f"{time_is}{texts[row]}{terms.DATETIME}{end}{ns_is}{times[row]}{integer}{end}"
            for constant, seed, column in zip(self._constant, self._seeds, values, strict=True):
                text = f"{constant}{said}{value_is}{terms.real(column[row])}{terms.DOUBLE}{end}"
                parts.append(text.replace("\0", f"<{base}{uuids.below(seed, place)}>"))
        return "".join(parts)

    def _maker(self, section: int) -> str:
        if section == ABSENT:
            return self._activity
        if not 0 <= section < len(self._nodes):
            raise FormatError(
                f"The samples {self._table.name!r} have a section that is no record. Try `provml recover`."
            )
        return self._nodes[section]
