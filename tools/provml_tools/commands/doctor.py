"""``provml doctor``: what is there, and what to do about what is not."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

HELP = "say what was found of MPI, HDF5, GPUs and scheduler, and what to do"
DESCRIPTION = """\
Look for what capturing and asking need: an MPI and a launcher of the same kind, HDF5, GPUs, a scheduler, and a file
system that can do what an output needs. What is missing is said with what to do about it; that is no error."""
EXAMPLES = """\
examples:
  provml doctor
  provml doctor /scratch/me          the folder that outputs are to go to
  provml doctor --json"""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("folder", nargs="?", default=".", metavar="FOLDER", help="where outputs go (default: here)")
    parser.add_argument("--json", action="store_true", help="for programs: an array with an object a finding")


def run(options: Namespace) -> int:
    """Examine, and show it."""
    from provml_tools.doctor import as_rows, examine
    from provml_tools.query.tables import safe

    findings = examine(Path(options.folder).absolute())
    if options.json:
        sys.stdout.write(json.dumps(as_rows(findings), indent=2, ensure_ascii=False) + "\n")
        return 0
    for one in findings:
        sys.stdout.write(f"{one.state:<8} {one.what:<12} {safe(one.found)}\n")
        if one.remedy:
            sys.stdout.write(f"{'':<21} -> {safe(one.remedy)}\n")
    return 0
