"""Kill writers of a log at random moments and look at what they left; run by test_log.py as a process of its own.

It forks, which only a process without other threads may do, so it cannot live inside pytest.
"""

from __future__ import annotations

import os
import random
import select
import signal
import sys
import time
from pathlib import Path

from provml_hpc.records import Source
from provml_hpc.storage.log import LogReader, LogWriter
from provml_hpc.wire import HEADER

SOURCES = [Source(1, rank, 0) for rank in range(3)]


def frames(source: Source, first: int, count: int) -> bytes:
    body = source.rank.to_bytes(8, "little")
    return b"".join(
        HEADER.pack(HEADER.size + 8 * (1 + seq % 7), 0, seq, seq) + body * (1 + seq % 7)
        for seq in range(first, first + count)
    )


def write(log: LogWriter, pipe: int, seed: int) -> None:
    chance = random.Random(seed)
    last = dict.fromkeys(SOURCES, 0)
    while True:
        for source in SOURCES:
            count = chance.randrange(1, 3000)
            log.append(source, frames(source, last[source] + 1, count), last[source] + 1, last[source] + count)
            last[source] += count
        number = log.commit(time.time_ns(), durable=chance.random() < 0.3)
        os.write(pipe, b"".join(n.to_bytes(8, "little") for n in (number, *last.values())))


def check(path: Path, told: tuple[int, ...]) -> int:
    with LogReader(path) as log:
        assert not log.damage, log.damage
        # One more than was told of: the kill came after the commit and before the telling.
        assert told[0] <= len(log.commits) <= told[0] + 1, (len(log.commits), told)
        for source, last in zip(SOURCES, told[1:], strict=True):
            have = log.committed(source)
            assert have >= last
            assert b"".join(log.blocks(source)) == frames(source, 1, have)
        assert not log.damage, log.damage
        return len(log.commits)


def main(folder: Path, rounds: int) -> None:
    for seed in range(rounds):
        path = folder / f"{seed}.h5.partial"
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            write(LogWriter.create(path, {"uuid": "x"}), writing, seed)
        os.close(writing)
        if seed % 2:  # the others may be killed before there is a log, on a busy machine all of them
            select.select([reading], [], [], 30)
        time.sleep(0.01 + random.Random(seed).random() * 0.12)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        told = b""
        while select.select([reading], [], [], 0)[0] and (more := os.read(reading, 1 << 16)):
            told += more
        os.close(reading)
        told = told[: len(told) // 32 * 32][-32:]
        numbers = tuple(int.from_bytes(told[i : i + 8], "little") for i in range(0, len(told), 8)) or (0, 0, 0, 0)
        if not path.exists():
            assert numbers[0] == 0
            continue
        have = check(path, numbers)
        with LogWriter.reopen(path) as again:
            assert again.commits == have
            extra = Source(2, 0, 0)
            again.append(extra, frames(extra, 1, 10), 1, 10)
            again.commit(1)
        assert check(path, (have, *numbers[1:])) == have + 1
        with LogReader(path) as log:
            assert b"".join(log.blocks(extra)) == frames(extra, 1, 10)
        print(have, "commits")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
