"""A training that is sampled. Arguments: OUTPUT SECONDS [JSON of options: see below]."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import provml_hpc as provml

OPTIONS = {
    "hz": 10.0,
    "ranks_a_node": 64,  # ranks of one machine play several nodes
    "processes": "",  # a file in which each rank says that it computes on the GPU of its place on the node
    "flush": True,
    "buffer": "64 MiB",
    "end": "",  # how rank 0 ends in the first epoch: raise, kill
    "fork": False,
    "if_exists": "error",
    "key": "",
}


def fork() -> str:
    """Return what a forked child says of its threads, and how it ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, json.dumps(sorted(thread.name for thread in threading.enumerate())).encode())
        time.sleep(0.3)
        sys.exit(0)  # with all that the interpreter does at an end
    said = os.read(reading, 1000).decode()
    return f"{said} {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"


def main() -> None:
    output, seconds = sys.argv[1], float(sys.argv[2])
    options = OPTIONS | json.loads(sys.argv[3] if len(sys.argv) > 3 else "{}")
    comm = None
    rank = 0
    if os.environ.get("PMI_RANK") or os.environ.get("OMPI_COMM_WORLD_RANK"):
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
        rank = comm.rank
    node, place = divmod(rank, options["ranks_a_node"])
    socket.gethostname = lambda: f"n{node}"
    os.environ["STANDIN_NODE"] = f"n{node}"
    if "STANDIN_NVML" in os.environ:
        # What the interpreter sets after the start, the C library sees.
        os.environ["STANDIN_NVML"] += f" processes={options['processes']}-n{node}" if options["processes"] else ""
    if options["processes"]:
        with Path(f"{options['processes']}-n{node}").open("a") as file:
            file.write(f"{place} -1 {os.getpid()} {(place + 1) << 20}\n")
    if comm is not None:
        comm.Barrier()
    with provml.init(
        "sampled", phase="learning", study="energy", output=output, telemetry=options["hz"], buffer=options["buffer"],
        comm=comm, if_exists=options["if_exists"],
    ) as run:  # fmt: skip
        child = fork() if options["fork"] else ""
        with run.training("training", key=options["key"] or None) as training:
            for epoch in training.sections("epoch", 2):
                training.log(epoch.index, loss=1.0 - 0.25 * epoch.index)
                time.sleep(seconds / 2)
                if options["end"] == "raise" and rank == 0:
                    raise RuntimeError("as it was asked to")
                if options["end"] == "kill" and rank == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                epoch.evaluate(accuracy=0.5 + 0.25 * epoch.index)
                if options["flush"]:
                    run.flush()
        threads = sorted(thread.name for thread in threading.enumerate())
    Path(f"told.{rank}").write_text(json.dumps({"threads": threads, "child": child}))


main()
