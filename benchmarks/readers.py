"""What it costs to have files described: the CPU time and memory of the process that readers run in.

``python -m benchmarks.readers`` makes one file of each format that a reader here knows, of 25,000 values or traces, and
has it described once and eleven times by a fresh process, beside a fresh interpreter that imports h5py alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness import Report, compare, estimate, options, scratch
from benchmarks.launch import environment

IMPORT = "import h5py"
AGAIN = 10


def described(path: Path, times: int) -> Mapping[str, float]:
    """Have a file described so many times by one process, and return its CPU seconds and its peak memory in MB."""
    job = json.dumps({"path": str(path), "reader": "auto"}) + "\n"
    return _measured([sys.executable, "-m", "provml_hpc.readers"], job * times, times)


def imported() -> Mapping[str, float]:
    """Measure a fresh interpreter that does no more than import."""
    return _measured([sys.executable, "-c", IMPORT], "", 0)


def _measured(command: list[str], words: str, answers: int) -> Mapping[str, float]:
    program = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdin=sys.stdin, stdout=subprocess.PIPE, check=True)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "sys.stdout.write(f'{used.ru_utime + used.ru_stime} {used.ru_maxrss} {done.stdout.count(b\"facts\")}')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, *command],
        input=words,
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    cpu, peak, told = run.stdout.split()
    assert int(told) == answers, "a file was not described"
    return {"cpu": float(cpu), "MB": float(peak) * 1024 / 1e6}


def files(folder: Path) -> dict[str, Path]:
    """Make a file of each format whose library is there."""
    import h5py

    made = {"HDF5": folder / "tiles.h5"}
    with h5py.File(made["HDF5"], "w") as file:
        for name in range(10):
            file[f"tiles/{name}"] = np.zeros(2500, np.float32)
    try:
        import netCDF4

        made["NetCDF"] = folder / "field.nc"
        with netCDF4.Dataset(made["NetCDF"], "w") as data:
            for name, size in (("latitude", 100), ("longitude", 250)):
                data.createDimension(name, size)
                data.createVariable(name, "f8", (name,))[:] = np.arange(size)
            data.createVariable("t2m", "f4", ("latitude", "longitude"))[:] = 280.0
    except ImportError:
        print("NetCDF is left out: pip install provml-hpc[netcdf]")
    try:
        import segyio

        made["SEG-Y"] = folder / "volume.segy"
        spec = segyio.spec()
        spec.ilines, spec.xlines, spec.samples = np.arange(100), np.arange(250), np.arange(50) * 4
        spec.sorting, spec.format = 2, 5
        with segyio.create(str(made["SEG-Y"]), spec) as file:
            for at in range(25_000):
                file.header[at] = {189: 1 + at // 250, 193: 1 + at % 250}
                file.trace[at] = np.zeros(50, np.float32)
    except ImportError:
        print("SEG-Y is left out: pip install provml-hpc[segy]")
    return made


def main() -> None:
    """Measure, print, write the results."""
    parser = options(__doc__, rounds=9)
    chosen = parser.parse_args()
    report = Report("readers")
    with scratch(chosen.folder) as folder:
        ways: dict[str, Callable[[], Mapping[str, float]]] = {IMPORT: imported}
        for name, path in files(folder).items():
            ways[name] = partial(described, path, 1)
            ways[f"{name}, {1 + AGAIN} times"] = partial(described, path, 1 + AGAIN)
        found = compare(ways, chosen.rounds, seed=chosen.seed)
    for way, values in found.items():
        for what, unit, scale in (("cpu", "ms", 1e3), ("MB", "MB", 1.0)):
            report.measured(f"a process that describes: {what}", way, unit, [scale * one for one in values[what]])
    for name in [way for way in ways if way != IMPORT and "," not in way]:
        first, all_of_them = found[name]["cpu"], found[f"{name}, {1 + AGAIN} times"]["cpu"]
        further = [1e3 * (b - a) / AGAIN for a, b in zip(first, all_of_them, strict=True)]
        more = report.measured("each further file", name, "ms more", further).median
        against = [a / b for a, b in zip(first, found[IMPORT]["cpu"], strict=True)]
        times = report.measured("against a bare import", name, "times", against).median
        peak = estimate(found[name]["MB"]).median
        print(f"{name:8} {1e3 * estimate(first).median:5.0f} ms CPU, {times:.1f} times {IMPORT}; ", end="")
        print(f"{more:.1f} ms for each further one; {peak:.0f} MB")
    report.write(chosen.results)


if __name__ == "__main__":
    main()
