"""Ranks that flush into runs of which one, two or more ranks write."""

from __future__ import annotations

import contextlib
import json
import random
import sys
from pathlib import Path

from mpi4py import MPI

import provml_hpc as provml
from benchmarks.scenarios.flush import FRAME, measure


def main() -> None:
    """Do what the arguments say and write the result."""
    arguments, result = json.loads(sys.argv[1]), Path(sys.argv[2])
    comm = MPI.COMM_WORLD
    folder = Path(arguments["folder"])
    found: dict[str, dict[str, list[float]]] = {}
    with contextlib.ExitStack() as stack:
        ways = {}
        for arm, writers in arguments["arms"].items():
            run = stack.enter_context(
                provml.init(
                    "writers",
                    phase="learning",
                    output=folder / f"run-{len(ways)}.h5",
                    comm=comm,
                    buffer="8 MiB",
                    writers=writers,
                    telemetry=False,
                )
            )
            run.flush()
            ways[arm] = run, stack.enter_context(run.training()).series("loss", "grad_norm", "lr")
        for size in arguments["sizes"]:
            draw = random.Random(arguments["seed"] + size)
            names = sorted(ways)
            for number in range(arguments["rounds"] + 1):
                draw.shuffle(names)
                for name in names:
                    run, record = ways[name]
                    for step in range(size // FRAME):
                        record(step, 0.1, 0.2, 0.3)
                    values = measure(comm, run.flush)
                    if number:  # the first is a warm-up
                        for what, value in values.items():
                            found.setdefault(f"{name}|{size}", {}).setdefault(what, []).append(value)
    if comm.rank == 0:
        library = MPI.Get_library_version().split("\n")[0][:60].strip("\x00 ")
        result.write_text(json.dumps({"library": library, "ranks": comm.size, "found": found}))


if __name__ == "__main__":
    main()
