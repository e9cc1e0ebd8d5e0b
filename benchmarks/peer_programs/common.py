"""The work that every peer does: steps of 3 values in a folder of its own, and JSON lines in the same process."""

import gc
import json
import math
import os
import random
import sys
import time
from typing import Any, Callable, Iterable, List, Tuple

Rows = List[Tuple[int, float, float, float]]
Step = Callable[[int, float, float, float], Any]


def rows(steps: int) -> Rows:
    """Return the same steps as ``benchmarks.whole``: loss, gradient norm and learning rate."""
    draw = random.Random(7)
    loss = [2.3 * math.exp(-3 * step / steps) + draw.gauss(0, 0.05) for step in range(steps)]
    norm = [1.0 + draw.expovariate(2) for _ in range(steps)]
    rate = [0.5e-3 * (1 + math.cos(math.pi * step / steps)) for step in range(steps)]
    return list(zip(range(steps), loss, norm, rate))


def plain(name: str = "plain.jsonl") -> Tuple[Step, Callable[[], None]]:
    """Begin the baseline: a line of JSON a step."""
    file = open(name, "w")  # noqa: SIM115, PTH123 - closed by end
    write, dumps, now = file.write, json.dumps, time.time_ns

    def step(number: int, loss: float, norm: float, rate: float) -> None:
        write(dumps({"step": number, "time_ns": now(), "loss": loss, "grad_norm": norm, "lr": rate}) + "\n")

    return step, file.close


def size() -> int:
    """Return the bytes of all files in this folder and below."""
    return sum(os.path.getsize(os.path.join(top, name)) for top, _, names in os.walk(".") for name in names)  # noqa: PTH118, PTH202


def spent(begin: Callable[[], Tuple[Step, Callable[[], None]]], work: Rows) -> dict:
    """Do the work once: nanoseconds a step, CPU of the caller in the loop, and of all threads to the end."""
    gc.collect()
    before, total = size(), time.process_time_ns()
    step, end = begin()
    caller = time.thread_time_ns()
    for number, loss, norm, rate in work:
        step(number, loss, norm, rate)
    caller = time.thread_time_ns() - caller
    end()
    total = time.process_time_ns() - total
    count = len(work)
    return {"caller": caller / count, "total": total / count, "bytes": (size() - before) / count}


def main(begin: Callable[[], Tuple[Step, Callable[[], None]]]) -> None:
    """Measure the peer between two baselines, and print one line of JSON. Arguments: a folder and the steps."""
    os.chdir(sys.argv[1])
    work = rows(int(sys.argv[2]))
    base: Iterable[dict] = [spent(plain, work)]
    peer = spent(begin, work)
    base = [*base, spent(plain, work)]
    print("RESULT " + json.dumps({"peer": peer, "plain": base, "python": sys.version.split()[0]}), flush=True)
