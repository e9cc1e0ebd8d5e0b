"""What only the scheduler itself can tell of a job: its time limit, where no variable of the job has it.

Newer versions of Slurm tell a job when it began and when it has to end; 22.05 does not, so its controller is asked,
once a run. Unlike the other facts this starts a program, and one that speaks to a daemon which may be busy or away. So
it is done beside the training, by one rank, with a limit; only for a job whose variables are believed, and the answer
counts only where the controller knows the job as one that runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from provml_hpc.environment.facts import Fact

SECONDS = 5.0
"""How long the controller may take; the end of a short run waits for it."""

_LIMIT = "scheduler.time_limit_s"
_PROGRAM = "scontrol"
_GOES_ON = frozenset({"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED"})
_LENGTH = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", re.ASCII)
_LONGEST = 200


def limit_facts(
    known: Iterable[Fact], environ: Mapping[str, str] | None = None, *, seconds: float = SECONDS
) -> list[Fact]:
    """Ask Slurm for the time limit of this job; empty where it is known, or where there is no job of Slurm.

    Parameters
    ----------
    known
        The facts of the run, as found without asking.
    environ
        The environment, by default that of this process.
    seconds
        How long the answer may take.

    Returns
    -------
    list of Fact
        The limit in seconds, and the moments of start and end in seconds since the epoch; or the reason why there are
        none.
    """
    facts = {fact.name: fact.value for fact in known}
    if facts.get("scheduler.name") != "slurm" or _LIMIT in facts:
        return []
    job = str(facts["scheduler.job_id"])
    try:
        said = _ask(facts, os.environ if environ is None else environ, seconds)
    except (OSError, ValueError) as error:
        return [Fact(f"{_LIMIT}.reason", f"{_PROGRAM}: {error}"[:_LONGEST])]
    fields = _fields(said, job)
    state, length = fields.get("JobState", ""), fields.get("TimeLimit", "")
    if state not in _GOES_ON:
        return [Fact(f"{_LIMIT}.reason", f"{_PROGRAM} says that job {job} is {state[:40] or 'not there'}")]
    told = _LENGTH.fullmatch(length)
    if told is None:
        return [Fact(f"{_LIMIT}.reason", f"{_PROGRAM} says that the limit is {length[:40] or 'not there'}")]
    days, hours, minutes, rest = (int(part or 0) for part in told.groups())
    found = {"time_limit_s": ((days * 24 + hours) * 60 + minutes) * 60 + rest}
    for name, field in (("start_time", "StartTime"), ("end_time", "EndTime")):
        # A time that is not written as asked is in some zone's, and not worth a guess.
        if f"scheduler.{name}" not in facts and fields.get(field, "").isdecimal():
            found[name] = int(fields[field])
    return [Fact(f"scheduler.{name}", value, f"asked of {_PROGRAM}") for name, value in found.items()]


def _ask(facts: Mapping[str, object], environ: Mapping[str, str], seconds: float) -> str:
    """Return what Slurm says of the job.

    Raises
    ------
    OSError, ValueError
        There is no answer; the text says why.
    """
    import shutil  # only in such a job: all others are lighter
    import subprocess

    program = shutil.which(_PROGRAM, path=environ.get("PATH", os.defpath))
    if program is None:
        raise ValueError("there is no such program on the path of this node")
    # The last task of an array has the id of the whole array, and would be told of with all others.
    array, task = facts.get("scheduler.array_id"), facts.get("scheduler.array_task")
    job = f"{array}_{task}" if array and task else str(facts["scheduler.job_id"])
    try:
        done = subprocess.run(
            [program, "show", "job", "--oneliner", job],
            # Seconds since the epoch, and not the time of a zone.
            env={**environ, "SLURM_TIME_FORMAT": "%s"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"no answer within {seconds:g} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").split("\n")[0].strip()
        raise ValueError(f"exit {done.returncode}{': ' + said if said else ''}")
    return done.stdout.decode(errors="replace")


def _fields(said: str, job: str) -> dict[str, str]:
    """Return the fields of one job, which is on one line; those of a heterogeneous job come together."""
    for line in said.splitlines():
        fields = dict(re.findall(r"(?:^|\s)([A-Za-z/]+)=(\S*)", line))
        if fields.get("JobId") == job:
            return fields
    return {}
