"""What of MPI, HDF5, GPUs, a scheduler and the output's file system is there, and what to do about what is not.

Nothing here starts MPI in this process, and nothing that is missing is an error.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib
import importlib.metadata
import mmap
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from provml_hpc._version import __version__
from provml_tools.info import size

GOOD, HINT, MISSING = "good", "hint", "missing"
"""All is well; something could be better; something is not there, and what needs it cannot work."""

_SECONDS = 30
_ASK_MPI = "from mpi4py import MPI; print(MPI.Get_library_version().splitlines()[0]); print(*MPI.get_vendor())"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for."""

    what: str
    state: str
    found: str
    remedy: str = ""


def examine(folder: Path) -> list[Finding]:
    """Look for everything.

    Parameters
    ----------
    folder
        Where outputs are to go: its file system is tried out.
    """
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _mpi,
        _hdf5,
        _offline,
        _gpus,
        _scheduler,
        lambda: _place(folder),
        _node_places,
    ]
    return [finding for check in checks for finding in check()]


def as_rows(findings: list[Finding]) -> list[dict[str, str]]:
    """Return findings as plain dicts."""
    return [asdict(finding) for finding in findings]


def _python() -> Iterator[Finding]:
    yield Finding("python", GOOD, f"{platform.python_version()} ({sys.executable}), provml-hpc {__version__}")


def _mpi() -> Iterator[Finding]:
    launcher = _launcher()
    version = _version("mpi4py")
    if version is None:
        yield Finding(
            "mpi",
            HINT if launcher is None else MISSING,
            f"no mpi4py{f', but {launcher[0]}' if launcher else ''}: jobs of one process only",
            "pip install 'provml-hpc[mpi]' with the cluster's MPI loaded, or 'provml-hpc[mpich]' for one from a wheel",
        )
        return
    # In a process of its own: importing it starts MPI, and a broken one may hang or end the process.
    code, text = _run([sys.executable, "-c", _ASK_MPI])
    if code != 0:
        reason = text.strip().splitlines()[-1] if text.strip() else f"exit code {code}"
        yield Finding(
            "mpi", MISSING, f"mpi4py {version} does not start: {reason}", "load the MPI module that it was built with"
        )
        return
    library, _, vendor = text.strip().partition("\n")
    yield Finding("mpi", GOOD, f"{' '.join(library.split())}, mpi4py {version}")
    if launcher is None:
        yield Finding("launcher", HINT, "no mpiexec on the path", "load the MPI module, or start jobs with srun")
        return
    name, said = launcher
    family, other = _family(vendor), _family(said)
    if family and other and family != other:
        yield Finding(
            "launcher",
            MISSING,
            f"{name} is of {other}, mpi4py of {family}: N ranks become N jobs of one",
            f"put the mpiexec of {family} first on the path; beside a wheel it lies in {Path(sys.executable).parent}",
        )
    else:
        yield Finding("launcher", GOOD, f"{name}{f' of {other}' if other else ''}")


def _launcher() -> tuple[str, str] | None:
    """Return the path of the launcher that a shell would take, and what it says of itself."""
    found = shutil.which("mpiexec") or shutil.which("mpirun")
    return None if found is None else (found, _run([found, "--version"])[1])


def _family(text: str) -> str:
    lower = text.lower()
    for name, words in (
        ("Intel MPI", ("intel(r) mpi", "intel mpi")),
        ("Open MPI", ("open mpi", "open-mpi", "openrte", "prrte")),
        ("MPICH", ("mpich", "hydra")),
    ):
        if any(word in lower for word in words):
            return name
    return ""


def _hdf5() -> Iterator[Finding]:
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        yield Finding("hdf5", MISSING, f"h5py cannot be imported: {error}", "pip install h5py")
        return
    locking = os.environ.get("HDF5_USE_FILE_LOCKING")
    said = f", HDF5_USE_FILE_LOCKING={locking}" if locking else ""
    yield Finding("hdf5", GOOD, f"HDF5 {h5py.version.hdf5_version}, h5py {h5py.__version__}{said}")


def _offline() -> Iterator[Finding]:
    for name, what in (("pyoxigraph", "provml query, and Turtle, TriG, JSON-LD"), ("rich", "tables with colours")):
        version = _version(name)
        if version is None:
            yield Finding(name, HINT, f"not there: no {what}", "pip install 'provml-hpc[offline]'")
        else:
            yield Finding(name, GOOD, version)


def _gpus() -> Iterator[Finding]:
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        device = Path("/dev/nvidiactl").exists()
        found = "NVIDIA devices, but no nvidia-ml-py to ask them" if device else "no NVIDIA driver, no nvidia-ml-py"
        yield Finding("gpus", HINT if device else GOOD, found, "pip install 'provml-hpc[gpu]'" if device else "")
        return
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        yield Finding(
            "gpus", GOOD, f"none seen ({error})", "on a node with GPUs: ask for them in the job, e.g. --gpus=1"
        )
        return
    try:
        count = nvml.nvmlDeviceGetCount()
        names = [_text(nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(at))) for at in range(count)]
        driver = _text(nvml.nvmlSystemGetDriverVersion())
        yield Finding("gpus", GOOD, f"{count}: {', '.join(dict.fromkeys(names)) or 'none'}, driver {driver}")
    except nvml.NVMLError as error:
        yield Finding("gpus", HINT, f"NVML answers with: {error}", "ask the administrators: the driver may be broken")
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _scheduler() -> Iterator[Finding]:
    for name, command, variable in (
        ("Slurm", "sbatch", "SLURM_JOB_ID"),
        ("PBS", "qsub", "PBS_JOBID"),
        ("LSF", "bsub", "LSB_JOBID"),
        ("Flux", "flux", "FLUX_JOB_ID"),
    ):
        job, path = os.environ.get(variable), shutil.which(command)
        if job or path:
            yield Finding("scheduler", GOOD, f"{name}{f', in job {job}' if job else f' ({path}), not in a job'}")
            return
    yield Finding("scheduler", GOOD, "none: jobs are started with mpiexec or python")


def _place(folder: Path) -> Iterator[Finding]:
    """Try out what an output needs of its file system."""
    what = "output"
    try:
        with tempfile.TemporaryDirectory(prefix=".provml-doctor-", dir=folder) as trial:
            troubles = list(_trials(Path(trial)))
    except OSError as error:
        yield Finding(
            what, MISSING, f"{folder} cannot be written: {error.strerror}", "name a writable folder for the output"
        )
        return
    room = shutil.disk_usage(folder).free
    if troubles:
        yield Finding(what, HINT, f"{folder}, {size(room)} free, but {'; '.join(troubles)}", _PLACE_REMEDY)
    else:
        yield Finding(what, GOOD, f"{folder}: {size(room)} free; mapping, locks and links work")


_PLACE_REMEDY = "journals then go to another place or to memory; prefer a file system that can do it for the output"


def _trials(folder: Path) -> Iterator[str]:
    path = folder / "trial"
    with path.open("w+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, 1 << 16)
        except OSError as error:
            file.write(bytes(1 << 16))
            file.flush()
            yield f"space cannot be reserved ({_name(error)})"
        try:
            with mmap.mmap(file.fileno(), 1 << 16) as mapped:
                mapped[:4] = b"mark"
        except (OSError, ValueError) as error:
            yield f"files cannot be mapped ({_name(error)})"
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            yield f"files cannot be locked ({_name(error)})"
    try:
        os.link(path, folder / "link")
    except OSError as error:
        yield f"there are no hard links ({_name(error)})"


def _name(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return errno.errorcode.get(number, str(error)) if isinstance(number, int) else str(error)


def _node_places() -> Iterator[Finding]:
    """Say where journals could lie on this node."""
    found = []
    for name in (os.environ.get("SLURM_TMPDIR"), os.environ.get("TMPDIR"), "/dev/shm"):
        if name and os.access(name, os.W_OK):
            found.append(f"{name}: {size(shutil.disk_usage(name).free)} free")
    if found:
        yield Finding("node places", GOOD, f'{"; ".join(dict.fromkeys(found))} (for journal="node")')
    else:
        yield Finding("node places", HINT, "none that can be written", 'keep the default, journal="output"')


def _version(package: str) -> str | None:
    """Return the version of an installed package, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _run(command: list[str]) -> tuple[int, str]:
    """Run a command for a while and return its exit code and what it said."""
    # Without the marks of a job that this may run in, a process cannot be taken for one of its ranks.
    marks = ("PMI_", "PMIX_", "OMPI_COMM_WORLD", "PALS_", "MPI_LOCAL")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(marks)}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, f"no answer in {_SECONDS} s"
    except OSError as error:
        return 127, str(error)
    return done.returncode, done.stdout
