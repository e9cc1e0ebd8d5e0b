"""``provml info``: what is in a file."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

HELP = "say what is in a file"
DESCRIPTION = """\
Say what is in a provenance file, on one screen: the run and how it ended, who and where, activities, parameters, data,
measures, commits, what was dropped, and what the capture itself cost. A file that is still being written can be looked
at too."""
EXAMPLES = """\
examples:
  provml info facies.h5
  provml info facies.h5 --json | jq .status"""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("file", metavar="FILE", help="a file that a run wrote, or still writes")
    parser.add_argument("--json", action="store_true", help="for programs: everything, with values in full")


def run(options: Namespace) -> int:
    """Show it."""
    from provml_tools.info import as_json, collect, show

    found = collect(options.file)
    if options.json:
        sys.stdout.write(as_json(found))
    else:
        show(found, sys.stdout)
    return 0
