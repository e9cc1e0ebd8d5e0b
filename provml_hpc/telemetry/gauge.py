"""What a sampler reads, turn after turn: a place with a fixed set of counters."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

NAN = float("nan")


class Gone(Exception):  # noqa: N818 - it is not raised for an error, but tells that there is nothing more to read
    """What was read is not there any more: a GPU fell off its bus, a process ended. The text tells why."""


class Gauge(NamedTuple):
    """The counters of one place.

    `read` returns a value for each counter, NaN where one did not answer, and raises `Gone` where it will never again.
    """

    counters: dict[str, str]
    """The names of the counters, in the order of their values, and their units."""
    read: Callable[[], tuple[float, ...]]
    device: int = 0
    """The handle of the device that they are of, or 0."""
    rank: int = -1
    """The rank whose process they are of, or -1."""
