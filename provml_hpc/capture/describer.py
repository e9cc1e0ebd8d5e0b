"""A thread that has files described beside the training, by readers in a child process with limits."""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from provml_hpc.content import StatKey

if TYPE_CHECKING:
    import subprocess

log = logging.getLogger("provml_hpc")

SECONDS = 60.0
"""How long a reader may take for one file."""
LARGEST = 1 << 20
"""Most bytes of an answer."""
_LAUNCHERS = ("PMI", "OMPI_", "PRTE_", "MPI", "HYD", "OPAL_")
"""What these variables say would make a library in the child take itself for a rank."""


class Job(NamedTuple):
    """A file to be described, and where its facts belong."""

    key: StatKey
    reader: str
    activity: int
    entity: int
    label: str


class Describer:
    """Have files described, one after the other; nothing starts before the first.

    Parameters
    ----------
    tell
        Called in the thread as ``tell(job, facts)`` for each file that a reader knew.
    refuse
        Called in the thread as ``refuse(job, reason)`` for each other: none is left without a word.
    """

    def __init__(self, tell: Callable[[Job, Mapping[str, Any]], object], refuse: Callable[[Job, str], object]) -> None:
        self._tell, self._refuse = tell, refuse
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._busy = False
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._process = os.getpid()

    def submit(self, job: Job) -> None:
        """Ask for the description of a file. In a forked child, and after `close`, nothing happens."""
        if os.getpid() != self._process:
            return
        with self._changed:
            if self._stopped:
                return
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="provml-describer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, seconds: float | None) -> bool:
        """Wait until all files are described or refused; False if the time was not enough."""
        if os.getpid() != self._process:
            return True
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs and not self._busy, seconds)

    def close(self) -> int:
        """Give up what is left, end the child, and return how many files were given up."""
        if os.getpid() != self._process:
            return 0
        with self._changed:
            self._stopped = True
            left = len(self._jobs) + self._busy
            self._jobs.clear()
            child = self._child
            self._changed.notify_all()
        if child is not None:
            child.kill()  # the thread sees its end, and reaps it
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(5.0)
        return left

    def _work(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._jobs or self._stopped)
                    if self._stopped:
                        return
                    job = self._jobs.popleft()
                    self._busy = True
                try:
                    self._describe(job)
                except Exception as error:
                    log.warning("provml: %s could not be described: %s", job.label, error)
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
        finally:
            self._end_child()

    def _describe(self, job: Job) -> None:
        answer = self._ask(job)
        if self._stopped:
            return
        facts = answer.get("facts")
        if isinstance(facts, dict):
            self._tell(job, facts)
        else:
            self._refuse(job, str(answer.get("error", "the reader gave no answer")))

    def _ask(self, job: Job) -> dict[str, Any]:
        """Return what the child says of a file, or why it says nothing."""
        try:
            child = self._child or self._start()
            assert child.stdin is not None
            asked = {"path": job.key.path, "reader": job.reader, "seconds": int(2 * SECONDS) + 1}
            child.stdin.write(json.dumps(asked).encode() + b"\n")
            child.stdin.flush()
            line = self._line(child)
        except OSError as error:
            line, reason = None, f"the reader's process could not be used: {error}"
        else:
            reason = f"the reader took more than {SECONDS:g} s, or died of the file"
        if line is None:
            self._end_child()
            return {"error": reason}
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError):
            self._end_child()
            return {"error": "the reader's answer is damaged, or too long"}

    def _line(self, child: subprocess.Popen[bytes]) -> bytes | None:
        assert child.stdout is not None
        number, found = child.stdout.fileno(), b""
        until = time.monotonic() + SECONDS
        while not found.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not select.select([number], [], [], left)[0]:
                return None
            part = os.read(number, 1 << 16)
            if not part:
                return None
            found += part
            if len(found) > LARGEST:
                return b"too long"
        return found

    def _start(self) -> subprocess.Popen[bytes]:
        import subprocess  # only where a file is described: a job that has none is lighter

        environment = {name: text for name, text in os.environ.items() if not name.startswith(_LAUNCHERS)}
        # A reader may lie beside the script, and is found there as the script's own modules are.
        paths = [one or "." for one in sys.path]
        environment["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment |= {"PROVML_DISABLE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        child = subprocess.Popen(
            [sys.executable, "-m", "provml_hpc.readers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        with self._changed:
            self._child = child
            if self._stopped:
                child.kill()
        return child

    def _end_child(self) -> None:
        with self._changed:
            child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with suppress(OSError):  # what it had not taken is of no use to anybody
                        pipe.close()
