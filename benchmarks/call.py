"""What one call costs its caller: CPU of the calling thread, beside floors, with the library off and on.

``python -m benchmarks.call`` measures steps of 1, 3, 10 and 30 values, then sections, parameters and datasets.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import arms
from benchmarks.harness import CONTROL, Report, compare, median, options, ratio, scratch

COUNTS = (1, 3, 10, 30)


def timed(loop: arms.Loop, steps: int, after: Callable[[], object] | None = None) -> Mapping[str, float]:
    """Run a loop and return nanoseconds of CPU a step; what comes after is not counted."""
    gc.collect()
    spent = loop(range(steps), time.thread_time_ns)
    if after is not None:
        after()
    return {"cpu": spent / steps}


def net(found: Mapping[str, Mapping[str, list[float]]], arm: str) -> list[float]:
    """Return what an arm costs above the empty loop, round by round; never less than a hundredth of a nanosecond."""
    empty = median(found[arms.NOTHING]["cpu"])
    return [max(value - empty, 0.01) for value in found[arm]["cpu"]]


def steps_of(count: int, folder: Path, rounds: int, seed: int, steps: int, report: Report) -> None:
    """Measure a step with so many values, in all arms."""
    with (
        (folder / f"floor-{count}.jsonl").open("w") as file,
        arms.training(folder, f"on-{count}") as (run, training),
        arms.training(folder, f"off-{count}", off=True) as (_, inert),
    ):
        loops = arms.floors(count, file)
        ways = {name: partial(timed, loop, steps) for name, loop in loops.items()}
        on, off = arms.captured(training, count), arms.captured(inert, count)
        ways |= {name: partial(timed, loop, steps, run.flush) for name, loop in on.items()}
        ways[f"{arms.LOG}, {CONTROL}"] = partial(timed, on[arms.LOG], steps, run.flush)
        ways |= {arms.OFF_LOG: partial(timed, off[arms.LOG], steps)}
        ways |= {arms.OFF_SERIES: partial(timed, off[arms.SERIES], steps)}
        found = compare(ways, rounds, seed=seed)
    what = f"a step with {count} value{'s' * (count > 1)}"
    costs = {arm: net(found, arm) for arm in ways if arm != arms.NOTHING}
    report.measured(what, arms.NOTHING, "ns", found[arms.NOTHING]["cpu"], measures=count)
    for arm, cost in costs.items():
        report.measured(what, arm, "ns", cost, measures=count)
    against = costs[arms.JSON]
    for arm in (arms.TUPLE, arms.PACK, arms.OFF_LOG, arms.OFF_SERIES, arms.LOG, arms.SERIES):
        report.compared(what, arm, arms.JSON, ratio(costs[arm], against))
        report.compared(what, arm, f"{arms.JSON}, without time", ratio(costs[arm], costs[f"{arms.JSON}, without time"]))
    control = report.compared(what, arms.LOG, CONTROL, ratio(costs[arms.LOG], costs[f"{arms.LOG}, {CONTROL}"]))
    if count == 3:
        remark = f"a tuple append: {ratio(costs[arms.TUPLE], against).median:.3f}; A/A control: {control.median:.3f}"
        what = "caller CPU of a step with 3 values against json.dumps + write"
        report.target(f"{what}, through series", 0.12, ratio(costs[arms.SERIES], against), "ratio", remark)
        report.target(f"{what}, through log", 0.33, ratio(costs[arms.LOG], against), "ratio", remark)


def structure(folder: Path, rounds: int, seed: int, report: Report) -> None:
    """Measure calls that are made once an epoch or once a run: CPU of the caller, and of all threads to the flush."""
    files = [folder / f"data-{i}.bin" for i in range(200)]
    for index, file in enumerate(files):
        file.write_bytes(index.to_bytes(4, "little") * 1024)

    def once(setting: bool, work: Callable[[Any, Any], int]) -> Mapping[str, float]:
        with arms.training(folder, f"s{time.monotonic_ns()}", off=setting) as (run, training):
            run.flush()
            gc.collect()
            caller, total = time.thread_time_ns(), time.process_time_ns()
            calls = work(run, training)
            caller = time.thread_time_ns() - caller
            run.flush()
            total = time.process_time_ns() - total
        return {"caller": caller / calls, "total": total / calls}

    def sections(_: Any, training: Any) -> int:
        for section in training.sections("epoch", 1000):
            section.index  # noqa: B018 - an epoch that does nothing
        return 1000

    def parameters(run: Any, _: Any) -> int:
        for index in range(1000):
            run.log_params({"lr": 0.1, "batch_size": index, "optimizer": "sgd"})
        return 1000

    def evaluations(_: Any, training: Any) -> int:
        for index in range(1000):
            training.evaluate(accuracy=index / 1000)
        return 1000

    def datasets(run: Any, _: Any) -> int:
        for file in files:
            run.use_dataset(file, role="training")
        return len(files)

    works = {
        "a section, opened and closed": sections,
        "log_params of 3": parameters,
        "evaluate of 1": evaluations,
        "use_dataset of a new 4 KiB file": datasets,
    }
    ways = {
        f"{what}|{'off' if off else 'on'}": partial(once, off, work)
        for what, work in works.items()
        for off in (False, True)
    }
    for way, values in compare(ways, rounds, seed=seed).items():
        what, _, arm = way.partition("|")
        report.measured(what, arm, "us", [v / 1000 for v in values["caller"]], clock="CPU of the caller")
        report.measured(what, arm, "us", [v / 1000 for v in values["total"]], clock="CPU of all threads to the flush")


def main() -> None:
    """Measure, print the targets, write the results."""
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=20_000, help="calls of one repeat")
    parser.add_argument("--quick", action="store_true", help="3 values only")
    chosen = parser.parse_args()
    report = Report("call")
    with scratch(chosen.folder) as folder:
        for count in (3,) if chosen.quick else COUNTS:
            steps_of(count, folder, chosen.rounds, chosen.seed, chosen.steps, report)
        structure(folder, 3 if chosen.quick else max(5, chosen.rounds // 3), chosen.seed, report)
    for line in report.lines:
        if line["kind"] == "measurement":
            shown = f"{line['median']:>9.1f} {line['unit']}  [{line['low']:.1f}, {line['high']:.1f}]"
            print(f"{line['what']:34} {line['arm']:34} {shown}", line.get("clock", ""))
    report.write(chosen.results)


if __name__ == "__main__":
    main()
