"""The communicator of all processes of a job, for a run that was given none."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from provml_hpc.environment.launcher import Launch
from provml_hpc.errors import CaptureWarning, StateError


def find(launch: Launch) -> Any:
    """Return the communicator of all processes of the job, or nothing for this process alone.

    Parameters
    ----------
    launch
        How this process was started.

    Raises
    ------
    StateError
        MPI was finalised, though the run needs it.

    Warns
    -----
    CaptureWarning
        Where an MPI launcher started several processes that do not find each other.
    """
    mpi: Any = sys.modules.get("mpi4py.MPI")
    several = launch.joins and launch.several
    if mpi is None:
        if not several:
            return None
        try:
            mpi = _load(launch)
        except Exception as error:  # RuntimeError where mpi4py finds no MPI library
            _warn(launch, f"mpi4py cannot be used ({error})", "install mpi4py for the MPI of that launcher")
            return None
    if mpi.Is_finalized():
        if several:
            raise StateError("MPI was already finalised: start the run before MPI.Finalize()")
        return None
    fits = launch.fits(mpi.get_vendor()[0], mpi.Get_library_version()) if several else True
    if not mpi.Is_initialized():
        if several and not fits:
            _warn_of_another(launch, mpi, "does not speak to it")
        elif several:
            _warn(launch, "MPI is not initialised", "call MPI.Init() before the run starts, or give comm")
        return None
    world = mpi.COMM_WORLD
    if several and launch.size is not None and world.Get_size() == 1:
        _warn_of_another(launch, mpi, "knows of one process alone")
    return world


def _load(launch: Launch) -> Any:
    """Import mpi4py, and start MPI as that import would, unless the library is of another MPI than the launcher.

    That one must not be started: MPICH ends a process that it finds under a PMIx server.
    """
    import mpi4py

    rc: Any = mpi4py.rc
    wanted = rc.initialize, rc.finalize
    rc.initialize, rc.finalize = False, wanted[0] if wanted[1] is None else wanted[1]
    try:
        from mpi4py import MPI as mpi  # noqa: N811 - the name that `sys.modules` gives it in `find`
    finally:
        rc.initialize, rc.finalize = wanted
    if wanted[0] and not mpi.Is_initialized() and launch.fits(mpi.get_vendor()[0], mpi.Get_library_version()):
        if rc.threads:
            mpi.Init_thread(getattr(mpi, f"THREAD_{rc.thread_level.upper()}"))
        else:
            mpi.Init()
    return mpi


def _warn_of_another(launch: Launch, mpi: Any, fact: str) -> None:
    library = mpi.Get_library_version().partition("\n")[0].strip("\0 ")
    _warn(
        launch,
        f"the MPI that mpi4py uses ({library}) {fact}, so it is not the launcher's",
        "start the job with the mpiexec of that MPI, or install mpi4py for the launcher's",
    )


def _warn(launch: Launch, fact: str, remedy: str) -> None:
    started = "several processes" if launch.size is None else f"{launch.size} processes"
    warnings.warn(
        f"this job was started as {started} by {launch.name}, but {fact}; "
        f"each process writes a file of its own: {remedy}",
        CaptureWarning,
        stacklevel=4,
    )
