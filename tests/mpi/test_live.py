"""A run that is read while it goes on: what is committed, all of it, and nothing else."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

import provml_hpc as provml
from provml_hpc.storage.reader import Reader
from tests.mpi.launch import Result

RANKS, FLUSHES, PAUSE = 4, 40, 8


def _check(reader: Reader) -> int:
    """Hold a reader to what can be committed, and return how many flush points it has seen."""
    if not len(reader.commits) or not reader.measures:
        return 0
    loss, half = reader.samples("loss"), reader.samples("half")
    assert loss["rank"].tolist() == half["rank"].tolist()
    seen = set()
    for rank in range(RANKS):
        mine = loss[loss["rank"] == rank]
        steps = mine["step"]
        assert steps.tolist() == list(range(len(steps)))
        assert mine["value"].tolist() == (rank * 1_000_000 + steps).tolist()
        assert half["value"][half["rank"] == rank].tolist() == (steps / 2).tolist()
        assert (np.diff(mine["time_ns"]) >= 0).all()
        # After k flush points a rank has logged k times ten (or its multiple), and one more after each but the last.
        per = 10 * (rank + 1) + 1
        assert len(steps) % per in (per - 1, 0)
        seen.add(-(-len(steps) // per))
    assert len(seen) == 1, seen
    flushed = seen.pop()
    done = [row.value for row in reader.evaluations if row.measure == "done"]
    assert sorted(done) == list(range(flushed))
    epochs = [row for row in reader.activities if row.section_kind == "epoch"]
    assert len(epochs) in (flushed, flushed + 1)
    return flushed


def test_a_reader_sees_what_is_committed_and_nothing_else(mpi_run: Callable[..., Result], tmp_path: Path) -> None:
    ended: list[Result | BaseException] = []

    def job() -> None:
        try:
            ended.append(mpi_run("live.py", RANKS, [FLUSHES, PAUSE], timeout=120))
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=job)
    thread.start()
    try:
        reader = None
        while reader is None:
            assert not ended, ended
            # Before the log is whole there is nothing to open, or nothing that can be read.
            with contextlib.suppress(provml.FileMissingError, provml.FormatError):
                reader = provml.open(tmp_path / "live.h5")
        states: list[int] = []
        with reader:
            while True:
                over = bool(ended)
                reader.refresh()
                states.append(_check(reader))
                if over:
                    break
                assert reader.status in ("running", "finished")
                for number in range(PAUSE - 1, states[-1], PAUSE):
                    (tmp_path / f"seen.{number}").touch()
            assert not reader.live
            assert reader.status == "finished"
            assert not reader.damage
    finally:
        for number in range(FLUSHES):  # so that a job whose reader failed ends as well
            (tmp_path / f"seen.{number}").touch()
        thread.join()
    result = ended[0]
    assert isinstance(result, Result), result
    result.check()
    assert states == sorted(states)
    assert states[-1] == FLUSHES
    # The job waited for the reader at these, so each of them was seen.
    assert set(range(PAUSE, FLUSHES + 1, PAUSE)) <= set(states)
