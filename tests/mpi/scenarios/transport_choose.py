"""Which transport is chosen under a launcher, and for what a user may pass. Each rank writes down what it got."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

from provml_hpc.errors import ProvMLError
from provml_hpc.transport import choose

told: dict[str, Any] = {}


def chosen(name: str, comm: Any = None) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            transport = choose(comm)
        except ProvMLError as error:
            told[name] = f"{type(error).__name__}: {error}"
        else:
            told[name] = [type(transport).__name__, transport.rank, transport.size]
            assert transport.close()
    told[name + " warned"] = [f"{w.category.__name__}: {w.message} ({Path(w.filename).name})" for w in warned]


if "early" in sys.argv:  # the user's script imported it
    import mpi4py.MPI  # noqa: F401
else:
    assert "mpi4py" not in sys.modules
chosen("none")
if "alone" not in sys.argv:
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    told["world"] = [world.rank, world.size]
    chosen("given", world)
    chosen("self", MPI.COMM_SELF)
    chosen("null", MPI.COMM_NULL)
    chosen("text", "world")
    half = world.Split(world.rank % 2)
    assert isinstance(half, MPI.Intracomm)
    chosen("half", half)
    chosen("group", MPI.COMM_WORLD.group)
    if world.size > 1:
        chosen("inter", half.Create_intercomm(0, world, 1 - world.rank % 2))
    if {"PMI_FD", "OMPI_COMM_WORLD_RANK"} & os.environ.keys():
        # A process started by a rank inherits the variables of the launcher, and has no part in the job.
        code = "from provml_hpc.transport import choose; print(choose())"
        told["child"] = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    MPI.Finalize()
    chosen("finalized")
    chosen("finalized given", world)
rank = next((os.environ[name] for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK") if name in os.environ), "0")
Path(f"told.{rank}").write_text(json.dumps(told))
