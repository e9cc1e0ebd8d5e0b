"""What processes of one launch agree on without a word, where no MPI joins them.

Each process of ``torchrun`` or ``deepspeed``, or of ``srun`` without an MPI, writes a file of its own. For the files to
be those of one run, all must come to the same name of the launch by themselves, and no other launch may come to it:

1. All processes on one node have one ancestor that is not a rank itself: the agent of torchrun, the daemon of a
   launcher. The boot of the machine, the number of that process and the moment it started are its alone.
2. Over several nodes, a job of Slurm or Flux has an id, and a launch inside of it a step. A requeue is another launch.
3. Elsewhere only the user can tell one launch from another: ``torchrun --rdzv-id`` says how, and the variable
   ``PROVML_LAUNCH`` under all others. The name that torchrun gives by itself, ``none``, is that of every launch, so
   there is no common name then.

What changes when torchrun starts its workers again (its restart count, the port, the number of workers) has no part in
it: that is one more attempt of the same run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from provml_hpc.environment import scheduler
from provml_hpc.environment.launcher import TORCHRUN, Launch

NAME = "PROVML_LAUNCH"
"""The variable in which a user may say which launch it is: in one word to all its processes, and to no other launch."""

_UNNAMED = frozenset({"", "none", "None"})
_DEPTH = 64
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def common_name(launch: Launch, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return what all processes of a launch have in common with each other and with no other launch.

    Parameters
    ----------
    launch
        How this process was started.
    environ
        The environment, by default that of this process.

    Returns
    -------
    tuple of str
        Parts of a name; empty where there is no such name.
    """
    environ = os.environ if environ is None else environ
    elastic = environ.get("TORCHELASTIC_RUN_ID", "") if launch.kind == TORCHRUN else ""
    if launch.here is not None and launch.here == launch.size:
        agent = _agent(tuple(name for name in launch.variables if name != "TORCHELASTIC_RUN_ID"))
        if agent:
            return ("node", *agent)
    facts = {fact.name: str(fact.value) for fact in scheduler.job_facts(environ)}
    named = (environ[NAME],) if environ.get(NAME) else ()
    # PBS and LSF may set their variables on the first node alone.
    if facts.get("scheduler.name") in ("slurm", "flux"):
        names = ("name", "cluster", "job_id", "step_id", "restart_count")
        return ("job", *(facts.get(f"scheduler.{name}", "") for name in names), elastic, *named)
    if elastic not in _UNNAMED:
        return ("torchrun", elastic, environ.get("MASTER_ADDR", ""))
    return ("named", *named) if named else ()


def attempt(launch: Launch, environ: Mapping[str, str] | None = None) -> int:
    """Return which start of its workers this is for the launcher, from 1 on."""
    environ = os.environ if environ is None else environ
    text = environ.get("TORCHELASTIC_RESTART_COUNT", "") if launch.kind == TORCHRUN else ""
    return 1 + (int(text) if text.isascii() and text.isdecimal() else 0)


def boot_id() -> str:
    """Return what tells this machine, since it was last started, from all others; empty where that is not known."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def _agent(variables: tuple[str, ...]) -> tuple[str, ...]:
    """Return what tells the nearest ancestor that has not the variables of a rank from all other processes."""
    pid, boot = os.getppid(), boot_id()
    names = [f"{name}=".encode() for name in variables]
    try:
        for _ in range(_DEPTH):
            words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if not all(any(word.startswith(name) for word in words) for name in names):
                return (boot, str(pid), fields[19]) if boot else ()
            pid = int(fields[1])
    except (OSError, ValueError, IndexError):
        pass  # not Linux, or an ancestor of another user
    return ()
