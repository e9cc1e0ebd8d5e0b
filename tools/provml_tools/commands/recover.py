"""``provml recover``: the file of a job that died."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provml_hpc.storage.recover import Recovery

HELP = "finish the file of a job that died"
DESCRIPTION = """\
Finish the file of a job that died: what its log and the journals of its ranks still hold comes into NAME.h5, each
record once. It can be repeated, and be stopped at any moment: the log and the journals are removed only when NAME.h5 is
safe. While the job, or another recovery, is alive, it refuses. Of a run that several ranks wrote, all files are
finished."""
EXAMPLES = """\
examples:
  provml recover facies.h5
  provml recover facies.h5.partial --dry-run
  provml recover facies.h5 --journals /scratch/node07/journals"""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("file", metavar="FILE", help="NAME.h5 or NAME.h5.partial")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--force", action="store_true", help="go on where it cannot be told whether the job lives")
    parser.add_argument(
        "--journals",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a further folder with journals, for example copied from a node; may be given several times",
    )


def run(options: Namespace) -> int:
    """Recover, and report what was found on each rank."""
    from provml_hpc.errors import ProvMLError
    from provml_hpc.storage.recover import outputs_of, recover
    from provml_tools.console import one_line

    failed = False
    for output in outputs_of(options.file, options.journals):
        try:
            found = recover(output, dry_run=options.dry_run, force=options.force, journals=options.journals)
        except ProvMLError as error:
            # The others are not to wait for that.
            sys.stderr.write(f"provml recover: error: {one_line(str(error))}\n")
            failed = True
            continue
        _tell(found, dry=options.dry_run)
    return int(failed)


def _tell(found: Recovery, *, dry: bool) -> None:
    """Say what was found on each rank, and what became of it."""
    from provml_tools.console import one_line
    from provml_tools.query.answer import Answer
    from provml_tools.query.tables import write_table

    if found.sources:
        columns = ["rank", "attempt", "lane", "in the log", "in journals", "taken", "damage"]
        rows = [
            {
                "rank": one.source.rank,
                "attempt": one.source.attempt,
                "lane": one.source.lane,
                "in the log": one.committed,
                "in journals": one.journal,
                "taken": one.taken,
                "damage": "; ".join(one.damage),
            }
            for one in found.sources
        ]
        write_table(Answer(columns, rows, "Records of each rank"), sys.stdout, {})
    for damage in found.damage:
        sys.stdout.write(f"damaged: {one_line(damage)}\n")
    if dry:
        sys.stdout.write(f"{found.output} would be made or kept, of run {found.run}; nothing was changed\n")
    elif not found.done:
        sys.stdout.write(f"{found.output} is complete already (run {found.run}, {found.status}); nothing was changed\n")
    else:
        sys.stdout.write(f"{found.output} is complete (run {found.run}, {found.status})\n")
