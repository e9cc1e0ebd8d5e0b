"""What a step costs all told: CPU of all threads from ``init`` to the closed, compressed file, and bytes in that file.

``python -m benchmarks.whole`` logs steps of 3 values that look like a training's, with a flush point every 20,000.
"""

from __future__ import annotations

import gc
import json
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import arms
from benchmarks.harness import CONTROL, Report, compare, estimate, options, ratio, scratch

Rows = Sequence[tuple[int, float, float, float]]
EVERY = 20_000
FULL, SINGLE, RANDOM = "float64 noise", "float32 noise", "random bits"


def series(steps: int, kind: str, seed: int = 7) -> Rows:
    """Return steps with loss, gradient norm and learning rate.

    The noise has all bits of a float64, or those of a float32, as most accelerators compute; the learning rate follows
    a cosine. With random bits nothing can be packed: the worst there is.
    """
    draw = random.Random(seed)
    if kind == RANDOM:
        return [(step, draw.random(), draw.random(), draw.random()) for step in range(steps)]
    loss = [2.3 * math.exp(-3 * step / steps) + draw.gauss(0, 0.05) for step in range(steps)]
    norm = [1.0 + draw.expovariate(2) for _ in range(steps)]
    rate = [0.5e-3 * (1 + math.cos(math.pi * step / steps)) for step in range(steps)]
    if kind == SINGLE:
        loss, norm, rate = (np.asarray(part, np.float32).astype(float).tolist() for part in (loss, norm, rate))
    return list(zip(range(steps), loss, norm, rate, strict=True))


def to_json(rows: Rows, folder: Path) -> Path:
    """Write the rows as JSON lines."""
    path = folder / f"rows-{time.monotonic_ns()}.jsonl"
    dumps, now = json.dumps, time.time_ns
    with path.open("w") as file:
        write = file.write
        for step, loss, norm, rate in rows:
            write(dumps({"step": step, "time_ns": now(), "loss": loss, "grad_norm": norm, "lr": rate}) + "\n")
    return path


def to_library(rows: Rows, folder: Path, *, positional: bool) -> Path:
    """Log the rows in a run of their own and close it."""
    name = f"rows-{time.monotonic_ns()}"
    with arms.training(folder, name) as (run, training):
        for start in range(0, len(rows), EVERY):
            part = rows[start : start + EVERY]
            if positional:
                record = training.series("loss", "grad_norm", "lr")
                for step, loss, norm, rate in part:
                    record(step, loss, norm, rate)
            else:
                for step, loss, norm, rate in part:
                    training.log(step, loss=loss, grad_norm=norm, lr=rate)
            run.flush()
    return folder / f"{name}.h5"


def spent(work: Callable[[Rows, Path], Path], rows: Rows, folder: Path) -> Mapping[str, float]:
    """Return CPU and wall seconds of all threads, and the size of the file, which then goes."""
    gc.collect()
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    path = work(rows, folder)
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    size = path.stat().st_size
    path.unlink()
    return {"cpu": cpu / 1e9, "wall": wall / 1e9, "bytes": float(size)}


def main() -> None:
    """Measure, print the targets, write the results."""
    parser = options(__doc__, rounds=7)
    parser.add_argument("--steps", type=int, default=400_000, help="steps of one repeat")
    chosen = parser.parse_args()
    report, steps = Report("whole"), chosen.steps
    rows = series(steps, FULL)
    log, positional = partial(to_library, positional=False), partial(to_library, positional=True)
    works: dict[str, Callable[[Rows, Path], Path]] = {
        arms.JSON: to_json,
        f"{arms.JSON}, {CONTROL}": to_json,
        arms.LOG: log,
        arms.SERIES: positional,
    }
    with scratch(chosen.folder) as folder:
        ways: dict[str, Any] = {name: partial(spent, work, rows, folder) for name, work in works.items()}
        ways["an empty run"] = partial(spent, log, [], folder)
        found = compare(ways, chosen.rounds, seed=chosen.seed)
        sizes = {kind: spent(positional, series(steps, kind), folder)["bytes"] for kind in (FULL, SINGLE, RANDOM)}
        empty = spent(log, [], folder)["bytes"]
        plain = spent(to_json, rows, folder)["bytes"]
    for arm, values in found.items():
        for clock in ("cpu", "wall"):
            if arm == "an empty run":
                report.measured(
                    "init to closed file, no step", arm, "ms", [v * 1e3 for v in values[clock]], clock=clock
                )
            else:
                per_step = [v / steps * 1e9 for v in values[clock]]
                report.measured("a step of 3 values to the closed file", arm, "ns", per_step, clock=clock)
    control = ratio(found[f"{arms.JSON}, {CONTROL}"]["cpu"], found[arms.JSON]["cpu"])
    report.compared("total CPU", arms.JSON, CONTROL, control)
    remark = f"{steps:,} steps, init and close included; A/A control: {control.median:.3f}"
    for arm, limit in ((arms.LOG, 0.55), (arms.SERIES, None)):
        reached = ratio(found[arm]["cpu"], found[arms.JSON]["cpu"])
        report.compared("total CPU to the closed file", arm, arms.JSON, reached)
        if limit:
            report.target(
                "total CPU to the closed, compressed file against json.dumps + write, through log",
                limit,
                reached,
                "ratio",
                remark,
            )
    for kind, size in sizes.items():
        report.measured("bytes a step of 3 values, closed file", kind, "bytes", [(size - empty) / steps])
        report.measured("bytes a step of 3 values, all of the file", kind, "bytes", [size / steps])
    report.measured("bytes a step of 3 values, closed file", arms.JSON, "bytes", [plain / steps])
    report.measured("bytes of a run without steps", "the file", "bytes", [empty])
    share = f"the rest of the file ({empty:,.0f} bytes a run) not counted; incompressible values: "
    share += f"{(sizes[RANDOM] - empty) / steps:.1f}; JSON lines: {plain / steps:.1f}"
    reached = estimate([(sizes[FULL] - empty) / steps])
    report.target("bytes a step with 3 float64 values and time, closed file", 24, reached, "bytes", share)
    report.write(chosen.results)


if __name__ == "__main__":
    main()
