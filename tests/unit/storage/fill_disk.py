"""Append to a log until the place is full, and say how it went; run by test_log.py, since HDF5 may kill the process.

Usage: fill_disk.py PATH LIMIT, where LIMIT is the size in bytes that a file of this process may have, or 0 for none.
"""

from __future__ import annotations

import json
import resource
import sys

from provml_hpc.errors import StateError, StorageError
from provml_hpc.records import Source
from provml_hpc.storage.log import LogWriter
from provml_hpc.wire import HEADER


def main(path: str, limit: int) -> None:
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    log = LogWriter.create(path, {"uuid": "x"})
    source, said, refused = Source(1, 0, 0), "", False
    for seq in range(1, 10_000):
        try:
            log.append(source, HEADER.pack(20_000, 0, seq, seq) + bytes(19_976), seq, seq)
            log.commit(seq)
        except StorageError as error:
            said = str(error)
            break
    try:
        log.append(source, bytes(24), 1, 1)
    except StateError:
        refused = True
    log.close()
    print(json.dumps({"commits": log.commits, "said": said, "refused": refused, "broken": log.broken}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
