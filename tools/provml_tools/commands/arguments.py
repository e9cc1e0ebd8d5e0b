"""What the words of a call may be, where several commands take the same."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable


def seconds(most: float, *, zero: bool = True) -> Callable[[str], float]:
    """Return what reads a number of seconds up to `most`; not 0 unless `zero`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= most or not (value or zero):
            raise ArgumentTypeError(f"{text!r} is no number of seconds from 0 to {most:g}")
        return value

    return read
