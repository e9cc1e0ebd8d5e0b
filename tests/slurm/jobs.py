"""Jobs on the virtual cluster: submit one, see what became of it, with a hard limit on every wait."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.slurm.cluster import Cluster

LIMIT = 120.0
"""Seconds that a test waits for anything; a lost wait is a failure and not a stuck run."""


def until(ready: Callable[[], object], what: Callable[[], str], limit: float = LIMIT) -> None:
    """Wait for something.

    Raises
    ------
    AssertionError
        It did not come in time; the message is what `what` says then.
    """
    end = time.monotonic() + limit
    while not ready():
        assert time.monotonic() < end, f"not within {limit:.0f} s: {what()}"
        time.sleep(0.2)


def all_over(cluster: Cluster) -> None:
    """Wait until no job is on the cluster any more, and every epilog has run."""
    until(lambda: not cluster.run("squeue", "--noheader").stdout, lambda: cluster.run("squeue").stdout)


@dataclass(frozen=True)
class Job:
    """A job that was submitted; of an array, the whole of it."""

    cluster: Cluster
    id: str
    folder: Path
    """Where it was submitted, and where its ``slurm-*.out`` are."""

    def _fields(self) -> list[dict[str, str]]:
        said = self.cluster.run("scontrol", "show", "job", "--oneliner", self.id).stdout
        return [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in said.splitlines() if line.strip()]

    @property
    def states(self) -> list[str]:
        """The states of the job, one for each task of an array or part of a heterogeneous one."""
        return sorted({one["JobId"]: one["JobState"] for one in self._fields()}.values())

    @property
    def exit_codes(self) -> list[str]:
        """``code:signal`` of the job, likewise."""
        return sorted(one["ExitCode"] for one in self._fields())

    def field(self, name: str) -> str:
        """Return a field of the job as ``scontrol show job`` names it."""
        return self._fields()[0][name]

    def wait(self, *states: str, limit: float = LIMIT) -> Job:
        """Wait until the job, with all its tasks, is in one of some states."""
        until(lambda: set(self.states) <= set(states), self.told, limit)
        return self

    def end(self, *, limit: float = LIMIT) -> list[str]:
        """Wait until the job is over on all its nodes, and return its states."""
        waits = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED"}
        until(lambda: not waits & set(self.states), self.told, limit)
        return self.states

    def running(self) -> None:
        """Fail where the job is over, so that nobody waits for what it will not do."""
        over = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}
        assert not over & set(self.states), self.told()

    def told(self) -> str:
        """Return all that is known of the job, for the message of a failure."""
        said = [f"job {self.id} is {self.states}"]
        said += [f"--- {path.name}\n{path.read_text(errors='replace')}" for path in sorted(self.folder.glob("*.out"))]
        return "\n".join(said)

    def succeed(self, *, limit: float = LIMIT) -> Job:
        """Wait for its end, which has to be a good one."""
        states = self.end(limit=limit)
        assert set(states) == {"COMPLETED"}, self.told()
        return self

    def cancel(self, *options: str) -> None:
        """Cancel or signal it."""
        self.cluster.run("scancel", *options, self.id)


def submit(
    cluster: Cluster, script: Path | str, *options: str, folder: Path, env: Mapping[str, str] | None = None
) -> Job:
    """Submit a script, a file or its text, from a folder."""
    if isinstance(script, str):
        path = folder / "job.sbatch"
        path.write_text(script)
        script = path
    done = cluster.run("sbatch", "--parsable", *options, script, cwd=folder, env=env or {})
    return Job(cluster, done.stdout.strip().partition(";")[0], folder)
