"""Several threads log into one run at once: argument 1 is the output."""

from __future__ import annotations

import sys
import threading

import provml_hpc as provml

THREADS, STEPS = 6, 3000

with provml.init("threads", phase="learning", output=sys.argv[1]) as run, run.training() as training:
    start = threading.Barrier(THREADS)

    def work(thread: int) -> None:
        start.wait()
        for step in range(STEPS):
            training.log(step, **{f"loss-{thread}": float(step), "shared": float(thread)})
        training.log_values({f"thread-{thread}": thread})

    workers = [threading.Thread(target=work, args=(n,)) for n in range(1, THREADS)]
    for worker in workers:
        worker.start()
    start.wait()
    for step in range(STEPS):
        training.log(step, **{"loss-0": float(step), "shared": 0.0})
        if step % 500 == 0:
            run.flush()
    for worker in workers:
        worker.join()
