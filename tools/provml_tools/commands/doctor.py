"""``provml doctor``: what is there, and what to do about what is not."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace

from provml_tools.commands.arguments import seconds

HELP = "say what was found of MPI, HDF5, GPUs and scheduler, and what to do"
DESCRIPTION = """\
Look for what capturing and asking need, and say what was found, what it means and what to do about it:
Python and its packages, MPI and its launcher, HDF5, GPUs, the places of outputs and journals, scheduler and names.
MPI, GPUs and file systems are tried out in processes of their own, so a broken one cannot stop this command.
At last a small run is tried, and its flush points are measured; nothing of it stays.
Started by mpiexec or srun, rank 0 alone reports, and all ranks try the run together: where they are, which devices they
were given, where their journals lie and how long a flush point of all of them takes.

states:
  ok       works
  note     works, or is not needed by all, but should be known
  missing  is not there, and what needs it cannot be done
  broken   is there, and does not work"""
EXAMPLES = """\
examples:
  provml doctor
  provml doctor --output /scratch/me/facies.h5      the place that an output is to go to
  provml doctor --json | jq -r '.findings[] | select(.state == "broken") | .remedy'
  mpiexec -n 4 provml doctor
  srun --mpi=pmi2 provml doctor

exit codes: 0 done, also if things are missing or broken; 1 a check itself failed; 2 wrong call"""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--output",
        default=".",
        metavar="PATH",
        help="an output, or the folder for it, whose file system is tried out; nothing stays there (default: here)",
    )
    parser.add_argument("--json", action="store_true", help="for programs: one object, with all findings")
    parser.add_argument(
        "--timeout",
        type=seconds(3600, zero=False),
        default=30.0,
        metavar="SECONDS",
        help="how long one thing may take to answer (default: 30)",
    )


def run(options: Namespace) -> int:
    """Examine, and show it."""
    from provml_tools.doctor import Doctor, is_silent, report
    from provml_tools.doctor.findings import Screen, summary, wants_colours
    from provml_tools.query.tables import plain

    doctor = Doctor(options.output, options.timeout)
    if is_silent(doctor.launch):
        doctor.attend()
        return 0
    findings = doctor.examine()
    if options.json:
        findings += doctor.run()
        said = plain(report(doctor, options.output, findings))
        sys.stdout.write(json.dumps(said, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        return int(doctor.failed)
    # Some launchers give their ranks a terminal of their own, whose colours may end in a file.
    screen = Screen(sys.stdout, colours=not doctor.launch.kind and wants_colours(sys.stdout))
    screen.show(findings)
    # Tried last, with all else said: a launcher may end a job whose MPI fails, and this command with it.
    tried = doctor.run()
    screen.show(tried)
    sys.stdout.write(f"{summary([*findings, *tried])}\n")
    return int(doctor.failed)
