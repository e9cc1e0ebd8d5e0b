"""Ranks that meet at flush points, each sending to the writer rank itself, and through one rank of their node."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpi4py import MPI

from benchmarks.scenarios.flush import measure
from provml_hpc.transport import Report
from provml_hpc.transport.mpi import Parallel, find_nodes


def main() -> None:
    """Do what the arguments say and write the result."""
    arguments, result = json.loads(sys.argv[1]), Path(sys.argv[2])
    comm = MPI.COMM_WORLD
    nodes = find_nodes(comm)
    ways = {"ranks to writer": Parallel(comm), "nodes first": Parallel(comm, nodes=nodes)}
    ways["ranks to writer, A/A control"] = ways["ranks to writer"]

    def sink(data: memoryview, spans: Sequence[tuple[int, int, int]]) -> None:
        """Take what came, and leave it at that."""

    found: dict[str, dict[str, list[float]]] = {}
    for size in arguments["sizes"]:
        data = [memoryview(bytearray(size))] if size else []
        draw, names = random.Random(arguments["seed"] + size), sorted(ways)
        for number in range(arguments["rounds"] + 2):
            draw.shuffle(names)
            for name in names:
                values = measure(comm, lambda way=ways[name], data=data: way.meet(Report(), data, sink))  # type: ignore[misc]
                if number > 1:
                    for what, value in values.items():
                        found.setdefault(f"{name}|{size}", {}).setdefault(what, []).append(value)
    for way in (ways["ranks to writer"], ways["nodes first"]):
        way.close()
    if comm.rank == 0:
        facts: dict[str, Any] = {"library": MPI.Get_library_version().split("\n")[0][:60].strip("\x00 ")}
        facts |= {"ranks": comm.size, "nodes": len(set(nodes)), "found": found}
        result.write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
