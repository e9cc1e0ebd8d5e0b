"""Ranks that train: the accelerator works, the host waits, gradients are summed, events are logged and flushed.

All arms run in one job, block by block in random order. The accelerator is a timer, which sleeps as a host does that
waits for its device; with ``"device": "cuda"`` it is a chain of matrix products on the rank's device.
"""

from __future__ import annotations

import json
import os
import random
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

import provml_hpc as provml
from benchmarks import arms
from benchmarks.scenarios.flush import Bare
from provml_hpc import wire

Wait = Callable[[], None]
PLACES = {"journal beside the output": "output", "journal on the node": "node", "journal in memory": "/dev/shm"}


def timer(seconds: float) -> tuple[Wait, str]:
    """Return a wait of so many seconds: the stand-in for a device."""
    return lambda: time.sleep(seconds), "a timer, no accelerator"


def polled(seconds: float) -> tuple[Wait, str]:
    """Return a wait that polls, as a host does that waits in a device's synchronisation; its caches stay warm."""

    def wait() -> None:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass

    return wait, "a polled timer, no accelerator"


def matrices(seconds: float, local: int, kind: str) -> tuple[Wait, str]:
    """Return real matrix work of about so many seconds, with PyTorch or CuPy.

    Parameters
    ----------
    seconds
        How long it is to take.
    local
        Number of this rank on its node; it takes the device of that number.
    kind
        ``"cuda"``, or ``"torch-cpu"``: the same work with PyTorch without an accelerator, so that the way can be
        tried where there is none.
    """
    size = 4096 if kind == "cuda" else 128
    try:
        import torch
    except ImportError:
        torch = None
    sync: Callable[[], object]
    if torch is not None and kind == "cuda":
        device = torch.device("cuda", local % torch.cuda.device_count())
        name, sync = torch.cuda.get_device_name(device), lambda: torch.cuda.synchronize(device)
    elif torch is not None:
        torch.set_num_threads(1)
        device, sync = torch.device("cpu"), lambda: None
        name = "PyTorch on the processor, no accelerator"
    else:
        import cupy

        cupy.cuda.Device(local % cupy.cuda.runtime.getDeviceCount()).use()
        name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
        sync = lambda: cupy.cuda.Device().synchronize()  # noqa: E731
    product: Callable[[], object]
    if torch is not None:
        a = torch.randn(size, size, device=device)
        product = lambda: torch.mm(a, a)  # noqa: E731
    else:
        b = cupy.random.rand(size, size, dtype=cupy.float32)
        product = lambda: b @ b  # noqa: E731
    for _ in range(5):
        product()
    sync()
    began = time.perf_counter()
    for _ in range(10):
        product()
    sync()
    count = max(1, round(seconds / ((time.perf_counter() - began) / 10)))

    def wait() -> None:
        for _ in range(count):
            product()
        sync()

    return wait, name


def block(
    comm: MPI.Intracomm, arguments: dict[str, Any], log: Callable[[int], object], flush: Callable[[], None], wait: Wait
) -> dict[str, float]:
    """Train for some steps; return seconds a step: wall on the slowest rank, CPU of the capture on the slowest rank."""
    gradient, total = np.ones(arguments["gradient"]), np.empty(arguments["gradient"])
    steps, every = arguments["steps"], arguments["flush_every"]
    comm.Barrier()
    began, all_cpu = time.perf_counter(), time.process_time()
    captured = flushed = 0
    clock = time.process_time_ns
    for step in range(steps):
        wait()
        comm.Allreduce(gradient, total)
        at = clock()
        log(step)
        captured += clock() - at
        if every and step % every == every - 1:
            at = clock()
            flush()
            flushed += clock() - at
    comm.Barrier()
    wall, cpu = time.perf_counter() - began, time.process_time() - all_cpu
    mine = np.array([wall, cpu, (captured + flushed) / 1e9, captured / 1e9, flushed / 1e9]) / steps
    most, mean = np.empty_like(mine), np.empty_like(mine)
    comm.Allreduce(mine, most, MPI.MAX)
    comm.Allreduce(mine, mean, MPI.SUM)
    names = ("wall", "cpu of the process", "capture cpu", "capture cpu, calls", "capture cpu, flush points")
    found = dict(zip(names, most.tolist(), strict=True))
    return found | {
        f"{name}, mean of ranks": value / comm.size for name, value in zip(names, mean.tolist(), strict=True)
    }


def main() -> None:
    """Do what the arguments say and write the result."""
    arguments, result = json.loads(sys.argv[1]), Path(sys.argv[2])
    comm = MPI.COMM_WORLD
    local = comm.Split_type(MPI.COMM_TYPE_SHARED).rank
    seconds = arguments["step_ms"] / 1e3
    if arguments["device"] in ("cuda", "torch-cpu"):
        wait, device = matrices(seconds, local, arguments["device"])
    else:
        wait, device = polled(seconds) if arguments["device"] == "polled" else timer(seconds)
    folder, events = Path(arguments["folder"]), arguments["events"]
    names = [f"m{i}" for i in range(events)]
    values = [0.1 + i / 7 for i in range(events)]
    runs: dict[str, Any] = {}
    for place, journal in PLACES.items():
        if journal.startswith("/") and not Path(journal).is_dir():
            continue
        run = provml.init(
            place, phase="learning", output=folder / f"{place}.h5", comm=comm, journal=journal, buffer="8 MiB"
        )
        runs[place] = (run, run.training())
    os.environ["PROVML_DISABLE"] = "1"
    run = provml.init("off", phase="learning", output=folder / "off.h5", comm=comm)
    runs["off: PROVML_DISABLE=1"] = (run, run.training())
    ways: dict[str, tuple[Callable[[int], object], Callable[[], None]]] = {
        "nothing": (lambda step: None, lambda: None),
        "nothing, A/A control": (lambda step: None, lambda: None),
    }
    # Floors: what it costs to hand the values to any function, and to put as many bytes somewhere.
    bare, packer = arms.called(events), struct.Struct(f"<5Q{events}d")
    room, pack = bytearray(packer.size), packer.pack_into
    ways["an empty function of the values"] = lambda step: bare(step, *values), lambda: None
    frames = wire.SAMPLE_HEAD.size + 8 * events
    plain = Bare(comm, folder / "plain.h5", frames * (arguments["flush_every"] or 1), durable=True)
    ways["an empty function, and a bare gather and append"] = lambda step: bare(step, *values), plain.step
    ways["struct.pack_into"] = lambda step: pack(room, 0, 1, 2, 3, step, 5, *values), lambda: None
    lines = (folder / f"lines-{comm.rank}.jsonl").open("w")
    ways["json.dumps + write"] = (
        lambda step: lines.write(
            json.dumps({"step": step, "time_ns": time.time_ns(), **dict(zip(names, values, strict=True))}) + "\n"
        ),
        lines.flush,
    )
    for name, (run, training) in runs.items():
        training.__enter__()
        record = training.series(*names)
        ways[name] = (lambda step, record=record: record(step, *values)), run.flush  # type: ignore[misc]
        for step in range(3):
            record(step, *values)
        run.flush()
    found: dict[str, dict[str, list[float]]] = {name: {} for name in ways}
    draw, order = random.Random(arguments["seed"]), list(ways)
    for number in range(arguments["rounds"] + 1):
        draw.shuffle(order)
        for name in order:
            measured = block(comm, arguments, *ways[name], wait)
            if number:
                for what, value in measured.items():
                    found[name].setdefault(what, []).append(value)
    for run, training in runs.values():
        training.__exit__(None, None, None)
        run.finish()
    lines.close()
    plain.close()
    nodes = comm.allreduce(1 if local == 0 else 0)
    if comm.rank == 0:
        library = MPI.Get_library_version().split("\n")[0][:60].replace(" Version:", "").strip("\x00 ")
        facts = {"library": library, "ranks": comm.size, "nodes": nodes, "device": device}
        result.write_text(json.dumps({**facts, "found": found}))


if __name__ == "__main__":
    main()
