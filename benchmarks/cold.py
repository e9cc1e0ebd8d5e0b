"""What a call costs after the core did something else: nothing, polling, arrays larger than the cache, sleep.

``python -m benchmarks.cold`` explains why a call in a training costs more than one in a loop, for this library and for
anything else: what it needs is no longer in the caches, and a core that slept is slow to wake.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from benchmarks import arms
from benchmarks.harness import Report, compare, estimate, median, options, scratch

VALUES = 20


def _poll() -> None:
    until = time.perf_counter() + 2e-3
    while time.perf_counter() < until:
        pass


BEFORE: dict[str, Callable[[], object]] = {
    "right before": lambda: None,
    "2 ms of polling": _poll,
    "an array of 8 MB": lambda: np.ones(1_000_000).sum(),
    "10 ms of sleep": lambda: time.sleep(10e-3),
}


def timed(call: Callable[[int], object], before: Callable[[], object], calls: int) -> Mapping[str, float]:
    """Return the median of single calls in nanoseconds, wall."""
    clock, found = time.perf_counter_ns, []
    for step in range(calls):
        before()
        began = clock()
        call(step)
        found.append(clock() - began)
    return {"wall": median(found)}


def main() -> None:
    """Measure and write the results."""
    parser = options(__doc__, rounds=5)
    parser.add_argument("--calls", type=int, default=100)
    chosen = parser.parse_args()
    report, names = Report("cold"), arms.measures(VALUES)
    values = [arms.value(i) for i in range(VALUES)]
    with scratch(chosen.folder) as folder, arms.training(folder, "cold") as (_, training):
        record = training.series(*names)
        calls: dict[str, Callable[[int], object]] = {
            "an empty call": lambda step: None,
            "series": lambda step: record(step, *values),
            "json.dumps": lambda step: json.dumps({"step": step, **dict(zip(names, values, strict=True))}),
        }
        ways = {f"{a}|{b}": partial(timed, calls[a], BEFORE[b], chosen.calls) for a in calls for b in BEFORE}
        for way, found in compare(ways, chosen.rounds, seed=chosen.seed, warm_up=0).items():
            arm, _, before = way.partition("|")
            report.measured(f"a call of {VALUES} values after {before}", arm, "ns", found["wall"], before=before)
            print(f"{arm:14} after {before:18} {estimate(found['wall']).median:>9,.0f} ns")
    report.write(chosen.results)


if __name__ == "__main__":
    main()
