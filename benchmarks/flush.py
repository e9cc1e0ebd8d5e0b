"""A flush point against the bare minimum: ``Gatherv`` and a raw HDF5 append of the same bytes, on every rank.

``python -m benchmarks.flush --ranks 4 48 --python PYTHON...`` takes one Python a line of MPI: one with MPICH, one with
Open MPI. Both arms sync once and wait until all ranks know; the library also writes extents and a commit, and checksums
all of it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import Report, estimate, kept, memory_folder, options, ratio, scratch
from benchmarks.launch import LaunchError, job

SIZES = (0, 4 << 10, 64 << 10, 1 << 20)


def main() -> None:
    """Measure, print the targets, write the results."""
    parser = options(__doc__, rounds=15)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8, 16, 24, 48])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="bytes a rank")
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="one for each MPI")
    parser.add_argument("--timeout", type=float, default=240, help="seconds of one job")
    parser.add_argument("--bind", action="store_true", help="give each rank a core, as launchers on a cluster do")
    parser.add_argument("--append", action="store_true", help="keep earlier results")
    chosen = parser.parse_args()
    report = Report("flush", kept(chosen.results / "flush.jsonl") if chosen.append else [])
    places: dict[str, Path | None] = {"on disk": chosen.folder}
    if memory := memory_folder():
        places["in memory"] = memory
    for python in chosen.python:
        for place, where in places.items():
            for ranks in chosen.ranks:
                with scratch(where) as folder:
                    arguments = {
                        "folder": str(folder),
                        "sizes": [s for s in chosen.sizes if s * ranks <= 64 << 20],
                        "rounds": chosen.rounds,
                        "seed": chosen.seed,
                        "bind": chosen.bind,
                    }
                    try:
                        done = job(
                            "benchmarks.scenarios.flush", ranks, arguments, python=python, timeout=chosen.timeout
                        )
                    except LaunchError as error:
                        report.note(what="failed", ranks=ranks, place=place, error=str(error)[-500:])
                        print(error)
                        continue
                note(report, done, f"{place}, bound to cores" if chosen.bind else place)
                report.write(chosen.results)


def note(report: Report, done: dict[str, Any], place: str) -> None:
    """Put the result of one job into the report."""
    found, ranks, library = done["found"], done["ranks"], done["library"].replace(" Version:", "").strip()
    facts: dict[str, Any] = {"ranks": ranks, "mpi": library, "place": place}
    for key, values in found.items():
        arm, _, size = key.partition("|")
        for clock, numbers in values.items():
            milliseconds = [1e3 * v for v in numbers]
            report.measured("flush point", arm, "ms", milliseconds, clock=clock, bytes=int(size), **facts)
    for size in sorted({int(key.partition("|")[2]) for key in found} - {0}):
        base = found[f"bare|{size}"]
        for clock in ("wall", "cpu all"):
            values = {arm: found[f"{arm}|{size}"][clock] for arm in ("flush", "bare, not synced", "bare, A/A control")}
            against = {arm: ratio(numbers, base[clock]) for arm, numbers in values.items()}
            for arm, reached in against.items():
                report.compared("flush point", arm, "bare", reached, clock=clock, bytes=size, **facts)
            if size == 64 << 10 and (ranks in (4, 48) or "bound" in place) and clock == "wall":
                control = against["bare, A/A control"]
                remark = f"bare {1e3 * estimate(base[clock]).median:.2f} ms; A/A control {control.median:.2f} "
                remark += f"[{control.low:.2f}, {control.high:.2f}]"
                what = f"flush of 64 KiB a rank, {ranks} ranks, {_short(library)}, {place}"
                report.target(what, 2.0, against["flush"], "ratio", remark)


def _short(library: str) -> str:
    return "Open MPI" if library.startswith("Open MPI") else library.split()[0]


if __name__ == "__main__":
    main()
