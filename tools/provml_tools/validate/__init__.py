"""Is a file what it says it is? Three levels: the format, W3C PROV-CONSTRAINTS, and the shapes of PROV-ML."""

from __future__ import annotations

import os
from collections.abc import Sequence

from provml_hpc.assembly.graph import Graph
from provml_hpc.errors import FormatError
from provml_tools.validate import documents
from provml_tools.validate.findings import FORMAT, LEVELS, PROV, SHAPES, WARNING, Finding, Report, as_json, as_text
from provml_tools.validate.prov import SKEW_NS

__all__ = ["LEVELS", "Finding", "Report", "as_json", "as_text", "validate", "validate_graph", "validate_together"]


def validate(path: str | os.PathLike[str], levels: Sequence[str] = LEVELS, tolerance: int = SKEW_NS) -> Report:
    """Check one file of a run, closed or still written, or a PROV document (by its suffix).

    Parameters
    ----------
    path
        ``NAME.h5``, ``NAME.h5.partial``, or PROV-JSON (.json), PROV-N (.provn) or PROV-XML (.provx, .xml).
    levels
        Which of :data:`LEVELS`; a document has only that of PROV.
    tolerance
        By how many nanoseconds the clocks of nodes may be apart.

    Raises
    ------
    FileMissingError, UsageError
        There is no such file, or what reads it is not installed.
    """
    report = Report(os.fspath(path), tuple(levels))
    if documents.is_document(path):
        report.levels = (PROV,)
        _check_document(path, report, tolerance)
    else:
        _check_file(path, report, tolerance)
    return report


def validate_graph(graph: Graph, report: Report, tolerance: int = SKEW_NS) -> None:
    """Check what a graph says, and add what is found to a report; the layout of a file is not looked at."""
    from provml_tools.validate import content, prov, tables
    from provml_tools.validate.nodes import Nodes

    ahead = len(report.findings)
    nodes = Nodes(graph)
    records = content.Content(nodes)
    report.checked |= {"records": records.records, "statements": records.statements, "samples": records.samples}
    if FORMAT in report.levels:
        report.extend(records.check())
    if PROV in report.levels:
        report.extend(prov.check_runs([nodes], tolerance=tolerance))
        report.extend(tables.rules_of_versions(nodes))
    unreadable = any(one.constraint in ("identifier", "no-record") for one in report.findings[ahead:])
    if SHAPES in report.levels and not unreadable:
        # A graph whose ids contradict themselves has no RDF; that was told already.
        from provml_tools.validate import shapes

        report.extend(shapes.check(nodes))


def validate_together(graphs: Sequence[Graph], report: Report, tolerance: int = SKEW_NS) -> None:
    """Check what several runs say as one: a person in one file and a dataset in another cannot have one uuid."""
    from provml_tools.validate import prov
    from provml_tools.validate.nodes import Nodes

    runs = [Nodes(graph) for graph in graphs]
    counts = (nodes.count + sum(map(len, nodes.graph.relations.values())) for nodes in runs)
    report.checked["statements"] = sum(counts)
    report.extend(prov.check_runs(runs, tolerance=tolerance))


def _check_file(path: str | os.PathLike[str], report: Report, tolerance: int) -> None:
    from provml_hpc.storage import reader
    from provml_hpc.storage.place import PARTIAL
    from provml_hpc.storage.tables import TablesFile
    from provml_tools.validate import layout

    try:
        with reader.open(path) as file:
            if FORMAT in report.levels:
                for damage in file.damage:
                    remedy = "Recover the run." if file.live else "Bring back the file."
                    report.add(layout.fault("log", str(file.path), damage, remedy))
                for closed in (path for path in file.paths if path.suffix != PARTIAL):
                    with TablesFile(closed) as tables:
                        report.extend(layout.check_layout(tables))
            validate_graph(file.stored_graph, report, tolerance)
    except (FormatError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        if not isinstance(error, FormatError) and not report.violations:
            raise
        # What cannot be read at all is a finding too, so that of many files each gets its answer; and a file with
        # columns of wrong types, of which that is told already, may trip up whoever reads it.
        report.add(Finding(FORMAT, "readable", os.fspath(path), str(error), "Take another copy, or recover the run."))


def _check_document(path: str | os.PathLike[str], report: Report, tolerance: int) -> None:
    from provml_tools.validate import prov

    try:
        document = documents.read(path)
    except FormatError as error:
        report.add(Finding(PROV, "readable", os.fspath(path), str(error), "Correct what wrote it."))
        return
    statements = 0
    for instance in documents.instances_of(document):
        statements += instance.count()
        # PROV-CONSTRAINTS does not compare times, so a document of others is not invalid by them.
        report.extend(prov.check(instance, times=WARNING, tolerance=tolerance))
    report.checked["statements"] = statements
