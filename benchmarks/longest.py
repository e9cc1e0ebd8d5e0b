"""The distribution of single calls: median, 99th percentile and the longest of a million, garbage collector on.

``python -m benchmarks.longest`` times every call by itself. On a machine with other work the longest *wall* time is the
scheduler's: an empty loop that takes as long, timed in the same way, shows how much, and the CPU clock of the thread
leaves it out.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import arms
from benchmarks.harness import Report, compare, estimate, memory_folder, options, scratch

DICTS = "a list of dicts"
AS_LONG = "an empty loop that takes as long"
LIMIT = 1.0
"""Milliseconds that the longest call may take on an idle core."""
CLOCKS: dict[str, Callable[[], int]] = {"wall": time.perf_counter_ns, "cpu": time.thread_time_ns}


def every_call(body: str, calls: int, clock: str, **names: Any) -> Mapping[str, float]:
    """Time each call of a line of code, and return the quantiles in nanoseconds."""
    times = np.zeros(calls, np.int64)
    given = ", ".join(names)
    text = f"def run(times, clock, {given}):\n v0, v1, v2 = 0.1, 0.2, 0.3\n for step in range(len(times)):\n"
    text += f"  began = clock()\n  {body}\n  times[step] = clock() - began\n"
    scope: dict[str, Any] = {}
    exec(compile(text, "<calls>", "exec"), scope)
    gc.collect()
    gc.enable()
    before = resource.getrusage(resource.RUSAGE_THREAD)
    scope["run"](times, CLOCKS[clock], *names.values())
    after = resource.getrusage(resource.RUSAGE_THREAD)
    times.sort()
    found = {f"p{share}": float(times[min(int(calls * share / 100), calls - 1)]) for share in (50, 99, 99.9)}
    found["max"] = float(times[-1])
    found["above 1 ms"] = float((times > 1_000_000).sum())
    found["preemptions"] = float(after.ru_nivcsw - before.ru_nivcsw)
    found["page faults"] = float(after.ru_minflt - before.ru_minflt)
    return found


def logged(folder: Path, journal: str, call: str, calls: int, clock: str) -> Mapping[str, float]:
    """Time the calls of a run of its own, whose journal has room for all of them."""
    name = f"c{time.monotonic_ns()}"
    room = f"{calls * 64 * 8 // 7 // 2**20 + 2} MiB"
    with arms.training(folder, name, journal=journal, buffer=room) as (_, training):
        training.log(0, loss=0.1, grad_norm=0.2, lr=0.3)
        if call == arms.LOG:
            return every_call("training.log(step, loss=v0, grad_norm=v1, lr=v2)", calls, clock, training=training)
        record = training.series("loss", "grad_norm", "lr")
        return every_call("record(step, v0, v1, v2)", calls, clock, record=record)


def appended(calls: int, clock: str) -> Mapping[str, float]:
    """Time what is often done in place of a journal: dictionaries in a list."""
    rows: list[Any] = []
    return every_call(
        'append({"step": step, "values": {"loss": v0, "grad_norm": v1}})', calls, clock, append=rows.append
    )


def idle(calls: int, clock: str, turns: int) -> Mapping[str, float]:
    """Time an empty loop of so many turns in place of each call: how long this machine keeps a core from a process."""
    return every_call("for turn in pause: pass", calls, clock, pause=range(turns))


def turns_of(nanoseconds: float) -> int:
    """Return how many turns of an empty loop take so long."""
    pause = range(100_000)
    began = time.thread_time_ns()
    for _ in pause:
        pass
    return max(1, round(nanoseconds * len(pause) / (time.thread_time_ns() - began)))


def main() -> None:
    """Measure, print the target, write the results."""
    parser = options(__doc__, rounds=5)
    parser.add_argument("--calls", type=int, default=1_000_000, help="calls of one repeat")
    chosen = parser.parse_args()
    report = Report("longest")
    memory = memory_folder()
    places = {"on disk": "output", **({"in memory": str(memory)} if memory else {})}
    with scratch(chosen.folder) as folder:
        ways: dict[str, Callable[[], Mapping[str, float]]] = {}
        turns = turns_of(logged(folder, "output", arms.LOG, 20_000, "cpu")["p50"])
        for clock in CLOCKS:
            ways[f"{arms.NOTHING}|{clock}"] = partial(every_call, "pass", chosen.calls, clock)
            ways[f"{AS_LONG}|{clock}"] = partial(idle, chosen.calls, clock, turns)
            ways[f"{DICTS}|{clock}"] = partial(appended, chosen.calls, clock)
            for place, journal in places.items():
                for call in (arms.LOG, arms.SERIES):
                    way = f"{call}, journal {place}|{clock}"
                    ways[way] = partial(logged, folder, journal, call, chosen.calls, clock)
        found = compare(ways, chosen.rounds, seed=chosen.seed, warm_up=0)
    for way, values in found.items():
        arm, _, clock = way.partition("|")
        for what, numbers in values.items():
            unit = "ns" if what[0] in "pm" and what not in ("page faults", "preemptions") else "count"
            report.measured(f"one call: {what}", arm, unit, numbers, clock=clock)
        print(f"{arm:28} {clock:5}", {what: round(estimate(numbers).median) for what, numbers in values.items()})
    place = "in memory" if memory else "on disk"
    idle_max = estimate([v / 1e6 for v in found[f"{AS_LONG}|wall"]["max"]])
    still = idle_max.within(LIMIT)
    remarks = {
        "wall": f"{AS_LONG}: {idle_max.median:.2f} [{idle_max.low:.2f}, {idle_max.high:.2f}] ms"
        + ("" if still else ", so no core is idle here"),
        "cpu": "without preemption",
    }
    for call in (arms.LOG, arms.SERIES):
        for clock, remark in remarks.items():
            reached = estimate([v / 1e6 for v in found[f"{call}, journal {place}|{clock}"]["max"]])
            what = f"longest of {chosen.calls:,} calls of {call}, journal {place}, {clock}"
            report.target(what, LIMIT, reached, "ms", remark, resolved=clock == "cpu" or still)
    report.write(chosen.results)


if __name__ == "__main__":
    main()
