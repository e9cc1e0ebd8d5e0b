"""A run whose ranks do not find each other: each writes a file of its own, and ``provml merge`` makes one of them.

That is so under torchrun and deepspeed, under srun without an MPI, and under the launcher of another MPI than mpi4py's.
Nothing is asked of the user, and no process waits for another: what they have to agree on is derived (see
:mod:`provml_hpc.environment.apart`).
"""

from __future__ import annotations

import logging
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from provml_hpc.environment.apart import NAME, attempt, common_name
from provml_hpc.environment.authority import site_authority
from provml_hpc.environment.launcher import DEEPSPEED, TORCHRUN, detect
from provml_hpc.storage.place import partial_of

log = logging.getLogger("provml_hpc")

_NAMED = f"{NAME}=$(uuidgen) in the environment of all processes"
_NAMING = {
    TORCHRUN: "torchrun --rdzv-id=$(uuidgen)",
    DEEPSPEED: f'echo "{NAME}=$(uuidgen)" >> .deepspeed_env, where deepspeed is started',
}
"""How a user gives a launch its name."""

_opened: Counter[tuple[str, ...]] = Counter()


@dataclass(frozen=True, slots=True)
class Apart:
    """What one such process begins its run with."""

    output: Path
    """The file of this rank."""
    run: str
    """The uuid of the run."""
    attempt: int
    trouble: str = ""
    """Why the files of the ranks will not be those of one run, if so."""


def begin(output: Path, rank: int, size: int, name: str, phase: str, if_exists: str) -> Apart:
    """Return how one of several processes begins its run, which all others come to as well.

    Parameters
    ----------
    output
        The file that the user named, the same on all ranks.
    rank, size
        Which of how many processes this one is.
    name, phase
        Of the run.
    if_exists
        As given to `init`.
    """
    launch = detect()
    known, start = common_name(launch), attempt(launch)
    key = (str(output), name, phase)
    _opened[key] += 1
    run, trouble = str(uuid4()), ""
    if known:
        from provml_hpc import identity  # it brings OpenSSL, which ranks under MPI do without

        run = identity.launched(site_authority().name, *known, *key, str(_opened[key]))
    else:
        naming = _NAMING.get(launch.kind, _NAMED)
        trouble = (
            f"nothing that the {size} processes of {launch.name} have in common tells this launch from another, so the "
            f"files of its ranks cannot be merged: start it with a new name each time, {naming}"
        )
    if if_exists == "resume":
        # A later job goes on in what the last attempt left; which run that is of, the file says.
        there = [path for n in range(1, 1000) if _is_there(path := file_of(output, rank, size, n))]
        if there:
            return Apart(there[-1], run, start, trouble)
    if rank == 0 and start == 1:
        log.warning(
            "provml: %s started %d processes that no MPI joins, so each writes a file of its own; when all have ended, "
            "run: provml merge %s -o %s",
            *(launch.name, size, f"{shlex.quote(output.stem)}-rank*{output.suffix}", shlex.quote(output.name)),
        )
    return Apart(file_of(output, rank, size, start), run, start, trouble)


def file_of(output: Path, rank: int, size: int, attempt: int = 1) -> Path:
    """Return the file of one rank, next to where that of all would be.

    Examples
    --------
    >>> file_of(Path("facies.h5"), 3, 48).name, file_of(Path("facies.h5"), 3, 8, 2).name
    ('facies-rank03.h5', 'facies-rank3-attempt2.h5')
    """
    again = f"-attempt{attempt}" if attempt > 1 else ""
    return output.with_name(f"{output.stem}-rank{rank:0{len(str(size - 1))}d}{again}{output.suffix}")


def _is_there(path: Path) -> bool:
    return path.exists() or partial_of(path).exists()
