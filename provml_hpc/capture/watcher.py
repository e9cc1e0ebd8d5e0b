"""A thread that hears of signals while the main thread cannot, since it waits in a collective call of MPI.

Python runs a handler between two steps of the main thread, so not before such a call returns. But its signal handling
in C writes the number of each signal to a file descriptor at once (``signal.set_wakeup_fd``), and a thread can wait for
that. There is one such descriptor a process: one that was there before is passed on to, and put back at the end.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable

_END = b"\0"
"""No signal has this number."""


class Watcher:
    """Calls a function in a thread of its own for each signal; made in the main thread.

    Parameters
    ----------
    heard
        Called with the number of a signal. It may return after how many seconds it wants to be called again, with 0,
        should no signal come before that.

    Raises
    ------
    ValueError
        This is not the main thread.
    """

    def __init__(self, heard: Callable[[int], float | None]) -> None:
        self._heard = heard
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        try:
            self._before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        except ValueError:
            os.close(self._reader)
            os.close(self._writer)
            raise
        self._thread = threading.Thread(target=self._listen, name="provml-signals", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        poll = select.poll()  # unlike select(), it takes descriptors above 1023
        poll.register(self._reader, select.POLLIN)
        again: float | None = None
        while True:
            if not poll.poll(None if again is None else again * 1000):
                again = self._heard(0)
                continue
            numbers = os.read(self._reader, 256)
            if self._before >= 0:
                with contextlib.suppress(OSError):
                    os.write(self._before, numbers.replace(_END, b""))
            for number in numbers:
                if number:
                    again = self._heard(number)
            if not numbers or _END in numbers:
                return

    def close(self, seconds: float) -> None:
        """End the thread, and put back the descriptor that was there before; called in the main thread."""
        try:
            now = signal.set_wakeup_fd(self._before, warn_on_full_buffer=False)
        except ValueError:  # another thread ends the run: the descriptor stays, and nobody listens any more
            now = -1
        ours = now == self._writer
        if now >= 0 and not ours:  # somebody came after us, and may pass on to us
            signal.set_wakeup_fd(now, warn_on_full_buffer=False)
        os.write(self._writer, _END)
        self._thread.join(seconds)
        if ours and not self._thread.is_alive():
            os.close(self._reader)
            os.close(self._writer)

    def abandon_in_child(self) -> None:
        """After a fork, in the child: what it hears is not for the thread of its parent."""
        with contextlib.suppress(ValueError):
            if (now := signal.set_wakeup_fd(-1)) not in (-1, self._writer):
                signal.set_wakeup_fd(now)
