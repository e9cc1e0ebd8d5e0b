"""Moves bytes from all ranks to the writer rank, and lets the ranks agree. Knows no HDF5 and no PROV.

`choose` picks the transport of a run; `Transport` says what it offers.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

from provml_hpc.errors import CaptureWarning, StateError, UsageError
from provml_hpc.transport.base import ROUND_BYTES, Agreement, Notice, Report, Sink, Transport, Trouble
from provml_hpc.transport.launcher import Launch, detect
from provml_hpc.transport.serial import Serial

__all__ = ["Agreement", "Notice", "Report", "Serial", "Sink", "Transport", "Trouble", "choose"]


def choose(comm: Any = None, *, writer: int = 0, round_bytes: int = ROUND_BYTES) -> Transport:
    """Return the transport for the ranks of a communicator. *Collective* over them.

    Parameters
    ----------
    comm
        An mpi4py communicator, which is duplicated. Without one: all processes of the job, if an MPI launcher started
        this one (or MPI runs already); otherwise this process alone.
    writer
        Rank that the bytes go to.
    round_bytes
        Cap, in bytes over all ranks, of one round of a gather.

    Raises
    ------
    UsageError
        Where ``comm`` is no communicator that a run can use, or another argument is out of its range.
    StateError
        Where MPI was finalised, or not yet initialised, though the run needs it.

    Warns
    -----
    CaptureWarning
        Where an MPI launcher started several processes that do not find each other, so that each records a run of its
        own.
    """
    found = _world() if comm is None else _checked(comm)
    if found is None or found.Get_size() == 1:
        if writer != 0:
            raise UsageError(f"writer={writer} is no rank of a run of one process: give 0")
        return Serial(round_bytes=round_bytes)
    from provml_hpc.transport.mpi import Parallel

    return Parallel(found, writer=writer, round_bytes=round_bytes)


def _checked(comm: Any) -> Any:
    """Return the communicator, which is one that a run can use."""
    mpi = sys.modules.get("mpi4py.MPI")  # a communicator cannot be there without it
    if mpi is None or not isinstance(comm, mpi.Comm):
        raise UsageError(f"comm={comm!r} is no mpi4py communicator: give one such as MPI.COMM_WORLD, or None")
    if mpi.Is_finalized():
        raise StateError("MPI was already finalised, so comm cannot be used: start the run before MPI.Finalize()")
    if not mpi.Is_initialized():
        raise StateError("MPI is not initialised yet, so comm cannot be used: call MPI.Init() before the run starts")
    if comm == mpi.COMM_NULL:
        raise UsageError("comm is MPI.COMM_NULL: start the run on the ranks that are part of the communicator only")
    if not isinstance(comm, mpi.Intracomm):
        raise UsageError(
            "comm is an intercommunicator, which joins two groups: give the communicator of one, or Merge() it"
        )
    return comm


def _world() -> Any:
    """Return the communicator of all processes of the job, or nothing for this process alone."""
    launch = detect()
    mpi: Any = sys.modules.get("mpi4py.MPI")
    several = launch is not None and launch.size != 1
    if mpi is None:
        if launch is None or not several:
            return None
        try:
            with warnings.catch_warnings():
                # Said below in full, and an import must not fail where a user makes errors of warnings.
                warnings.filterwarnings("ignore", "suspicious MPI execution environment", RuntimeWarning)
                from mpi4py import MPI as mpi  # noqa: N811 - the name that `sys.modules` gave it above
        except Exception as error:  # RuntimeError where mpi4py finds no MPI library
            _warn(launch, f"mpi4py cannot be used ({error})", "install mpi4py for the MPI of that launcher")
            return None
    if mpi.Is_finalized():
        if several:
            raise StateError("MPI was already finalised: start the run before MPI.Finalize()")
        return None
    if not mpi.Is_initialized():
        if launch is not None and several:
            _warn(launch, "MPI is not initialised", "call MPI.Init() before the run starts, or give comm")
        return None
    world = mpi.COMM_WORLD
    if launch is not None and launch.size is not None and launch.size > 1 and world.Get_size() == 1:
        library = mpi.Get_library_version().partition("\n")[0].strip("\0 ")
        _warn(
            launch,
            f"the MPI that mpi4py uses ({library}) knows of one process alone, so it is not the launcher's",
            "start the job with the mpiexec of that MPI, or install mpi4py for the launcher's",
        )
    return world


def _warn(launch: Launch, fact: str, remedy: str) -> None:
    started = "several processes" if launch.size is None else f"{launch.size} processes"
    warnings.warn(
        f"this job was started as {started} by {launch.name}, but {fact}; "
        f"each process records a run of its own: {remedy}",
        CaptureWarning,
        stacklevel=4,
    )
