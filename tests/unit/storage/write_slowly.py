"""Write a log commit by commit while test_log.py follows it from another process; run with PATH COMMITS."""

from __future__ import annotations

import sys
import time

from provml_hpc.storage.log import LogWriter
from tests.unit.storage.kill_log import SOURCES, frames


def main(path: str, commits: int) -> None:
    with LogWriter.create(path, {"uuid": "x"}) as log:
        for number in range(commits):
            for source in SOURCES:
                log.append(source, frames(source, 100 * number + 1, 100), 100 * number + 1, 100 * number + 100)
            log.commit(number, durable=False)
            time.sleep(0.001)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
