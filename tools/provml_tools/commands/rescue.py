"""``provml rescue``: the journals of a node, before the node is wiped."""

from __future__ import annotations

import socket
import sys
from argparse import ArgumentParser, Namespace

from provml_tools.commands.arguments import seconds

HELP = 'carry the journals of journal="node" beside the output, before the job ends'
DESCRIPTION = """\
Carry what ranks left in journals on this node to the hidden folder beside the output, from where provml recover brings
it into the file. Needed for runs with journal="node" whose step failed: a cluster wipes its nodes when the job ends.
Start it on every node of the job, inside the job, after the step; all may run at once, and again. A journal goes from
the node when its copy is safe; one whose process is alive stays.
Where journals lie beside the output, as by default, there is nothing to carry."""
EXAMPLES = """\
examples:
  provml rescue facies.h5                                     what lies on this machine
  provml rescue facies.h5 --from /scratch/local/job-4711      where the job had another TMPDIR

in a job script, one task a node, and then the recovery:
  srun --nodes=$SLURM_JOB_NUM_NODES --ntasks=$SLURM_JOB_NUM_NODES --ntasks-per-node=1 provml rescue facies.h5
  provml recover facies.h5

exit codes: 0 all journals found here are safe, also if there were none; 1 some stayed; 2 wrong call"""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("file", metavar="FILE", help="NAME.h5 or NAME.h5.partial")
    parser.add_argument(
        "--from",
        dest="folders",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a further folder of this node to look into; may be given several times",
    )
    parser.add_argument("--keep", action="store_true", help="leave the journals on the node as well")
    parser.add_argument(
        "--wait",
        type=seconds(3600),
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for processes that are still ending (default: 10)",
    )


def run(options: Namespace) -> int:
    """Carry them, and say what was carried and what was not."""
    from provml_hpc.storage.place import hidden_of
    from provml_hpc.storage.rescue import rescue
    from provml_tools.console import one_line

    done = rescue(options.file, folders=options.folders, keep=options.keep, wait=options.wait)
    where = hidden_of(done.output)
    said = f"{done.journals} journals with {done.records} records are safe in {where}" if done.journals else "nothing"
    sys.stdout.write(one_line(f"{socket.gethostname()}: {said}") + "\n")
    for left in done.left:
        sys.stderr.write(one_line(f"provml rescue: error: {left}") + "\n")
    return 1 if done.left else 0
