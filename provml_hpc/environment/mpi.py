"""Facts of the MPI library, asked only of an MPI that the program has already started."""

from __future__ import annotations

import sys
from typing import Any

from provml_hpc.environment.facts import Fact

_THREAD_LEVELS = ("THREAD_SINGLE", "THREAD_FUNNELED", "THREAD_SERIALIZED", "THREAD_MULTIPLE")


def library_facts() -> list[Fact]:
    """Describe the MPI library and the size of the world; empty where MPI is not in use."""
    mpi = _running_mpi()
    if mpi is None:
        return []
    name, version = mpi.get_vendor()
    major, minor = mpi.Get_version()
    facts = [
        Fact("mpi.name", str(name)),
        Fact("mpi.version", ".".join(map(str, version))),
        Fact("mpi.library", _one_line(mpi.Get_library_version())),
        Fact("mpi.standard", f"{major}.{minor}"),
        Fact("mpi.world_size", int(mpi.COMM_WORLD.Get_size())),
    ]
    binding = getattr(sys.modules.get("mpi4py"), "__version__", None)
    if binding:
        facts.append(Fact("mpi.mpi4py", str(binding)))
    provided = mpi.Query_thread()
    facts.extend(
        Fact("mpi.thread_level", level.removeprefix("THREAD_").lower())
        for level in _THREAD_LEVELS
        if getattr(mpi, level, None) == provided
    )
    return facts


def rank_facts() -> list[Fact]:
    """Give this process's rank in the world and its processor name; empty where MPI is not in use."""
    mpi = _running_mpi()
    if mpi is None:
        return []
    return [
        Fact("mpi.world_rank", int(mpi.COMM_WORLD.Get_rank())),
        Fact("mpi.processor_name", str(mpi.Get_processor_name())),
    ]


def _running_mpi() -> Any:
    """Give the module `mpi4py.MPI` if the program imported it and MPI can be called now, else None.

    Importing it here would start MPI as a side effect, in a process that may not have been launched for it.
    """
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is None or not mpi.Is_initialized() or mpi.Is_finalized():
        return None
    return mpi


def _one_line(text: str) -> str:
    """Keep the first line: MPICH's goes on with its whole build configuration."""
    return " ".join(text.replace("\0", " ").strip().partition("\n")[0].split())
