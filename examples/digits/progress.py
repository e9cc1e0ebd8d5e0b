"""How a job tells how far it is."""

from __future__ import annotations

import sys


def report(done: int, total: int, what: str) -> None:
    """Say what was just done, as `[done/total] what`: in one write, so that lines of several ranks do not mix."""
    sys.stdout.write(f"[{done}/{total}] {what}\n")
    sys.stdout.flush()
