"""What several writer ranks spare the busiest rank: a flush point of runs that one, two or more ranks write.

``python -m benchmarks.writers --python PYTHON...`` takes one Python a line of MPI. All runs go on side by side in one
job, and flush in random order. The CPU of the busiest rank, a writer, is what bounds a flush point where each rank has
a core of its own; here the ranks share two, so wall time says nothing of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.harness import Report, estimate, memory_folder, options, ratio, scratch
from benchmarks.launch import LaunchError, job

SIZES = (4 << 10, 64 << 10, 512 << 10)
ONE = "1 writer"


def main() -> None:
    """Measure and write the results."""
    parser = options(__doc__, rounds=15)
    parser.add_argument("--ranks", type=int, default=48)
    parser.add_argument("--writers", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="bytes a rank")
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="one for each MPI")
    parser.add_argument("--timeout", type=float, default=300, help="seconds of one job")
    chosen = parser.parse_args()
    report = Report("writers")
    arms = {ONE: 1, f"{ONE}, A/A control": 1} | {f"{count} writers": count for count in chosen.writers}
    places: dict[str, Path | None] = {"on disk": chosen.folder}
    if memory := memory_folder():
        places["in memory"] = memory
    for python in chosen.python:
        for place, where in places.items():
            with scratch(where) as folder:
                arguments = {
                    "folder": str(folder),
                    "arms": arms,
                    "sizes": list(chosen.sizes),
                    "rounds": chosen.rounds,
                    "seed": chosen.seed,
                }
                try:
                    done = job(
                        "benchmarks.scenarios.writers", chosen.ranks, arguments, python=python, timeout=chosen.timeout
                    )
                except LaunchError as error:
                    report.note(what="failed", ranks=chosen.ranks, place=place, error=str(error)[-500:])
                    print(error)
                    continue
            library = done["library"].replace(" Version:", "").strip()
            facts = {"ranks": done["ranks"], "mpi": library, "place": place}
            for key, clocks in done["found"].items():
                arm, _, size = key.partition("|")
                base = done["found"][f"{ONE}|{size}"]
                for clock, values in clocks.items():
                    if clock == "cpu writer":  # that of rank 0, one of several
                        continue
                    milliseconds = [1e3 * value for value in values]
                    more = {"clock": clock, "bytes": int(size), **facts}
                    report.measured("flush point", arm, "ms", milliseconds, **more)
                    if arm != ONE:
                        report.compared("flush point", arm, ONE, ratio(values, base[clock]), **more)
                busiest, everybody = (1e3 * estimate(clocks[clock]).median for clock in ("cpu", "cpu all"))
                what = f"{library[:16]:16} {place:9} {size:>7} bytes, {arm:22}"
                print(f"{what} busiest {busiest:7.2f} ms, all {everybody:8.2f} ms")
            report.write(chosen.results)


if __name__ == "__main__":
    main()
