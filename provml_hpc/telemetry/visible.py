"""Which devices a process was given, going by the variables that its launcher or its user set."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

VARIABLES = ("CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
"""What tells of devices, the nearest first: what CUDA goes by, the step's share, the job's on this node."""


class Neighbour(NamedTuple):
    """A rank on the node that is sampled."""

    rank: int
    pid: int
    variable: str
    """The variable that says which devices it was given; empty if none does."""
    devices: str
    """The text of that variable."""


class Seen(NamedTuple):
    """A device as variables name it."""

    handle: int
    number: int
    """Its number on the node; -1 for a slice."""
    identifier: str


def visible_devices(environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return the variable that tells which devices this process was given, and its text; empty texts if none does."""
    for name in VARIABLES:
        if name in environment:
            return name, environment[name][:1000]
    return "", ""


def given(text: str, devices: Sequence[Seen]) -> list[int]:
    """Return the handles of the devices that a text names, as CUDA reads it: up to the first that names none.

    Parameters
    ----------
    text
        Numbers, ranges of them as Slurm writes them, or the beginnings of UUIDs, with commas between.
    devices
        What there is. Numbers count the devices in the order that NVML has them in, which is that of the PCI bus.

    Examples
    --------
    >>> given("1,GPU-a", [Seen(7, 0, "GPU-a1"), Seen(9, 1, "GPU-b2")])
    [9, 7]
    """
    found: list[int] = []
    for piece in text.replace(" ", "").split(","):
        numbers = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", piece)
        if numbers:
            wanted = range(int(numbers[1]), int(numbers[2] or numbers[1]) + 1)
            here = [one.handle for at in wanted for one in devices if one.number == at]
        else:
            here = [one.handle for one in devices if piece and one.identifier.startswith(piece)]
            here = here if len(here) == 1 else []  # a beginning that fits two names none
        if not here:
            break
        found += [handle for handle in here if handle not in found]
    return found
