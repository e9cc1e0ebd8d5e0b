"""Importing the package, and the memory of a rank that does not write.

``python -m benchmarks.footprint`` starts fresh interpreters, each of which counts its own CPU time, user and system.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.harness import CONTROL, Report, compare, estimate, options, ratio, scratch
from benchmarks.launch import LaunchError, environment, job

PROGRAMS = {
    "nothing": "",
    "import numpy": "import numpy",
    f"import numpy, {CONTROL}": "import numpy",
    "import provml_hpc": "import provml_hpc",
    "import h5py": "import h5py",
    "import mpi4py.MPI": "from mpi4py import MPI",
}
_COUNT = "\nimport resource, sys\nu = resource.getrusage(resource.RUSAGE_SELF)\nprint(u.ru_utime + u.ru_stime)\n"


def fresh(program: str) -> Mapping[str, float]:
    """Run a program in a fresh interpreter and return its CPU seconds."""
    done = subprocess.run(
        [sys.executable, "-c", program + _COUNT], capture_output=True, text=True, env=environment(), check=True
    )
    return {"cpu": float(done.stdout)}


def main() -> None:
    """Measure, print the targets, write the results."""
    parser = options(__doc__, rounds=15)
    parser.add_argument("--ranks", type=int, default=4)
    chosen = parser.parse_args()
    report = Report("footprint")
    ways: dict[str, Callable[[], Mapping[str, float]]] = {n: partial(fresh, p) for n, p in PROGRAMS.items()}
    found = {arm: values["cpu"] for arm, values in compare(ways, chosen.rounds, seed=chosen.seed).items()}
    for arm, values in found.items():
        report.measured("CPU of a fresh interpreter", arm, "ms", [1e3 * v for v in values])
        print(f"{arm:28} {1e3 * estimate(values).median:8.1f} ms")
    empty = estimate(found["nothing"]).median
    cost = {arm: [max(v - empty, 1e-6) for v in values] for arm, values in found.items()}
    control = ratio(cost[f"import numpy, {CONTROL}"], cost["import numpy"])
    try:
        with scratch(chosen.folder) as folder:
            arguments: dict[str, Any] = {"rounds": chosen.rounds}
            for run in ("warm-up", "measured"):  # the first compiles what was not imported before
                arguments["folder"] = str(folder / run)
                (folder / run).mkdir()
                ranks: list[dict[str, Any]] = job("benchmarks.scenarios.rank", chosen.ranks, arguments)
    except LaunchError as error:
        report.note(what="failed", error=str(error)[-500:])
        print(error)
        ranks = []
    others = [rank for rank in ranks if not rank["writer"]]
    for rank in ranks:
        report.note(what="a rank", **rank)
        print(json.dumps(rank))
    remark = f"CPU above an empty interpreter; A/A control {control.median:.2f}"
    what = "import provml_hpc against import numpy, CPU"
    report.target(what, 1.5, ratio(cost["import provml_hpc"], cost["import numpy"]), "ratio", remark)
    if others:
        numpy = estimate(cost["import numpy"]).median
        spent = [rank["import_s"] + rank["log_s"] for rank in others]
        remark = "import provml_hpc, then the first 1000 logs, MPI and numpy loaded before; "
        remark += f"import numpy alone: {1e3 * numpy:.0f} ms"
        report.target(
            "import provml_hpc and a log on a rank that does not write, CPU",
            1.5,
            estimate([s / numpy for s in spent]),
            "ratio",
            remark,
        )
        growth = estimate([rank["above_buffer_mib"] * 2**20 / 1e6 for rank in others])
        modules = sorted({module for rank in others for module in rank["modules"]})
        remark = f"heavy modules there: {', '.join(modules) or 'none'}; the journal's own pages not counted"
        report.target("memory of a rank that does not write, above its buffer", 10, growth, "MB", remark)
    report.write(chosen.results)


if __name__ == "__main__":
    main()
