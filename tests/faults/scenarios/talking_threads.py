"""A thread logs, then sends what another rank waits for before it flushes, while its own rank waits in that flush.

Argument 1 is the output.
"""

from __future__ import annotations

import sys
import threading
import time

from mpi4py import MPI

import provml_hpc as provml

ROUNDS = 5
assert MPI.Query_thread() == MPI.THREAD_MULTIPLE
beside = MPI.COMM_WORLD.Dup()
token = bytearray(1)

run = provml.init("talking", phase="learning", output=sys.argv[1], comm=MPI.COMM_WORLD)
with run, run.training() as training:
    for number in range(ROUNDS):
        if beside.rank:
            beside.Recv([token, MPI.BYTE], 0)
            run.flush()
            continue
        begins = threading.Event()

        def talk(begins: threading.Event = begins, number: int = number) -> None:
            begins.wait()
            time.sleep(0.2)  # by now the other thread waits in the flush, for a rank that waits for this thread
            training.log(2 * number, aside=float(2 * number))
            training.log_values({f"talked-{number}": number})
            training.log(2 * number + 1, aside=float(2 * number + 1))
            beside.Send([token, MPI.BYTE], 1)

        thread = threading.Thread(target=talk)
        thread.start()
        begins.set()
        run.flush()
        thread.join()
