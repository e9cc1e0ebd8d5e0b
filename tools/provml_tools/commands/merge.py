"""``provml merge``: one file from the files of one run."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

HELP = "make one file of the files of one run, as torchrun leaves them"
DESCRIPTION = """\
Make one file of several that hold parts of one run: under torchrun, or srun without an MPI, each process writes a file
of its own; attempts of a run may lie apart, too. The ranks' parts in shared activities, equal declarations and samples
are put together as they are under MPI. The files stay as they are; the output appears when it is whole.
Logs (NAME.h5.partial) of processes that died can be given as they are, with the journals beside them."""
EXAMPLES = """\
examples:
  provml merge facies-rank*.h5 -o facies.h5
  provml merge facies-rank0.h5 facies-rank1.h5.partial -o facies.h5      rank 1 was killed"""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file of the run, or what a dead process left")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="the file to make; its name must be free")


def run(options: Namespace) -> int:
    """Merge, and say what is in the file."""
    from provml_hpc.assembly.builder import ranges
    from provml_hpc.storage.merge import merge
    from provml_tools.console import meter, one_line

    with meter() as show:
        made = merge(options.files, options.output, progress=show)
    attempts = f", attempts {ranges(made.attempts)}" if len(made.attempts) > 1 else ""
    sys.stdout.write(
        f"{one_line(str(made.output))} holds ranks {ranges(made.ranks)}{attempts} of run {made.run} ({made.status})\n"
    )
    if made.missing:
        sys.stdout.write(f"not there: ranks {ranges(made.missing)}; merge again when their files are at hand\n")
    disagreements = made.graph.run.details.get("disagreements", ())
    if disagreements:
        sys.stdout.write(f"the ranks disagree in {len(disagreements)} places: provml info {made.output}\n")
    return 0
