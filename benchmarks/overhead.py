"""Overhead of a training on many ranks: a synthetic step with the shape of one on accelerators.

``python -m benchmarks.overhead --ranks 48`` launches the ranks here; the accelerator is then a timer, and the result
is labelled so. ``--inside`` runs as one of the ranks of a job that was launched already, as
``slurm/overhead_48gpu.sbatch`` does with ``--device cuda``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import CONTROL, Report, estimate, kept, options, ratio, scratch
from benchmarks.launch import LaunchError, job

OFF = "off: PROVML_DISABLE=1"
LEAST = "an empty function, and a bare gather and append"
SHAPES = ((1, 1), (1, 20), (10, 1), (10, 20), (10, 1000), (100, 20), (1000, 20))
"""Milliseconds and values of a step."""


DISTURBANCES = {
    "a stolen core": "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass",
    "a slow disk": """
import os, sys
file = os.open(os.path.join(sys.argv[1], "busy"), os.O_WRONLY | os.O_CREAT)
block = os.urandom(1 << 20)
while True:
    for at in range(64):
        os.pwrite(file, block, at << 20)
    os.fsync(file)
""",
}
"""Programs that run beside the training; the second writes and syncs 64 MiB again and again."""


def steps_of(step_ms: float, seconds: float) -> int:
    """Return how many steps a block has, so that it takes about so many seconds."""
    return max(2, min(500, round(seconds * 1e3 / step_ms)))


def note(report: Report, done: dict[str, Any], arguments: dict[str, Any], extra: dict[str, Any]) -> None:
    """Put the result of one job into the report."""
    facts = {k: done[k] for k in ("ranks", "nodes", "device", "library")} | extra
    facts |= {"step_ms": arguments["step_ms"], "events": arguments["events"], "flush_every": arguments["flush_every"]}
    found, base = done["found"], done["found"]["nothing"]["wall"]
    for arm, values in found.items():
        for clock, numbers in values.items():
            report.measured("a training step", arm, "us", [1e6 * v for v in numbers], clock=clock, **facts)
        if arm != "nothing":
            against = ratio(values["wall"], base)
            report.compared("wall of a step, percent above nothing", arm, "nothing", _percent(against), **facts)
    control = _percent(ratio(found[f"nothing, {CONTROL}"]["wall"], base))
    if (arguments["step_ms"], arguments["events"], extra["beside"]) == (10, 20, ""):
        arm = "journal beside the output"
        nothing = estimate(found["nothing"]["capture cpu"]).median
        on = found[arm]
        where = f"{done['ranks']} ranks, {done['library'].split()[0]}, {done['device']}"
        share = estimate([max(v - nothing, 0) / (arguments["step_ms"] / 1e3) * 100 for v in on["capture cpu"]])
        calls = estimate(on["capture cpu, calls"]).median * 1e6
        alone = estimate(
            [
                max(v - n, 0) / (arguments["step_ms"] / 1e3) * 100
                for v, n in zip(on["capture cpu, calls"], found["nothing"]["capture cpu, calls"], strict=True)
            ]
        )
        floors = {
            name: 1e6 * estimate(found[name]["capture cpu, calls"]).median
            for name in ("an empty function of the values", "struct.pack_into")
        }
        mean = estimate(on["capture cpu, mean of ranks"]).median * 1e6
        line = estimate(found["json.dumps + write"]["capture cpu, calls"]).median * 1e6
        least = estimate(
            [max(v - nothing, 0) / (arguments["step_ms"] / 1e3) * 100 for v in found[LEAST]["capture cpu"]]
        )
        remark = f"{LEAST}: {least.median:.3g} %; "
        remark += f"calls {calls:.1f} us (json.dumps + write here: {line:.1f}, an empty call: {1e6 * nothing:.1f}); "
        remark += f"with flush points every {arguments['flush_every']} steps {mean:.1f} us on the mean of ranks"
        report.target(
            f"CPU of the capture on the slowest rank, share of a 10 ms step, {where}", 0.1, share, "%", remark
        )
        remark = f"calls {calls:.1f} us; " + "; ".join(f"{name} {us:.1f}" for name, us in floors.items())
        remark += f"; nothing {1e6 * nothing:.1f}"
        report.target(f"the same without the flush points, {where}", 0.1, alone, "%", remark)
        wall = _percent(ratio(on["wall"], base))
        remark = f"A/A control {control.median:+.1f} % [{control.low:+.1f}, {control.high:+.1f}]"
        resolved = max(abs(control.low), abs(control.high)) <= 0.5
        if not resolved:
            remark += ": wider than the target, so this machine cannot tell"
        what = f"wall of a 10 ms step with 20 values, {where}"
        report.target(what, 0.5, wall, "%", remark, resolved=resolved)


@contextmanager
def beside(what: str, folder: Path) -> Iterator[None]:
    """Disturb what runs in the block: a process that never sleeps on one core, or one that keeps the disk busy."""
    if not what:
        yield
        return
    started = subprocess.Popen([sys.executable, "-c", DISTURBANCES[what], str(folder)])
    try:
        yield
    finally:
        started.kill()
        started.wait()


def _percent(found: Any) -> Any:
    return type(found)(*(100 * (v - 1) for v in (found.median, found.low, found.high)), found.count)


def main() -> None:
    """Measure, print the targets, write the results."""
    parser = options(__doc__, rounds=9)
    parser.add_argument("--ranks", type=int, nargs="+", default=[4, 48])
    parser.add_argument("--shapes", nargs="+", default=[f"{ms}:{events}" for ms, events in SHAPES], help="ms:values")
    parser.add_argument("--flush-every", type=int, default=100, help="steps between two flush points")
    parser.add_argument("--block", type=float, default=1.0, help="seconds of a block of steps")
    parser.add_argument("--gradient", type=int, default=10_000, help="numbers that are summed over the ranks each step")
    parser.add_argument("--device", choices=("timer", "polled", "cuda", "torch-cpu"), default="timer")
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="one for each MPI")
    parser.add_argument("--inside", action="store_true", help="be one rank of a job that runs already")
    parser.add_argument("--beside", choices=DISTURBANCES, default="", help="disturb the training, and say so")
    parser.add_argument("--append", action="store_true", help="keep earlier results")
    parser.add_argument("--timeout", type=float, default=400)
    chosen = parser.parse_args()
    report = Report("overhead", kept(chosen.results / "overhead.jsonl") if chosen.append else [])
    extra = {"beside": chosen.beside}
    for shape in chosen.shapes:
        step_ms, events = (float(part) for part in shape.split(":"))
        steps = steps_of(step_ms, chosen.block)
        arguments: dict[str, Any] = {
            "step_ms": step_ms,
            "events": int(events),
            "steps": steps,
            "flush_every": min(chosen.flush_every, steps),
            "rounds": chosen.rounds,
            "seed": chosen.seed,
            "gradient": chosen.gradient,
            "device": chosen.device,
        }
        if chosen.inside:
            inside(report, arguments, extra, chosen.folder or Path.cwd(), chosen.results)
            continue
        for python in chosen.python:
            for ranks in chosen.ranks:
                with scratch(chosen.folder) as folder, beside(chosen.beside, folder):
                    try:
                        done = job(
                            "benchmarks.scenarios.overhead",
                            ranks,
                            {**arguments, "folder": str(folder)},
                            python=python,
                            timeout=chosen.timeout,
                        )
                    except LaunchError as error:
                        report.note(what="failed", ranks=ranks, shape=shape, error=str(error)[-500:])
                        print(error)
                        continue
                note(report, done, arguments, extra)
                report.write(chosen.results)


def inside(report: Report, arguments: dict[str, Any], extra: dict[str, Any], folder: Path, results: Path) -> None:
    """Run one shape as a rank of this job; rank 0 keeps the results."""
    import json

    from mpi4py import MPI

    from benchmarks.scenarios import overhead as scenario

    comm = MPI.COMM_WORLD
    name = comm.bcast(f"overhead-{os.getpid()}-{arguments['step_ms']:g}-{arguments['events']}")
    work = folder / name
    if comm.rank == 0:
        work.mkdir(parents=True)
    comm.Barrier()
    os.environ.pop("PROVML_DISABLE", None)
    before, sys.argv = sys.argv, ["overhead", json.dumps({**arguments, "folder": str(work)}), str(work / "result.json")]
    try:
        scenario.main()
    finally:
        sys.argv = before
    if comm.rank == 0:
        note(report, json.loads((work / "result.json").read_text()), arguments, extra)
        report.write(results)


if __name__ == "__main__":
    main()
