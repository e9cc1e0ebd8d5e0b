"""``provml slurm-template``: a job script with one's own values."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

HELP = "write a job script for Slurm, with your values"
DESCRIPTION = """\
Write a job script for Slurm: one of those that come with this package, with your values in its lines. Its comments say
what each line is for. Without a KIND, the kinds are listed. On a terminal what is not given is asked for, with the
script's own value as the answer of a mere Enter."""
EXAMPLES = """\
examples:
  provml slurm-template
  provml slurm-template several-nodes --nodes 8 --time 12:00:00 -o train.sbatch
  provml slurm-template requeue --activate ~/env/bin/activate --provenance runs/unet.h5 \\
      --program 'python -m mpi4py unet.py --output "$OUTPUT"' -o unet.sbatch

exit codes: 0 done, 2 wrong call, 1 anything else, for example a file that is there already"""

_FLAGS = {
    "job-name": "NAME",
    "account": "NAME",
    "partition": "NAME",
    "nodes": "N",
    "ntasks-per-node": "N",
    "gpus-per-node": "N",
    "cpus-per-task": "N",
    "mem": "SIZE",
    "time": "LIMIT",
    "signal": "SIGNAL",
    "array": "NUMBERS",
}
_OWN = {
    "activate": ("FILE", "what activates the environment of your program"),
    "provenance": ("FILE", "the provenance file that your program gives to provml_hpc.init"),
    "program": ("COMMAND", "your program, as one rank runs it; $OUTPUT in it is the provenance file"),
    "checkpoint": ("FILE", "what your program leaves while there is more to do (requeue)"),
    "inputs": ("FILES", "the provenance files to convert, as words of a shell (convert)"),
    "graph": ("FILE", "the N-Quads to make of them (convert)"),
    "device": ("DEVICE", "what a step of the benchmark runs on (overhead-48gpu)"),
}


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("kind", nargs="?", metavar="KIND", help="which script")
    parser.add_argument("-o", dest="file", metavar="FILE", help="the file to make (default: standard output)")
    parser.add_argument("--yes", action="store_true", help="ask nothing")
    group = parser.add_argument_group("options of sbatch, as it names them")
    for name, metavar in _FLAGS.items():
        group.add_argument(f"--{name}", metavar=metavar)
    own = parser.add_argument_group("your own")
    for name, (metavar, about) in _OWN.items():
        own.add_argument(f"--{name}", metavar=metavar, help=about)


def run(options: Namespace) -> int:
    """Write it, or list what there is."""
    from provml_hpc.errors import OutputExistsError
    from provml_tools.slurm import scripts

    if options.kind is None:
        width = max(map(len, scripts.kinds()))
        for kind, about in scripts.kinds().items():
            sys.stdout.write(f"{kind:<{width}}  {about}\n")
        return 0
    given = {name: getattr(options, name.replace("-", "_")) for name in (*_FLAGS, *_OWN)}
    answers = {name: value for name, value in given.items() if value is not None}
    if options.file is not None and os.path.lexists(options.file):
        raise OutputExistsError(f"{options.file} is there already; choose another name, or remove it")
    scripts.fill(options.kind, answers)  # before anything is asked
    if not options.yes and sys.stdin.isatty() and sys.stderr.isatty():
        answers |= _ask(options.kind, answers)
    text = scripts.fill(options.kind, answers, options.file)
    if options.file is None:
        sys.stdout.write(text)
        return 0
    try:
        with Path(options.file).open("x") as file:
            file.write(text)
    except FileExistsError:
        raise OutputExistsError(f"{options.file} is there already; choose another name, or remove it") from None
    sys.stderr.write(f"{options.file} is written; try it with: sbatch --test-only {options.file}\n")
    return 0


def _ask(kind: str, given: dict[str, str]) -> dict[str, str]:
    """Ask for what is not given, on standard error, since the script may go to standard output."""
    from provml_hpc.errors import UsageError
    from provml_tools.slurm import scripts

    answers: dict[str, str] = {}
    for setting in scripts.settings(scripts.text_of(kind)):
        if setting.name in given or setting.name not in (*_FLAGS, *_OWN):
            continue
        default = setting.value if setting.active else ""
        about = setting.about if setting.active else "empty for the default of the cluster"
        while True:
            sys.stderr.write(f"{setting.name}{f' ({about})' if about else ''} [{default}]: ")
            sys.stderr.flush()
            line = sys.stdin.readline()
            value = line.strip()
            if not value:
                break
            try:
                scripts.check(setting.name, value)
            except UsageError as error:
                sys.stderr.write(f"{error}\n")
                continue
            answers[setting.name] = value
            break
        if not line:  # the terminal was closed; the rest is as it is
            break
    return answers
