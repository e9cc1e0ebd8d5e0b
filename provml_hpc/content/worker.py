"""A thread that digests files beside the training."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TypeAlias

from provml_hpc.content.digests import Digest, StatKey, digest_file, full_digest_limit, is_sampled
from provml_hpc.content.tree import TreeDigest, digest_directory

Result: TypeAlias = "Digest | TreeDigest | Exception"

KNOWN_LIMIT = 100_000
"""How many digests are kept for files that come again."""


class Hasher:
    """Digest files and directories in one background thread.

    The thread starts with the first job and ends by itself when there is none for a while. A file in one state (path,
    device, inode, size, time) is read once, however often it is submitted; a directory is listed anew each time, its
    unchanged files are not read anew. In a forked child it does nothing.

    Parameters
    ----------
    deliver
        Called **in the worker thread** as ``deliver(key, result)``, exactly once for each accepted job, with a
        `Digest`, a `TreeDigest` or the exception. It may submit further jobs; an exception that it raises is kept in
        `error`.
    full_limit
        As in `digest_file`; the setting is read once, here.
    idle
        Seconds without a job after which the thread ends.
    """

    def __init__(
        self, deliver: Callable[[StatKey, Result], None], *, full_limit: int | None = None, idle: float = 2.0
    ) -> None:
        self.error: Exception | None = None
        self._deliver = deliver
        self._limit = full_digest_limit() if full_limit is None else full_limit
        self._idle = idle
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._jobs: deque[tuple[StatKey, bool]] = deque()
        self._current: StatKey | None = None
        self._delivering = False
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._known: OrderedDict[tuple[StatKey, bool], Digest] = OrderedDict()

    def submit(self, key: StatKey, whole: bool = False) -> bool:
        """Ask for a digest; False, and nothing is delivered, if the hasher is closed or this is a forked child."""
        if os.getpid() != self._process:
            return False  # before any lock: a fork may have copied it in the closed state
        with self._changed:
            if self._stop.is_set():
                return False
            self._jobs.append((key, whole))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="provml-hasher", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all jobs are delivered; False if the time, in seconds, was not enough.

        Not to be called in `deliver`, which would wait for itself.
        """
        if os.getpid() != self._process:
            return True
        with self._changed:
            return self._changed.wait_for(self._is_done, timeout)

    def close(self, timeout: float | None = None) -> list[StatKey]:
        """Wait for the jobs at most so many seconds, give up the rest, and end the thread.

        Returns
        -------
        list of StatKey
            The jobs that were given up. None of them is delivered afterwards.
        """
        if os.getpid() != self._process:
            return []
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._changed.wait_for(self._is_done, timeout)
            self._stop.set()
            left = [key for key, _ in self._jobs]
            self._jobs.clear()
            if self._current is not None and not self._delivering:
                left.insert(0, self._current)
                self._current = None
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            # A read from a dead file system never returns: the thread is a daemon, so it is left behind.
            thread.join(1.0 if deadline is None else max(0.1, deadline - time.monotonic()))
        return left

    def _is_done(self) -> bool:
        return not self._jobs and self._current is None

    def _is_given_up(self) -> bool:
        return self._current is None

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._jobs and not self._stop.is_set():
                    self._changed.wait_for(lambda: self._jobs or self._stop.is_set(), self._idle)
                if not self._jobs:
                    self._thread = None
                    return
                key, whole = self._jobs.popleft()
                self._current = key
            result: Result
            try:
                result = self._digest(key, whole)
            except Exception as error:  # whatever it is, the one who asked has to hear it
                result = error
            with self._changed:
                if self._is_given_up():
                    continue  # given up by `close`, which reported it
                self._delivering = True
            try:
                self._deliver(key, result)
            except Exception as error:
                self.error = self.error or error
            with self._changed:
                self._delivering = False
                self._current = None
                self._changed.notify_all()

    def _digest(self, key: StatKey, whole: bool) -> Digest | TreeDigest:
        if key.is_directory:
            tree = digest_directory(key.path, full_limit=self._limit, whole=whole, stop=self._stop, known=self._known)
            self._trim()
            return tree
        place = (key, is_sampled(key.size, self._limit, whole))
        known = self._known.get(place)
        if known is not None:
            return known
        digest = digest_file(key.path, full_limit=self._limit, whole=whole, expected=key, stop=self._stop)
        if not digest.changed:
            self._known[place] = digest
            self._trim()
        return digest

    def _trim(self) -> None:
        while len(self._known) > KNOWN_LIMIT:
            self._known.popitem(last=False)
