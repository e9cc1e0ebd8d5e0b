"""The journal that all threads but the run's own share."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from provml_hpc import wire
from provml_hpc.assembly.frames import split
from provml_hpc.errors import StateError
from provml_hpc.journal import (
    SideJournal,
)
from provml_hpc.records import Fact, Source
from tests.unit.journal.making import make, sequences


def test_a_closed_side_journal_takes_nothing_and_makes_no_file(tmp_path: Path) -> None:
    side = SideJournal(lambda: make(tmp_path, source=Source(1, 0, 1)))
    assert side.journal is None
    assert list(tmp_path.iterdir()) == []
    side.close(remove=True)
    assert side.journal is None
    with pytest.raises(StateError, match="closed"):
        side.write(Fact("run", "n", "text", "1"))
    assert list(tmp_path.iterdir()) == []


def test_threads_that_share_the_side_journal_lose_nothing(tmp_path: Path) -> None:
    side = SideJournal(lambda: make(tmp_path, source=Source(1, 0, 1)))

    def work(name: str) -> None:
        for number in range(200):
            side.write(Fact("run", name, "integer", str(number)))

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with side.lock:
        assert side.journal is not None
        block = b"".join(side.journal.seal().chunks)
    assert sequences(block) == list(range(1, 801))
    found = [wire.decode(block, at) for at in split(block).records]
    for name in "0123":
        mine = [one.record.text for one in found if one and isinstance(one.record, Fact) and one.record.name == name]
        assert mine == [str(number) for number in range(200)]
    side.close(remove=True)
