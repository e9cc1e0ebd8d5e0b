"""Ends in the way its first argument names. Arguments: WAY OUTPUT FOLDER [open]; "open" leaves the run to the guard."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from mpi4py import MPI

import provml_hpc as provml
from tests.faults import acknowledged, killing

WAY, OUTPUT, FOLDER, OPEN = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), "open" in sys.argv[4:]
COMM = MPI.COMM_WORLD
RANK, SIZE = COMM.Get_rank(), COMM.Get_size()
STEPS = 30
VICTIM = SIZE - 1


def kill_me_soon(number: int) -> None:
    """Have another process of the kernel's choice deliver a signal while this one is busy or blocked."""
    if number == signal.SIGUSR1 and not WAY.startswith("stop-"):
        signal.signal(number, signal.SIG_DFL)  # MPICH has a handler of its own, which does nothing to us
    pid = os.getpid()
    if os.fork() == 0:
        time.sleep(0.5)
        os.kill(pid, number)
        os._exit(0)


def end(run: provml.Run) -> None:
    """End this rank, or log on."""
    way, _, name = WAY.partition(":")
    mine = RANK == VICTIM
    if way == "normal":
        return
    if way == "finalize":
        MPI.Finalize()
    elif way == "exception" and mine:
        raise ValueError("one rank has had enough")
    elif way == "exception-all":
        raise ValueError("all ranks have had enough")
    elif way == "exit-all" or (way == "exit" and mine):
        sys.exit(3)
    elif way == "exit-well":
        sys.exit(0)
    elif way == "abort" and mine:
        COMM.Abort(5)
        signal.pause()  # MPICH's returns, and the end comes a moment later
    elif way == "os-exit" and mine:
        os._exit(4)
    elif way == "computing" and mine:
        kill_me_soon(signal.Signals[name])
        until = time.monotonic() + 90
        while time.monotonic() < until:
            sum(range(1000))
    elif way == "blocked":
        if RANK == 0:
            kill_me_soon(signal.Signals[name])
            COMM.Barrier()
        else:
            time.sleep(1.5)
            if name == "SIGINT":  # Python raises it once the call is over, so that has to end
                COMM.Barrier()
    elif way in ("stop-computing", "stop-blocked"):
        stop(run, signal.Signals[name], blocked=way == "stop-blocked")
    elif way == "late" and mine:
        time.sleep(6)


def stop(run: provml.Run, number: int, *, blocked: bool) -> None:
    """Be asked to stop while computing, or while the main thread of rank 0 is blocked, where Python runs no handler."""
    if blocked:
        if RANK == 0:
            kill_me_soon(number)
        else:
            time.sleep(1.5)
        COMM.Barrier()
    elif RANK == VICTIM:
        kill_me_soon(number)
    until = time.monotonic() + 90
    while not run.stop_requested and time.monotonic() < until:
        time.sleep(0.05)
        run.flush()
    assert run.stop_requested


def main() -> None:
    told = acknowledged.Acknowledged(acknowledged.file_of(FOLDER, 1, RANK))
    run = provml.init("exits", phase="learning", output=OUTPUT, comm=COMM, close_timeout=2 if WAY == "late" else 90,
                      journal=os.environ.get("JOURNAL", "output"), writers=killing.writers(),
                      stop_signals=[WAY.partition(":")[2]] if WAY.startswith("stop-") else [])  # fmt: skip
    training = run.training()
    for step in range(STEPS):
        training.log(step, loss=float(10**9 + RANK * 10**6 + step))
        told.put("samples", step + 1)
    if os.environ.get("PROVML_DISABLE") != "1":
        (FOLDER / f"threads-{RANK}").write_text(str(threading.active_count()))
    if OPEN:
        told.put("finishing", 1)
        end(run)
        return
    with run:
        run.flush()
        told.put("flushed_samples", STEPS)
        end(run)
        told.put("finishing", 1)
    told.put("finished", 1)


main()
