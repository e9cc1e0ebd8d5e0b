"""Logs until it is killed; after each call that returned it says so in a file of its own.

Arguments: the folder of the journal, the file for what is acknowledged, and how large the journal may be.
"""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

from provml_hpc import records
from provml_hpc.capture.recorder import recorder
from provml_hpc.journal import Journal
from provml_hpc.records import Source

folder, told, bound = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
journal = Journal(folder, Source(1, 0, 0), "3f0d2a44-1111-4222-8333-0123456789ab", {"name": "killed"}, bound)
told.write_bytes(bytes(mmap.PAGESIZE))
with told.open("r+b") as file:
    words = memoryview(mmap.mmap(file.fileno(), mmap.PAGESIZE)).cast("Q")


def otherwise(step: object, values: tuple[float, ...]) -> None:
    """End where no sample goes in any more, having said that the loop below is done."""
    raise SystemExit


journal.write(records.Started(0, 1, 1, "host"))
words[0] = 1
record = recorder(journal, 1, 3, [4], otherwise)
print("ready", flush=True)
step = 1
while True:
    step += 1
    if step % 10:
        record(step, float(step), step / 2, -1.0)
    else:
        journal.write(records.Fact("run", "n" * (step % 97), "text", str(step)))
    words[0] = step
