"""Closing a large file against a plain compressed h5py write of the same arrays.

``python -m benchmarks.close`` fills a log with 10 million samples through recorder and flush points, then closes it.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks import arms
from benchmarks.harness import Report, compare, estimate, memory_folder, options, ratio, scratch

COLUMNS = ("rank", "attempt", "section", "step", "time_ns", "loss", "grad_norm", "lr")


def arrays(samples: int) -> dict[str, Any]:
    """Return the columns that the closed file has, as a plain program would hold them."""
    draw = np.random.default_rng(7)
    step = np.arange(samples, dtype=np.int64)
    return {
        "rank": np.zeros(samples, np.int32),
        "attempt": np.ones(samples, np.int32),
        "section": np.full(samples, -1, np.int64),
        "step": step,
        "time_ns": 1_700_000_000_000_000_000 + np.cumsum(draw.integers(900, 1100, samples)),
        "loss": 2.3 * np.exp(-3 * step / samples) + draw.normal(0, 0.05, samples),
        "grad_norm": 1 + draw.exponential(0.5, samples),
        "lr": 0.5e-3 * (1 + np.cos(np.pi * step / samples)),
    }


def filled(folder: Path, name: str, samples: int) -> tuple[Any, Any]:
    """Return a run whose log holds the samples; they go in through the recorder and flush points."""
    data = arrays(samples)
    context = arms.training(folder, name)
    run, training = context.__enter__()
    record = training.series("loss", "grad_norm", "lr")
    for start in range(0, samples, 500_000):
        stop = min(start + 500_000, samples)
        columns = [data[key][start:stop].tolist() for key in ("step", "loss", "grad_norm", "lr")]
        for step, loss, norm, rate in zip(*columns, strict=True):
            record(step, loss, norm, rate)
        run.flush()
    return context, run


def closed(folder: Path, samples: int) -> Mapping[str, float]:
    """Close a run that was filled before, and return seconds and the file's size."""
    name = f"close-{time.monotonic_ns()}"
    context, _ = filled(folder, name, samples)
    gc.collect()
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    context.__exit__(None, None, None)
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    return _result(folder / f"{name}.h5", cpu, wall)


def plain(folder: Path, data: Mapping[str, Any], *, whole: bool) -> Mapping[str, float]:
    """Write the columns with h5py, compressed as the library does (gzip 1, shuffle).

    With ``whole`` it is one table of records, as a program that knows nothing of columns would write it.
    """
    path = folder / f"plain-{time.monotonic_ns()}.h5"
    gc.collect()
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    with h5py.File(path, "w") as file:
        if whole:
            table = np.zeros(len(data["step"]), [(name, values.dtype) for name, values in data.items()])
            for name, values in data.items():
                table[name] = values
            file.create_dataset("samples", data=table, compression="gzip", compression_opts=1, shuffle=True)
        else:
            for name, values in data.items():
                file.create_dataset(
                    name,
                    data=values,
                    chunks=(min(len(values), 65536),),
                    compression="gzip",
                    compression_opts=1,
                    shuffle=True,
                )
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    return _result(path, cpu, wall)


def _result(path: Path, cpu: int, wall: int) -> Mapping[str, float]:
    size = path.stat().st_size
    path.unlink()
    return {"cpu": cpu / 1e9, "wall": wall / 1e9, "bytes": float(size)}


def main() -> None:
    """Measure, print the target, write the results."""
    parser = options(__doc__, rounds=3)
    parser.add_argument("--samples", type=int, default=10_000_000, help="samples of 3 values in the file")
    chosen = parser.parse_args()
    report = Report("close")
    data = arrays(chosen.samples)
    with scratch(chosen.folder or memory_folder()) as folder:
        ways = {
            "close of a run": partial(closed, folder, chosen.samples),
            "h5py, a dataset a column": partial(plain, folder, data, whole=False),
            "h5py, one table": partial(plain, folder, data, whole=True),
        }
        found = compare(ways, chosen.rounds, seed=chosen.seed, warm_up=0)
    for arm, values in found.items():
        for what, numbers in values.items():
            report.measured(f"{chosen.samples:,} samples: {what}", arm, "bytes" if what == "bytes" else "s", numbers)
            print(f"{arm:26} {what:6} {estimate(numbers).median:,.3f}")
    report.measured(
        "memory at its most", "this process", "MiB", [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]
    )
    for arm in ("h5py, one table", "h5py, a dataset a column"):
        for clock in ("cpu", "wall"):
            reached = ratio(found["close of a run"][clock], found[arm][clock])
            report.compared(f"close, {clock}", "close of a run", arm, reached)
            if arm.endswith("column"):
                what = f"close of {chosen.samples:,} samples against {arm}, {clock}"
                report.target(what, 2.0, reached, "ratio")
    report.write(chosen.results)


if __name__ == "__main__":
    main()
