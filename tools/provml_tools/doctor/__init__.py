"""What of MPI, HDF5, GPUs, scheduler and places is there, what it means, and what to do about the rest.

Nothing that may hang, abort or crash is done in this process, and nothing that is missing is an error.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from provml_hpc._version import __version__
from provml_hpc.environment import scheduler as jobs
from provml_hpc.environment.launcher import Launch, detect
from provml_tools.doctor import job, machine, mpi, places
from provml_tools.doctor.children import Answer
from provml_tools.doctor.findings import BROKEN, MISSING, NOTE, OK, STATES, Finding, as_row, counts

__all__ = ["BROKEN", "MISSING", "NOTE", "OK", "STATES", "Doctor", "Finding", "is_silent", "report"]

SECONDS = 30.0
"""How long one thing may take to answer, by default."""


class Doctor:
    """Looks at everything, once.

    Parameters
    ----------
    output
        A folder that outputs go to, or the path of one.
    seconds
        How long one thing may take to answer.
    """

    def __init__(self, output: str = ".", seconds: float = SECONDS) -> None:
        self.launch = detect()
        self.failed = False
        """Whether a check itself went wrong, other than what it looked at."""
        self._output, self._seconds = output, seconds
        self._probe = Answer()

    def examine(self) -> list[Finding]:
        """Look at all but a run."""
        place, node = places.folder_of(self._output), places.node_places()
        facts = jobs.job_facts()
        seconds = self._seconds
        # Each is a child that mostly waits or imports.
        with ThreadPoolExecutor(max_workers=5 + len(node)) as pool:
            probe = pool.submit(mpi.probe, seconds)
            trial = pool.submit(places.attempt, place, seconds, hdf5=True)
            nvml = pool.submit(machine.nvml, seconds)
            extras = pool.submit(machine.extras, seconds)
            trials = [pool.submit(places.attempt, folder, seconds) for _, folder in node]
            self._probe = self._result(probe)
            ranks, memory = self.launch.here or 1, places.Memory(facts)
            checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
                (machine.PYTHON, lambda: machine.packages(extras.result())),
                (mpi.TOPIC, lambda: mpi.check(self._probe, self.launch, seconds)),
                (places.HDF5, lambda: places.hdf5(trial.result())),
                (machine.GPUS, lambda: [machine.gpus(nvml.result())]),
                (places.JOURNALS, lambda: [places.output(place, trial.result(), ranks, memory)]),
                (
                    places.JOURNALS,
                    lambda: places.node(node, [one.result() for one in trials], ranks, memory),
                ),
                (machine.SITE, lambda: [machine.scheduler(facts), machine.authority()]),
            ]
            return [finding for topic, check in checks for finding in self._checked(topic, check)]

    def attend(self) -> None:
        """Take part, as a rank that reports nothing, in what all ranks are asked together."""
        if not self.launch.joins:
            return  # They are no ranks of one MPI, so nothing will be asked.
        self._probe = mpi.probe(self._seconds)
        if mpi.joins(self.launch, self._probe):
            # Rank 0 comes when it has looked at everything else.
            job.attempt(places.folder_of(self._output), 3 * self._seconds, together=True)

    def run(self) -> list[Finding]:
        """Try out a run: by all ranks if there are several that find each other, otherwise by this process alone."""
        together = mpi.joins(self.launch, self._probe)
        found: list[Finding] = []
        if self.launch.several and not together:
            text = "not asked, since MPI would not join them: what is said of the launch is from its variables"
            found.append(Finding(job.RANKS, "together", NOTE, text, "", "see MPI above", {"ranks": [], "nodes": {}}))

        def look() -> Iterable[Finding]:
            answer = job.attempt(places.folder_of(self._output), self._seconds, together=together)
            return job.findings(answer, self.launch, together=together)

        return found + self._checked(job.RANKS if together else job.RUN, look)

    def _result(self, future: Future[Answer]) -> Answer:
        try:
            return future.result()
        except Exception as error:
            self.failed = True
            return Answer(trouble=f"{type(error).__name__}: {error}")

    def _checked(self, topic: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
        findings: list[Finding] = []
        try:
            findings.extend(check())
        except Exception as error:
            self.failed = True
            text = f"the check itself failed: {type(error).__name__}: {error}"
            findings.append(Finding(topic, "check", BROKEN, text, "", "please report this", {}))
        return findings


def is_silent(launch: Launch) -> bool:
    """Tell whether this is one of the ranks that leave the report to rank 0.

    Somebody at a keyboard always gets a report, whatever variables a shell inherited: launchers give ranks other than
    0 no keyboard.
    """
    try:
        return launch.rank > 0 and not sys.stdin.isatty()
    except (AttributeError, ValueError):  # standard input is closed
        return launch.rank > 0


def report(doctor: Doctor, output: str, findings: list[Finding]) -> dict[str, Any]:
    """Return a report for programs. Keys are added, none is dropped or given another meaning."""
    return {
        "version": __version__,
        "host": socket.gethostname(),
        "output": str(Path(output).absolute()),
        "rank": doctor.launch.rank,
        "size": doctor.launch.size,
        "counts": counts(findings),
        "findings": [as_row(finding) for finding in findings],
    }
