"""Was this process started by an MPI launcher? Told from the environment, before MPI is touched."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Launch:
    """An MPI launcher that started this process.

    Parameters
    ----------
    name
        The launcher, in words for a message.
    size
        Number of processes that it started, where it says so.
    """

    name: str
    size: int | None


# Launcher, the variable that makes it sure, and the variables that may tell the size. Open MPI's mpiexec sets PMIx
# variables too, and Intel's and MPICH's both set PMI ones, so the order is from the special to the general.
_LAUNCHERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Open MPI's mpiexec", "OMPI_COMM_WORLD_RANK", ("OMPI_COMM_WORLD_SIZE",)),
    ("MVAPICH's launcher", "MV2_COMM_WORLD_RANK", ("MV2_COMM_WORLD_SIZE",)),
    ("PALS", "PALS_RANKID", ("PALS_SIZE", "PMI_SIZE")),
    ("a PMI launcher (MPICH, Intel MPI, srun --mpi=pmi2)", "PMI_RANK", ("PMI_SIZE",)),
    ("a Hydra launcher (MPICH, Intel MPI)", "MPI_LOCALRANKID", ("PMI_SIZE",)),
    ("a PMIx launcher (srun --mpi=pmix, prun)", "PMIX_RANK", ("SLURM_STEP_NUM_TASKS",)),
)


def detect(environ: Mapping[str, str] | None = None) -> Launch | None:
    """Return the MPI launcher that started this process, or nothing.

    Variables that merely lie about do not count: those of a Slurm allocation (``SLURM_PROCID`` stands in an
    interactive shell too, where no MPI was meant), a PMIx rank without its namespace, and PMI variables inherited by
    a child process whose connection to the launcher (the file descriptor ``PMI_FD``) was not.

    Parameters
    ----------
    environ
        The environment, by default that of this process.
    """
    environ = os.environ if environ is None else environ
    for name, sign, sizes in _LAUNCHERS:
        if _number(environ.get(sign)) is None:
            continue
        if sign in ("PMI_RANK", "MPI_LOCALRANKID") and not _is_connected(environ):
            continue
        if sign == "PMIX_RANK" and not environ.get("PMIX_NAMESPACE"):
            continue
        told = (_number(environ.get(variable)) for variable in sizes)
        return Launch(name, next((size for size in told if size), None))
    return None


def _is_connected(environ: Mapping[str, str]) -> bool:
    """Whether the PMI connection is there, where the environment says that it is a file descriptor."""
    if "PMI_RANK" in environ and "PMI_SIZE" not in environ:
        return False
    descriptor = _number(environ.get("PMI_FD"))
    if descriptor is None:
        return True
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
