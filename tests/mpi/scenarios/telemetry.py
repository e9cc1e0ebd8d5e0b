"""A training of two epochs that is sampled. Arguments: OUTPUT [JSON of options: see below]."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import warnings
from pathlib import Path

import provml_hpc as provml

OPTIONS = {
    "hz": 10.0,
    "turns": 3,  # of the sampler in each epoch
    "ranks_a_node": 64,  # ranks of one machine play several nodes
    "processes": "",  # a file in which each rank says that it computes on the GPU of its place on the node
    "flush": True,
    "buffer": "64 MiB",
    "end": "",  # how rank 0 ends in the first epoch: raise, kill
    "fork": False,
    "if_exists": "error",
    "key": "",
    "look": False,
}


def look(output: str) -> None:
    """Ask what the run cost so far."""
    from provml_tools.query import Engine, ask

    with provml.open(output) as file:
        answer = ask(Engine([file.graph]), "cost")
    Path("looked").write_text(json.dumps({"rows": answer.rows, "notes": answer.notes}))


def wait(run: provml.Run, turns: int) -> None:
    """Wait until the sampler of this rank had so many turns; where there is none, or it hangs, a moment."""
    sampler = run._session.sampler
    wanted, last = (sampler.turns if sampler else 0) + turns, time.monotonic()
    seen = -1
    while sampler and sampler.turns < wanted and time.monotonic() - last < 3:
        if sampler.turns != seen:
            seen, last = sampler.turns, time.monotonic()
        time.sleep(0.01)
    time.sleep(0.05)


def fork() -> str:
    """Return what a forked child says of its threads, and how it ended."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12 on: forking beside threads
        child = os.fork()
    if not child:
        os.write(writing, json.dumps(sorted(thread.name for thread in threading.enumerate())).encode())
        time.sleep(0.3)
        sys.exit(0)  # with all that the interpreter does at an end
    said = os.read(reading, 1000).decode()
    return f"{said} {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"


def main() -> None:
    output = sys.argv[1]
    options = OPTIONS | json.loads(sys.argv[2] if len(sys.argv) > 2 else "{}")
    comm = None
    rank = 0
    if os.environ.get("PMI_RANK") or os.environ.get("OMPI_COMM_WORLD_RANK"):
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
        rank = comm.rank
    elif "RANK" in os.environ:  # as torchrun does: no rank knows of the others
        rank = int(os.environ["RANK"])
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
                wait(run, options["turns"])
                if options["end"] == "raise" and rank == 0:
                    raise RuntimeError("as it was asked to")
                if options["end"] == "kill" and rank == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                epoch.evaluate(accuracy=0.5 + 0.25 * epoch.index)
                if options["flush"]:
                    run.flush()
                if options["look"] and rank == 0 and epoch.index == 0:
                    look(output)
        threads = sorted(thread.name for thread in threading.enumerate())
    Path(f"told.{rank}").write_text(json.dumps({"threads": threads, "child": child}))


main()
