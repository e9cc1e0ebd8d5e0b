"""The ways to note one training step: floors, the library off and on, generated for any number of values.

The loop of an arm is made as text, so that 30 values are 30 arguments in the source as a user would write them.
"""

from __future__ import annotations

import io
import json
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import provml_hpc as provml

Loop = Callable[[Iterable[int], Callable[[], int]], int]
"""Takes the steps and a clock, and returns what passed on the clock."""

NOTHING = "nothing"
TUPLE = "tuple append"
PACK = "struct.pack_into"
JSON = "json.dumps + write"
OFF_LOG, OFF_SERIES = "off: log", "off: series"
LOG, SERIES = "log", "series"

_NAMES = ("loss", "grad_norm", "lr", *(f"m{i}" for i in range(3, 1000)))


def measures(count: int) -> tuple[str, ...]:
    """Return the names of so many measures."""
    return _NAMES[:count]


def value(index: int) -> float:
    """Return the value that a measure has in loops of constant values."""
    return 0.1 + index / 7


def loop(body: str, count: int, **names: Any) -> Loop:
    """Return a function that runs a line of code for each step, with the values in local names v0, v1 ..."""
    given = ", ".join(names)
    text = f"def make({given}):\n def run(steps, clock):\n"
    text += "".join(f"  v{i} = {value(i)!r}\n" for i in range(count))
    text += f"  began = clock()\n  for step in steps:\n   {body}\n  return clock() - began\n return run\n"
    scope: dict[str, Any] = {}
    exec(compile(text, "<arm>", "exec"), scope)
    made: Loop = scope["make"](**names)
    return made


def called(count: int) -> Callable[..., None]:
    """Return a function that takes a step and its values one by one, as a recorder does, and does nothing."""
    scope: dict[str, Any] = {}
    exec(f"def bare(step, {values(count)}): pass", scope)
    found: Callable[..., None] = scope["bare"]
    return found


def values(count: int) -> str:
    """Return the values as positional arguments."""
    return ", ".join(f"v{i}" for i in range(count))


def keywords(count: int) -> str:
    """Return the values as keyword arguments."""
    return ", ".join(f"{name}=v{i}" for i, name in enumerate(measures(count)))


def body_of_json(count: int, timed: bool = True) -> str:
    """Return the line that writes a step as one line of JSON."""
    fields = ", ".join(f'"{name}": v{i}' for i, name in enumerate(measures(count)))
    clock = '"time_ns": now(), ' if timed else ""
    return f'write(dumps({{"step": step, {clock}{fields}}}) + "\\n")'


def floors(count: int, file: io.TextIOBase) -> dict[str, Loop]:
    """Return the loops that the library is compared with."""
    rows: list[Any] = []
    packer = struct.Struct(f"<q{count}d")

    def append() -> Loop:
        inner = loop(f"append((step, {values(count)}))", count, append=rows.append)

        def run(steps: Iterable[int], clock: Callable[[], int]) -> int:
            rows.clear()
            return inner(steps, clock)

        return run

    line = {"write": file.write, "dumps": json.dumps, "now": time.time_ns}
    return {
        NOTHING: loop("pass", count),
        TUPLE: append(),
        PACK: loop(f"pack(room, 0, step, {values(count)})", count, pack=packer.pack_into, room=bytearray(packer.size)),
        JSON: loop(body_of_json(count), count, **line),
        f"{JSON}, without time": loop(body_of_json(count, timed=False), count, **line),
    }


def captured(training: Any, count: int) -> dict[str, Loop]:
    """Return the loops that log into an open training, by the names of their calls."""
    record = training.series(*measures(count))
    return {
        LOG: loop(f"training.log(step, {keywords(count)})", count, training=training),
        SERIES: loop(f"record(step, {values(count)})", count, record=record),
    }


@contextmanager
def training(
    folder: Path, name: str, *, off: bool = False, journal: str = "output", buffer: str = "64 MiB"
) -> Iterator[Any]:
    """Give a run and its open training, recording or switched off; the run ends with the block."""
    before = os.environ.pop("PROVML_DISABLE", None)
    if off:
        os.environ["PROVML_DISABLE"] = "1"
    try:
        run = provml.init(name, phase="learning", output=folder / f"{name}.h5", journal=journal, buffer=buffer)
    finally:
        os.environ.pop("PROVML_DISABLE", None)
        if before is not None:
            os.environ["PROVML_DISABLE"] = before
    with run, run.training() as open_training:
        yield run, open_training
