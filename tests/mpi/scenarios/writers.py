"""Runs of which several ranks write. Arguments: what to show, then what that needs. Each rank tells what it saw."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from mpi4py import MPI

import provml_hpc as provml
from provml_hpc.transport.mpi import Parallel

HOW, *REST = sys.argv[1:]
COMM = MPI.COMM_WORLD
RANK, SIZE = COMM.Get_rank(), COMM.Get_size()
SEEN: dict[str, Any] = {}


def begin(writers: int = 2, **more: Any) -> provml.Run:
    """Open a run."""
    return provml.init("writers", phase="learning", output="run.h5", comm=COMM, writers=writers, **more)


def log(training: provml.Activity, first: int, count: int) -> None:
    """Log samples that are told apart by rank and step."""
    for step in range(first, first + count):
        training.log(step, loss=float(10**6 * RANK + step))


def stop() -> None:
    """One rank of the second group is asked to stop: all hear of it at the same flush point, and not before."""
    with begin(stop_signals=["SIGUSR2"]) as run, run.training() as training:
        run.flush()
        assert not run.stop_requested
        if RANK == SIZE - 1:
            os.kill(os.getpid(), signal.SIGUSR2)
        log(training, 0, 10)
        assert not run.stop_requested
        run.flush()
        SEEN["stop"] = run.stop_requested


def live() -> None:
    """Wait with something committed, and something not, until a reader has seen it."""
    with begin() as run, run.training() as training:
        log(training, 0, 10)
        run.flush()
        log(training, 10, 10)
        COMM.Barrier()
        Path("committed").touch()
        until = time.monotonic() + 60
        while not Path("seen").exists() and time.monotonic() < until:
            time.sleep(0.01)


def uneven() -> None:
    """Ranks flush and finish at different times, and nobody waits for ever."""
    with begin(3) as run, run.training() as training:
        for part in range(RANK + 1):
            log(training, 10 * part, 10)
            run.flush()


def full() -> None:
    """The file of the second writer rank takes nothing more. What its ranks logged stays in their journals."""
    Path(f"own-{RANK}.bin").write_bytes(bytes([RANK]) * 300_000)
    COMM.Barrier()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            with begin(strict="strict" in REST) as run:
                session = run._session
                if "machines" in REST:  # as if there were several, whose clocks are compared at the end
                    session.clocks._measured = [SIZE - 1]
                if session.is_writer and not session.leads:
                    assert session.storage is not None

                    def commit() -> None:
                        raise OSError(28, "No space left on device")

                    session.storage.commit = commit  # type: ignore[method-assign]
                with run.training() as training:
                    log(training, 0, 10)
                    run.flush()
                    run.use_dataset(f"own-{RANK}.bin")  # of which the end of the run has to hear who reads it
                    for _ in range(3 if "uneven" in REST and RANK == 1 else 0):
                        run.flush()
                    log(training, 10, 10)
        except provml.ProvMLError as error:
            SEEN["error"] = str(error)
    SEEN["warnings"] = [str(one.message) for one in told if isinstance(one.message, provml.CaptureWarning)]


def unwritable() -> None:
    """The file of the second writer rank cannot be made at all."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            with begin(strict="strict" in REST, journal=Path("journals").resolve()) as run, run.training() as training:
                log(training, 0, 10)
                run.flush()
        except provml.ProvMLError as error:
            SEEN["error"] = str(error)
    SEEN["warnings"] = [str(one.message) for one in told if isinstance(one.message, provml.CaptureWarning)]


def interrupted() -> None:
    """A rank is interrupted while the ranks agree on who writes which file; later they begin anew."""
    victim = int(REST[0])
    divide = Parallel.divide

    def slowly(self: Parallel, writers: int) -> list[int]:
        time.sleep(1.0 if victim != RANK else 0.0)  # so that the victim has its file, and waits
        return divide(self, writers)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    if victim == RANK:
        signal.setitimer(signal.ITIMER_REAL, 0.7)
    Parallel.divide = slowly  # type: ignore[method-assign]
    try:
        begin()
    except KeyboardInterrupt:
        SEEN["first"] = "interrupted"
    except provml.TransportError as error:
        SEEN["first"] = str(error)
    Parallel.divide = divide  # type: ignore[method-assign]
    COMM.Barrier()
    with begin(if_exists=REST[1]) as run, run.training() as training:
        log(training, 0, 10)


def leave() -> None:
    """A rank leaves with an exception; all others hear of it, whichever rank they send to."""
    leaver = int(REST[0])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with contextlib.suppress(ValueError), begin() as run, run.training() as training:
            log(training, 0, 10)
            run.flush()
            log(training, 10, 10)
            if leaver == RANK:
                raise ValueError("this rank has had enough")
            run.flush()
            log(training, 20, 10)
    SEEN["warnings"] = [str(one.message) for one in told if isinstance(one.message, provml.CaptureWarning)]


def digests() -> None:
    """All ranks name the same file, and each one of its own: each is read once."""
    Path(f"own-{RANK}.bin").write_bytes(bytes([RANK]) * 300_000)
    COMM.Barrier()
    with begin() as run:
        data = [run.use_dataset("shared.bin"), run.use_dataset(f"own-{RANK}.bin")]
        SEEN["read"] = 0
        submit = run._session.digester._hasher.submit

        def counted(*args: Any) -> None:
            SEEN["read"] += 1
            submit(*args)

        run._session.digester._hasher.submit = counted  # type: ignore[method-assign]
        assert len(data) == 2
        run.flush()


def attempt() -> None:
    """One attempt of a run: its number of writer ranks, and a plan of who dies."""
    where = str(Path("aside").resolve()) if "aside" in REST else "output"
    with begin(int(REST[0]), if_exists="resume", journal=where) as run, run.training(key=REST[1]) as training:
        SEEN["attempt"] = run._session.meta["attempt"]
        log(training, 0, 10)
        if "early" not in REST:
            run.flush()
        log(training, 10, 10)
        COMM.Barrier()  # the launcher ends all with the first
        if "die" in REST and RANK == SIZE - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if "die" in REST:
            signal.pause()


def refused() -> None:
    """An output of which a part is there already is refused on all ranks."""
    try:
        begin(if_exists=REST[0]).finish()
    except provml.ProvMLError as error:
        SEEN["error"] = str(error)


globals()[HOW]()
Path(f"seen-{RANK}.json").write_text(json.dumps(SEEN))
