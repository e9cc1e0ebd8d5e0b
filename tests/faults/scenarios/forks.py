"""Children of a process that captures: argument 1 says how they are made, 2 is the output."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

import provml_hpc as provml

HOW, OUTPUT = sys.argv[1] if len(sys.argv) > 1 else "", Path(sys.argv[-1])
STEPS = 50


def use(run: Any, training: Any) -> None:
    """Do in a child all that a run can do."""
    for step in range(1000, 1100):
        training.log(step, loss=-1.0)
    training.log_values({"child": 1})
    with training.section("epoch", 99) as epoch:
        epoch.evaluate(accuracy=0.1)
    run.flush()
    run.finish()


def work(number: int) -> int:
    """Work as a data loader's worker does, with what it inherited."""
    if HOW == "pool":
        use(RUN, TRAINING)
    return number * number


def outlive_a_flush() -> None:
    """Let a child end after the parent flushed much that the child knows nothing of; then kill the parent."""
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(ready, 1)
        sys.exit(0)
    for step in range(STEPS, 40_000):
        TRAINING.log(step, loss=float(10**9 + step))
        if step % 10_000 == 0:
            RUN.flush()
    RUN.flush()
    os.write(go, b"!")
    os.waitpid(pid, 0)
    os.kill(os.getpid(), signal.SIGKILL)


def child(how: str, run: Any, training: Any) -> None:
    """Go on in a forked child, and end in some way."""
    use(run, training)
    if how == "exit":
        sys.exit(0)
    if how == "exception":
        raise ValueError("the child has had enough")
    if how == "collect":
        del run, training
        gc.collect()
        sys.exit(0)
    os._exit(0)


if __name__ == "__main__":
    RUN = provml.init("forks", phase="learning", output=OUTPUT, buffer="1 MiB")
    TRAINING = RUN.training()
    for step in range(STEPS):
        TRAINING.log(step, loss=float(10**9 + step))
    if HOW == "late":
        outlive_a_flush()
    if HOW in ("pool", "spawn"):
        context = multiprocessing.get_context("fork" if HOW == "pool" else "spawn")
        with context.Pool(2) as pool:
            assert pool.map(work, range(8)) == [n * n for n in range(8)]
    else:
        RUN.flush()
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                child(HOW, RUN, TRAINING)
            _, status = os.waitpid(pid, 0)
            assert os.waitstatus_to_exitcode(status) == (1 if HOW == "exception" else 0), status
            RUN.flush()
            TRAINING.log_values({f"after-{pid}": 1})
    for step in range(STEPS, 2 * STEPS):
        TRAINING.log(step, loss=float(10**9 + step))
    if "open" not in sys.argv:
        RUN.finish()
