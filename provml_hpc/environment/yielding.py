"""For work beside the training: a thread that computes keeps the interpreter from all others, up to 5 ms at a time.

That is the interval after which Python takes it away from a thread (:func:`sys.getswitchinterval`), and far longer than
a call of the capture may take. It is the user's to set, so such work gives way by itself instead.
"""

from __future__ import annotations

import threading
import time

_TURN = 200e-6
"""Seconds that a thread may keep the interpreter."""
_REST = 50e-6
"""Seconds for which it then sleeps: without sleeping it would have it again before another thread is awake."""

_mine = threading.local()


def give_way() -> None:
    """Let other threads have the interpreter, where this one has had it for long; nothing in the main thread."""
    now = time.monotonic()
    if now < getattr(_mine, "until", 0.0) or threading.current_thread() is threading.main_thread():
        return
    time.sleep(_REST)
    _mine.until = time.monotonic() + _TURN
