"""Which launcher started this process, told from the environment, before MPI is touched.

Variables outlive what they were set for: an interactive shell inside a job, a terminal that was started from one, a
child of a rank. So a launcher is believed only where what it left can still be reached: the descriptor that MPICH's and
Slurm's PMI talk through, the port that a PMIx server listens on. Those of an allocation say nothing of a launch
(``SLURM_PROCID`` stands in the shell of ``salloc`` too), and nobody at a keyboard is a task of ``srun``.

The innermost launcher comes first: ``torchrun`` and ``deepspeed`` are themselves started by ``srun``, ``mpiexec`` or
``ssh``, once a node, and their workers inherit the variables of that one.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from provml_hpc.environment.facts import Fact

OPEN_MPI, PMI, PMIX = "Open MPI", "PMI", "PMIx"
SRUN, TORCHRUN, DEEPSPEED = "srun", "torchrun", "DeepSpeed"
"""Kinds of launch: by the interface through which the processes find each other. Those of the last three do not."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How this process was started."""

    kind: str = ""
    """One of the kinds above; empty for a process that no launcher started."""
    name: str = "no launcher"
    """The launcher, in words."""
    rank: int = 0
    size: int | None = None
    """Number of processes that it started, where it says so."""
    here: int | None = None
    """Number of processes on this node, where it is known."""
    variables: dict[str, str] = field(default_factory=dict)
    """What it is told from."""
    leftovers: tuple[str, ...] = ()
    """Variables of a launcher that did not start this process."""

    @property
    def joins(self) -> bool:
        """Whether its processes find each other through an MPI."""
        return self.kind in (OPEN_MPI, PMI, PMIX)

    @property
    def several(self) -> bool:
        """Whether it started more than one process, as far as it says."""
        return bool(self.kind) and self.size != 1

    def fits(self, vendor: str, library: str = "") -> bool:
        """Tell whether its processes find each other with an MPI, as far as that is known.

        Parameters
        ----------
        vendor
            Who made that MPI, as ``MPI.get_vendor()`` says.
        library
            What ``MPI.Get_library_version()`` says: MPICH names there what it was built with.
        """
        # Open MPI has spoken PMIx alone since version 5; the others speak PMI, and some of them PMIx too.
        if self.kind == PMI:
            return vendor != OPEN_MPI
        if self.kind == OPEN_MPI:
            return vendor == OPEN_MPI or "pmix" in library.lower()
        return self.kind == PMIX and (vendor != "MPICH" or not library or "pmix" in library.lower())


class _Sign(NamedTuple):
    variable: str
    kind: str
    name: str
    sizes: tuple[str, ...]


# Open MPI's mpiexec sets PMIx variables too, and PALS those of PMI, so the order is from the special to the general.
_SIGNS = (
    _Sign("OMPI_COMM_WORLD_RANK", OPEN_MPI, "Open MPI's mpiexec", ("OMPI_COMM_WORLD_SIZE",)),
    _Sign("MV2_COMM_WORLD_RANK", PMI, "MVAPICH's launcher", ("MV2_COMM_WORLD_SIZE",)),
    _Sign("MVP_COMM_WORLD_RANK", PMI, "MVAPICH's launcher", ("MVP_COMM_WORLD_SIZE",)),
    _Sign("PALS_RANKID", PMI, "PALS", ("PALS_SIZE", "PMI_SIZE")),
    _Sign("PMI_RANK", PMI, "a PMI launcher (MPICH, Intel MPI)", ("PMI_SIZE",)),
    # Hydra gives a process the port of its proxy, and not a descriptor, where it is told to.
    _Sign("MPI_LOCALRANKID", PMI, "a Hydra launcher (MPICH, Intel MPI)", ("PMI_SIZE",)),
    _Sign("PMIX_RANK", PMIX, "a PMIx launcher (srun --mpi=pmix, prun)", ("SLURM_STEP_NUM_TASKS",)),
)
_HERE = (
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "MV2_COMM_WORLD_LOCAL_SIZE",
    "MVP_COMM_WORLD_LOCAL_SIZE",
    "MPI_LOCALNRANKS",
    "PALS_LOCAL_SIZE",
    "LOCAL_WORLD_SIZE",
)
_OF_DEEPSPEED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "CROSS_RANK", "CROSS_SIZE")
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
    "MVP_COMM_WORLD",
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
# Without them the processes of launchers that join none are taken for what they are by themselves.
_APART = ("TORCHELASTIC_RUN_ID", "SLURM_PROCID", "CROSS_RANK")
_NO_STEP = 0xFFFFFF00
"""From here on step numbers stand for the batch script, the shell of an allocation and their kin."""
_ANCESTORS = 4
_LOOPBACK = re.compile(r"tcp4://127\.0\.0\.1:(\d+)")


def detect(environ: Mapping[str, str] | None = None) -> Launch:
    """Tell how this process was started.

    Parameters
    ----------
    environ
        The environment, by default that of this process.
    """
    environ = os.environ if environ is None else environ
    inner = _torchrun(environ) or _deepspeed(environ)
    if inner is not None:
        return inner
    leftovers: list[str] = []
    for sign in _SIGNS:
        if sign.variable not in environ:
            continue
        if not _holds(sign, environ):
            leftovers.append(sign.variable)
            continue
        rank = _number(environ.get(sign.variable)) or 0
        name = sign.name
        if sign.variable == "MPI_LOCALRANKID":
            rank = _number(environ.get("PMI_RANK") or environ.get("PMI_ID")) or 0
        if sign.variable == "PMI_RANK":
            name = _who(environ)
        told = (_number(environ.get(variable)) for variable in sign.sizes)
        size = next((one for one in told if one), None)
        said = _said(environ, sign.variable, *sign.sizes)
        return Launch(sign.kind, name, rank, size, _here(environ), said, tuple(leftovers))
    return _srun(environ, tuple(leftovers))


def launch_facts() -> list[Fact]:
    """Give the launcher's kind, its name and how many processes it started; empty where there was none."""
    launch = detect()
    if not launch.kind:
        return []
    facts = [Fact("launcher.kind", launch.kind), Fact("launcher.name", launch.name)]
    return facts if launch.size is None else [*facts, Fact("launcher.size", launch.size)]


def _torchrun(environ: Mapping[str, str]) -> Launch | None:
    rank, size = _number(environ.get("RANK")), _number(environ.get("WORLD_SIZE"))
    # Without the run id they may be anything's: `RANK` is a name that people use.
    if rank is None or size is None or rank >= size or "TORCHELASTIC_RUN_ID" not in environ:
        return None
    said = _said(environ, "RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID")
    return Launch(TORCHRUN, "torchrun", rank, size, _here(environ), said)


def _deepspeed(environ: Mapping[str, str]) -> Launch | None:
    """Tell a worker of DeepSpeed's own launcher; its others (``--launcher openmpi`` and so on) are those of an MPI.

    It sets nothing that has its name. But no other launcher sets all of these, and they fit each other.
    """
    told = [_number(environ.get(variable)) for variable in _OF_DEEPSPEED]
    if None in told or "MASTER_ADDR" not in environ:
        return None
    rank, size, local, here, node, nodes = (number or 0 for number in told)
    if not (local <= rank < size and local < here <= size and node < nodes <= size):
        return None
    return Launch(DEEPSPEED, "DeepSpeed's launcher", rank, size, here, _said(environ, *_OF_DEEPSPEED))


def _srun(environ: Mapping[str, str], leftovers: tuple[str, ...]) -> Launch:
    """Tell a task of srun that has no PMI of its own: Cray's, whose MPI asks Slurm itself, or none at all."""
    rank, size = _number(environ.get("SLURM_PROCID")), _number(environ.get("SLURM_STEP_NUM_TASKS"))
    # A child of a rank has the rank's variables of Slurm as well, and `srun --pty` gives a keyboard to a shell.
    if rank is None or size is None or rank >= size or not _step(environ) or leftovers or _at_a_keyboard():
        return Launch(leftovers=leftovers)
    if "PMI_CONTROL_PORT" in environ:
        said = _said(environ, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "PMI_CONTROL_PORT")
        return Launch(PMI, "srun with Cray's PMI (--mpi=cray_shasta)", rank, size, None, said)
    if size == 1:
        return Launch()
    said = _said(environ, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_MPI_TYPE")
    return Launch(SRUN, "srun without an MPI", rank, size, None, said)


def _holds(sign: _Sign, environ: Mapping[str, str]) -> bool:
    """Tell whether what a variable stands for can still be reached from this process."""
    if _number(environ[sign.variable]) is None:
        return False
    if sign.variable in ("PMI_RANK", "MPI_LOCALRANKID"):
        return _is_connected(environ)
    if sign.kind in (OPEN_MPI, PMIX):
        if sign.kind == PMIX and not environ.get("PMIX_NAMESPACE"):
            return False
        return _is_served(environ) and not _has_parent_in_mpi(environ)
    return True


def _who(environ: Mapping[str, str]) -> str:
    if "FLUX_TASK_RANK" in environ:
        return "Flux"
    return "srun with PMI (--mpi=pmi2)" if _step(environ) else "a PMI launcher (MPICH, Intel MPI)"


def alone(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment without what a launcher set for this rank."""
    environ = os.environ if environ is None else environ
    return {
        name: value for name, value in environ.items() if name.startswith(_SETTINGS) or not name.startswith(_OF_A_RANK)
    }


def by_itself(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process that no launcher started, as far as it tells."""
    return {name: value for name, value in alone(environ).items() if name not in _APART}


def descriptors(environ: Mapping[str, str] | None = None) -> list[int]:
    """Return the open files through which a process talks to its launcher."""
    environ = os.environ if environ is None else environ
    numbers = (_number(environ.get(name)) for name in ("PMI_FD", "HYDI_CONTROL_FD"))
    return [number for number in numbers if number is not None and _is_socket(number)]


def _is_connected(environ: Mapping[str, str]) -> bool:
    """Whether the PMI connection is there, where the environment says that it is a file descriptor."""
    if "PMI_RANK" in environ and "PMI_SIZE" not in environ:
        return False
    descriptor = _number(environ.get("PMI_FD"))
    return descriptor is None or _is_socket(descriptor)


def _is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _is_served(environ: Mapping[str, str]) -> bool:
    """Whether the PMIx server of this node still listens, where its place is known; it is not spoken to."""
    places = (value for name, value in environ.items() if name.startswith("PMIX_SERVER_URI"))
    ports = {int(found[1]) for place in places if (found := _LOOPBACK.search(place))}
    if not ports:
        return True
    try:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return True
    # Local address and state; 0A is that of a socket that listens.
    fields = (line.split() for line in lines)
    listening = {int(one[1].rpartition(":")[2], 16) for one in fields if len(one) > 3 and one[3] == "0A"}
    return not ports.isdisjoint(listening)


def _has_parent_in_mpi(environ: Mapping[str, str]) -> bool:
    """Tell whether this is a child of a rank: of a process with the same variables that has loaded an MPI.

    A wrapper between launcher and program has them too, and no MPI.
    """
    mine = {f"{name}={environ[name]}".encode() for name in ("PMIX_RANK", "PMIX_NAMESPACE") if name in environ}
    if environ is not os.environ or not mine:
        return False
    pid = os.getppid()
    for _ in range(_ANCESTORS):
        try:
            folder = Path(f"/proc/{pid}")
            if not mine <= set((folder / "environ").read_bytes().split(b"\0")):
                return False
            if b"/libmpi" in (folder / "maps").read_bytes():
                return True
            pid = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return False
    return False


def _step(environ: Mapping[str, str]) -> bool:
    """Whether srun started this process: the batch script and a shell of salloc have no step of their own."""
    step = _number(environ.get("SLURM_STEP_ID") or environ.get("SLURM_STEPID"))
    return step is not None and step < _NO_STEP


def _at_a_keyboard() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False


def _here(environ: Mapping[str, str]) -> int | None:
    told = next((number for name in _HERE if (number := _number(environ.get(name)))), None)
    return _of_step(environ) if told is None else told


def _of_step(environ: Mapping[str, str]) -> int | None:
    """Return how many tasks a step of Slurm has on this node, of text such as ``4(x2),1``: its nodes in their order."""
    node = _number(environ.get("SLURM_NODEID"))
    for part in environ.get("SLURM_STEP_TASKS_PER_NODE", "").split(","):
        tasks, _, times = part.partition("(x")
        count = _number(times.removesuffix(")")) if times else 1
        if node is None or count is None:
            return None
        if node < count:
            return _number(tasks)
        node -= count
    return None


def _said(environ: Mapping[str, str], *names: str) -> dict[str, str]:
    return dict(_pairs(environ, (*names, *_HERE)))


def _pairs(environ: Mapping[str, str], names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return ((name, environ[name]) for name in names if name in environ)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None
