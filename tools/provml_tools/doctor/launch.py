"""Which launcher started this process, told from the environment, so that N ranks do not give N reports.

The rules are those by which a run itself tells a launch from variables that merely lie about; they are said again here
since this side knows nothing of MPI.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

OPEN_MPI, PMI, PMIX, SRUN, TORCHRUN = "Open MPI", "PMI", "PMIx", "srun", "torchrun"
"""Kinds of launch: by the interface through which the processes find each other. Those of the last two do not."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How this process was started."""

    kind: str = ""
    """One of the kinds above; empty for a process that no launcher started."""
    name: str = "no launcher"
    """The launcher, in words."""
    rank: int = 0
    size: int | None = None
    here: int | None = None
    """Number of processes on this node, where it is known."""
    variables: dict[str, str] = field(default_factory=dict)
    """What it is told from."""
    leftovers: tuple[str, ...] = ()
    """Variables of a launcher that did not start this process."""


_SIZES = {
    "OMPI_COMM_WORLD_RANK": ("OMPI_COMM_WORLD_SIZE",),
    "MV2_COMM_WORLD_RANK": ("MV2_COMM_WORLD_SIZE",),
    "PALS_RANKID": ("PALS_SIZE", "PMI_SIZE"),
    "PMI_RANK": ("PMI_SIZE",),
    "PMIX_RANK": ("SLURM_STEP_NUM_TASKS",),
}
_KINDS = {
    "OMPI_COMM_WORLD_RANK": (OPEN_MPI, "Open MPI's mpiexec"),
    "MV2_COMM_WORLD_RANK": (PMI, "MVAPICH's launcher"),
    "PALS_RANKID": (PMI, "PALS"),
    "PMI_RANK": (PMI, "a PMI launcher (MPICH, Intel MPI)"),
    "PMIX_RANK": (PMIX, "a PMIx launcher (srun --mpi=pmix, prun)"),
}
_HERE = (
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "MV2_COMM_WORLD_LOCAL_SIZE",
    "MPI_LOCALNRANKS",
    "PALS_LOCAL_SIZE",
    "LOCAL_WORLD_SIZE",
)
# What a launcher sets for one rank: a process that looks at MPI alone must not see it. Settings of the user stay.
_OF_A_RANK = (
    "PMI_",
    "PMI2_",
    "PMIX_",
    "HYDI_",
    "HYD_",
    "PALS_",
    "MPI_LOCAL",
    "MV2_COMM_WORLD",
    "OMPI_COMM_WORLD",
    "OMPI_WORLD",
    "OMPI_UNIVERSE",
    "OMPI_FILE_LOCATION",
    "OMPI_NUM_APP_CTX",
    "OMPI_ARGV",
    "OMPI_COMMAND",
    "OMPI_TOOL_NAME",
    "OMPI_MCA_num_procs",
    "OMPI_MCA_initial_wdir",
    "OMPI_MCA_orte_",
    "OMPI_MCA_ess",
    "PRTE_LAUNCHED",
)
_SETTINGS = ("PMIX_MCA_",)


def detect(environ: Mapping[str, str] | None = None) -> Launch:
    """Tell how this process was started.

    Parameters
    ----------
    environ
        The environment, by default that of this process.
    """
    environ = os.environ if environ is None else environ
    leftovers: list[str] = []
    for sign, (kind, name) in _KINDS.items():
        rank = _number(environ.get(sign))
        if rank is None:
            continue
        if (sign == "PMI_RANK" and not _is_connected(environ)) or (
            sign == "PMIX_RANK" and not environ.get("PMIX_NAMESPACE")
        ):
            leftovers.append(sign)
            continue
        if sign == "PMI_RANK" and _step(environ):
            name = "srun with PMI (--mpi=pmi2)"
        told = (_number(environ.get(variable)) for variable in _SIZES[sign])
        size = next((one for one in told if one), None)
        return Launch(kind, name, rank, size, _here(environ), _said(environ, sign, *_SIZES[sign]), tuple(leftovers))
    for kind, sign, size_of, name in (
        (SRUN, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "srun, without an MPI"),
        (TORCHRUN, "RANK", "WORLD_SIZE", "torchrun"),
    ):
        rank, size = _number(environ.get(sign)), _number(environ.get(size_of))
        meant = _step(environ) if kind == SRUN else "TORCHELASTIC_RUN_ID" in environ
        if rank is not None and size is not None and size > 1 and meant:
            return Launch(kind, name, rank, size, _here(environ), _said(environ, sign, size_of), tuple(leftovers))
    return Launch(leftovers=tuple(leftovers))


def is_silent(launch: Launch) -> bool:
    """Tell whether this is one of the ranks that leave the report to rank 0.

    Somebody at a keyboard always gets a report, whatever variables a shell inherited: launchers give ranks other than
    0 no keyboard.
    """
    try:
        return launch.rank > 0 and not sys.stdin.isatty()
    except (AttributeError, ValueError):  # standard input is closed
        return launch.rank > 0


def alone(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment without what a launcher set for this rank."""
    environ = os.environ if environ is None else environ
    return {
        name: value for name, value in environ.items() if name.startswith(_SETTINGS) or not name.startswith(_OF_A_RANK)
    }


def descriptors(environ: Mapping[str, str] | None = None) -> list[int]:
    """Return the open files through which a process talks to its launcher."""
    environ = os.environ if environ is None else environ
    numbers = (_number(environ.get(name)) for name in ("PMI_FD", "HYDI_CONTROL_FD"))
    return [number for number in numbers if number is not None and _is_socket(number)]


def _is_connected(environ: Mapping[str, str]) -> bool:
    if "PMI_SIZE" not in environ:
        return False
    descriptor = _number(environ.get("PMI_FD"))
    return descriptor is None or _is_socket(descriptor)


def _is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _step(environ: Mapping[str, str]) -> bool:
    """Whether srun started this process: the batch script and a shell of salloc have no step of their own."""
    step = _number(environ.get("SLURM_STEP_ID") or environ.get("SLURM_STEPID"))
    return step is not None and step < 0xFFFFFF00


def _here(environ: Mapping[str, str]) -> int | None:
    return next((number for name in _HERE if (number := _number(environ.get(name)))), None)


def _said(environ: Mapping[str, str], *names: str) -> dict[str, str]:
    return dict(_pairs(environ, (*names, *_HERE)))


def _pairs(environ: Mapping[str, str], names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return ((name, environ[name]) for name in names if name in environ)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None
