"""What a call costs after the core did something else: nothing, polling, arrays larger than the cache, sleep.

``python -m benchmarks.cold`` explains why a call in a training costs more than one in a loop, for this library and for
anything else: what it needs is no longer in the caches, and a core that slept is slow to wake. Beside it stand what it
costs to hand as many values to a function that does nothing, and to pack as many bytes; and, where gcc is, a recorder
in C (``compiled.c``), which shows what is left to gain.
"""

from __future__ import annotations

import importlib.util
import json
import struct
import subprocess
import sysconfig
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import arms
from benchmarks.harness import CONTROL, Report, compare, estimate, median, options, scratch

VALUES = 20
COMPILED = "a recorder in C, not part of the library"


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


def compiled(folder: Path, window: bytearray, values: int) -> Callable[..., None] | None:
    """Build the recorder in C and return one, or None where that cannot be done."""
    source, built = Path(__file__).with_name("compiled.c"), folder / "compiled.so"
    command = ["gcc", "-O2", "-shared", "-fPIC", f"-I{sysconfig.get_path('include')}", "-o", str(built), str(source)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no recorder in C: {error}")
        return None
    spec = importlib.util.spec_from_file_location("compiled", built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    recorder: Callable[..., None] = module.make(window, values)
    return recorder


def main() -> None:
    """Measure and write the results."""
    parser = options(__doc__, rounds=9)
    parser.add_argument("--calls", type=int, default=100)
    chosen = parser.parse_args()
    report, names = Report("cold"), arms.measures(VALUES)
    values = [arms.value(i) for i in range(VALUES)]
    packer = struct.Struct(f"<5Q{VALUES}d")
    room, bare = bytearray(packer.size), arms.called(VALUES)
    with scratch(chosen.folder) as folder, arms.training(folder, "cold") as (_, training):
        record = training.series(*names)
        calls: dict[str, Callable[[int], object]] = {
            "an empty call": lambda step: None,
            "an empty function of the values": lambda step: bare(step, *values),
            "struct.pack_into": lambda step: packer.pack_into(room, 0, 1, 2, 3, step, 5, *values),
            "series": lambda step: record(step, *values),
            f"series, {CONTROL}": lambda step: record(step, *values),
            "json.dumps": lambda step: json.dumps({"step": step, **dict(zip(names, values, strict=True))}),
        }
        window = bytearray(4096 + packer.size * chosen.calls * (chosen.rounds + 1) * len(BEFORE))
        if (fast := compiled(folder, window, VALUES)) is not None:
            calls[COMPILED] = lambda step: fast(step, *values)
        ways = {f"{a}|{b}": partial(timed, calls[a], BEFORE[b], chosen.calls) for a in calls for b in BEFORE}
        for way, found in compare(ways, chosen.rounds, seed=chosen.seed, warm_up=0).items():
            arm, _, before = way.partition("|")
            report.measured(f"a call of {VALUES} values after {before}", arm, "ns", found["wall"], before=before)
            print(f"{arm:42} after {before:18} {estimate(found['wall']).median:>9,.0f} ns")
    report.write(chosen.results)


if __name__ == "__main__":
    main()
