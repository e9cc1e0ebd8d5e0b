"""``provml validate``: whether files are what they say they are."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from provml_tools.commands.arguments import seconds

if TYPE_CHECKING:
    from provml_tools.validate import Report

HELP = "check files against the format, PROV and PROV-ML"
DESCRIPTION = """\
Check provenance files on three levels:
  format   the file against its format, the records against the vocabulary
  prov     W3C PROV-CONSTRAINTS: uniqueness, the order of events, typing, impossibility; and the times
  shapes   the RDF of the file against the SHACL shapes of PROV-ML
Each finding names the rule, the record and the remedy. Several files are checked one by one, and then together.
PROV documents of any origin (PROV-JSON .json, PROV-N .provn, PROV-XML .provx) are checked on the level prov."""
EXAMPLES = """\
examples:
  provml validate facies.h5
  provml validate curation.h5 preparation.h5 learning.h5
  provml validate facies.h5 --level prov --format json
  provml validate document.provn

exit codes: 0 valid, 1 a violation was found, 2 wrong call"""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="files of runs, or PROV documents")
    parser.add_argument(
        "--level",
        action="append",
        choices=["format", "prov", "shapes"],
        help="only this level; may be given several times (default: all)",
    )
    parser.add_argument(
        "--format", choices=["text", "json"], default="text", help="text for people (the default), json for programs"
    )
    parser.add_argument(
        "--tolerance",
        type=seconds(1e9),
        default=1.0,
        metavar="SECONDS",
        help="by how much the clocks of nodes may be apart (default: 1)",
    )


def run(options: Namespace) -> int:
    """Check each file, then what they say together."""
    from provml_tools.commands.files import once
    from provml_tools.console import progress
    from provml_tools.validate import LEVELS, as_json, as_text, validate

    files = once(options.files)
    levels = tuple(level for level in LEVELS if not options.level or level in options.level)
    tolerance = round(options.tolerance * 1e9)
    reports: list[Report] = []
    with progress("checking", len(files)) as done:
        for name in files:
            reports.append(validate(name, levels, tolerance))
            if options.format == "text":
                sys.stdout.write(as_text(reports[-1]))
            done()
    together = _together(files, reports, levels, tolerance)
    if together is not None:
        reports.append(together)
        if options.format == "text":
            sys.stdout.write(as_text(together))
    if options.format == "json":
        sys.stdout.write(as_json(reports))
    sys.stdout.flush()
    for one in (one for report in reports for one in report.findings if one.constraint == "readable"):
        # A file that cannot be read is not only invalid: it is an error of the command, as it is everywhere else.
        print(f"provml validate: error: {one.message}", file=sys.stderr)
    return int(any(report.violations for report in reports))


def _together(files: list[str], reports: list[Report], levels: tuple[str, ...], tolerance: int) -> Report | None:
    """Check all files as one, if there are several and each can be read."""
    from contextlib import ExitStack

    from provml_hpc.storage import reader
    from provml_tools.validate import Report, documents, validate_together

    readable = not any(one.constraint == "readable" for report in reports for one in report.findings)
    names = [name for name in files if not documents.is_document(name)]
    if len(names) < 2 or "prov" not in levels or not readable:
        return None
    report = Report("all together", ("prov",))
    with ExitStack() as stack:
        graphs = [stack.enter_context(reader.open(name)).stored_graph for name in names]
        validate_together(graphs, report, tolerance)
    known = {(one.constraint, one.record) for other in reports for one in other.findings}
    # What one file shows alone is told of there.
    told = [one for one in report.findings if (one.constraint, one.record) in known]
    for one in told:
        report.findings.remove(one)
        report.counted[one.level, one.constraint] -= 1
        report.violations -= one.severity == "violation"
    return report
