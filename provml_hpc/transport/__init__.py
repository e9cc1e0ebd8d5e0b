"""Moves bytes from all ranks to the writer rank, or to several, and lets the ranks agree. Knows no HDF5 and no PROV.

`choose` picks the transport of a run; `Transport` says what it offers.
"""

from __future__ import annotations

import sys
from typing import Any

from provml_hpc.environment.launcher import Launch, detect
from provml_hpc.errors import StateError, UsageError
from provml_hpc.transport.base import ROUND_BYTES, Agreement, Notice, Report, Sink, Transport
from provml_hpc.transport.clocks import Difference
from provml_hpc.transport.serial import Serial
from provml_hpc.transport.world import find

__all__ = ["Agreement", "Difference", "Notice", "Report", "Serial", "Sink", "Transport", "choose"]


ALONE = "self"
"""What stands for a communicator of this process alone, where there need be no MPI."""


def choose(comm: Any = None, *, writer: int = 0, round_bytes: int = ROUND_BYTES) -> Transport:
    """Return the transport for the ranks of a communicator. *Collective* over them.

    Parameters
    ----------
    comm
        An mpi4py communicator, which is duplicated; ``"self"`` for this process alone. Without one: all processes of
        the job, if an MPI launcher started this one (or MPI runs already); otherwise this process alone, which knows
        its rank where another launcher, such as torchrun, started several.
    writer
        Rank that the bytes go to. Processes that do not find each other are each their own.
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
        Where an MPI launcher started several processes that do not find each other.
    """
    alone = isinstance(comm, str) and comm == ALONE  # mpi4py's own cannot be compared with a text
    launch = detect() if comm is None else Launch()
    found: Any = None
    if not alone:
        found = find(launch) if comm is None else _checked(comm)
    size = 1 if found is None else int(found.Get_size())
    if size == 1:
        apart = launch.several and launch.size is not None
        rank, size = (launch.rank, launch.size or 1) if apart else (0, 1)
        if not 0 <= writer < size:
            raise UsageError(f"writer={writer} is no rank of a run of {size} process{'es' * apart}: give 0")
        return Serial(round_bytes=round_bytes, rank=rank, size=size)
    from provml_hpc.transport.mpi import Parallel

    return Parallel(found, writer=writer, round_bytes=round_bytes)


def _checked(comm: Any) -> Any:
    """Return the communicator, which is one that a run can use."""
    mpi = sys.modules.get("mpi4py.MPI")  # a communicator cannot be there without it
    if mpi is None or not isinstance(comm, mpi.Comm):
        raise UsageError(f"comm={comm!r} is no mpi4py communicator: give one such as MPI.COMM_WORLD, 'self', or None")
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
