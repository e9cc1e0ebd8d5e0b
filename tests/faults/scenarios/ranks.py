"""Ranks that are not alike: argument 1 says how, 2 is the output. They log `loss` as the check expects it."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from mpi4py import MPI

import provml_hpc as provml
from tests.faults import killing

HOW, OUTPUT = sys.argv[1], Path(sys.argv[2])
COMM = MPI.COMM_WORLD
RANK, SIZE = COMM.Get_rank(), COMM.Get_size()


def log(training: Any, first: int, count: int, rank: int = RANK) -> None:
    """Log samples that are told apart by rank and step."""
    for step in range(first, first + count):
        training.log(step, loss=float(10**9 + rank * 10**6 + step))


def begin(name: str = "job", comm: Any = COMM, **more: Any) -> Any:
    """Open a run."""
    return provml.init(name, phase="learning", output=OUTPUT.with_name(f"{name}.h5"), comm=comm, **more)


if HOW == "uneven":
    with begin(buffer="64 KiB") as run:
        if RANK:
            with run.training() as training:
                for part in range(5 if RANK == SIZE - 1 else 1):
                    log(training, part * 1000, 1000 if RANK == SIZE - 1 else 10)
                    run.flush()
elif HOW == "late":
    with begin() as run:
        if RANK == SIZE - 1:
            with run.training() as training:
                log(training, 0, 100)
        else:
            for _ in range(4):
                run.flush()
elif HOW == "parts":
    part = COMM.Split(RANK % 2, RANK)
    with begin(f"part-{RANK % 2}", part) as run, run.training() as training:
        log(training, 0, 50, part.Get_rank())
        run.flush()
        log(training, 50, 50, part.Get_rank())
    part.Free()
elif HOW == "self":
    with begin(f"self-{RANK}", MPI.COMM_SELF) as run, run.training() as training:
        log(training, 0, 50, 0)
        if RANK == 0:
            run.flush()
elif HOW == "one-after-another":
    for number in range(3):
        with begin(f"run-{number}") as run, run.training() as training:
            log(training, 0, 20 * (number + 1))
elif HOW == "two-at-once":
    first, second = begin("first"), begin("second")
    with first, second, first.training() as one, second.training() as two:
        for part in range(3):
            log(one, part * 10, 10)
            log(two, part * 20, 20)
            second.flush()
            first.flush()
elif HOW == "stop":
    import signal

    heard = []
    signal.signal(signal.SIGUSR2, lambda *_: heard.append(1))
    own = signal.getsignal(signal.SIGUSR2)
    with begin(stop_signals=["SIGUSR2"]) as run, run.training() as training:
        assert signal.getsignal(signal.SIGUSR2) is not own
        run.flush()
        assert not run.stop_requested
        if RANK == SIZE - 1:
            os.kill(os.getpid(), signal.SIGUSR2)
        log(training, 0, 10)
        run.flush()
        assert run.stop_requested
    assert signal.getsignal(signal.SIGUSR2) is own
    assert heard == ([1] if RANK == SIZE - 1 else [])
elif HOW == "stop-untimely":
    import signal

    from provml_hpc.capture.run import Run

    def stop_in(run: Run) -> None:
        """Have the next flush point of this rank interrupted, before it hears what all agreed on."""
        transport, meet = run._session.transport, run._session.transport.meet

        def interrupted(*args: object, **kwargs: object) -> object:
            met = meet(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGUSR2)
            transport.meet = meet
            return met

        transport.meet = interrupted

    with begin("between", stop_signals=["SIGUSR2"]) as run, run.training() as training:
        run.flush()
        if RANK == 1:
            os.kill(os.getpid(), signal.SIGUSR2)
        # Otherwise one rank would leave its loop here and the others wait for it.
        assert not run.stop_requested
        log(training, 0, 10)
        run.flush()
        assert run.stop_requested
        run.flush()
        assert run.stop_requested
    with begin("within", stop_signals=["SIGUSR2"]) as run, run.training() as training:
        if RANK == 1:
            stop_in(run)
        run.flush()
        assert not run.stop_requested
        log(training, 0, 10)
        run.flush()
        assert run.stop_requested
elif HOW.startswith("left:"):
    own = RANK in map(int, HOW.partition(":")[2].split(","))
    run = begin(writers=killing.writers())
    training = run.training()
    try:
        with run if own else contextlib.nullcontext():
            log(training, 0, 10)
            if own:
                raise ValueError("this rank has had enough")
    except ValueError:
        pass
    rest = COMM.Split(own, SIZE - RANK)  # numbered the other way round
    if not own:
        with warnings.catch_warnings(record=True):  # one warns that it cannot flush with who left
            warnings.simplefilter("always")
            with run, training:
                log(training, 10, 10)
                run.flush()
                run.rebind(rest)
                log(training, 20, 10)
                run.flush()
    rest.Free()
elif HOW == "left-out":
    run = begin()
    training = run.training()
    log(training, 0, 10)
    run.flush()
    part = COMM.Split(RANK == 3)
    if RANK == 3:
        log(training, 10, 20)
        COMM.Barrier()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            run.flush()  # does not wait for those who are elsewhere
        assert "goes on with other ranks" in str(told[0].message)
    else:
        run.rebind(part)
        log(training, 10, 10)
        run.finish()
        COMM.Barrier()
elif HOW == "ended":
    run = begin()
    if RANK == 3:
        run._session.leave("it has had enough", "ValueError")
    try:
        run.rebind(COMM)
    except provml.UsageError as error:
        print(error, flush=True)
    run.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
