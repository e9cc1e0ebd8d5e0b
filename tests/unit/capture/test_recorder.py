"""The hot path: what is read back equals what was logged, and whatever is unusual goes the other way."""

from __future__ import annotations

import math
import os
import struct
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import provml_hpc as provml
from provml_hpc.assembly.frames import samples, split
from provml_hpc.capture.recorder import recorder
from provml_hpc.journal import Journal
from provml_hpc.records import Fact, Source
from tests.unit.capture.jobs import capture


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path, Source(1, 0, 0), "3f0d2a44", {}, 1 << 20)
    yield made
    made.close(remove=True)


class Others:
    """What the recorder handed on."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []

    def __call__(self, step: Any, values: tuple[Any, ...]) -> None:
        self.calls.append((step, values))


def logged(journal: Journal, layout: int = 1) -> list[tuple[int, int, tuple[float, ...]]]:
    parts = split(b"".join(journal.seal().chunks)).samples
    if layout not in parts:
        return []
    columns = samples(parts[layout])
    values = map(tuple, columns.values.tolist())
    return list(zip(columns.step.tolist(), columns.section.tolist(), values, strict=True))


@pytest.mark.parametrize("measures", range(1, 13))
def test_what_is_read_back_equals_what_was_logged(journal: Journal, measures: int) -> None:
    cell, others = [0], Others()
    record = recorder(journal, 7, measures, cell, others)
    expected = []
    for step in range(300):
        cell[0] = step // 100
        values = tuple(step / (place + 3) for place in range(measures))
        record(step - 150, *values)
        expected.append((step - 150, step // 100, values))
        if step % 50 == 0:
            journal.write(Fact("run", "between", "text", ""))
    assert logged(journal, 7) == expected
    assert others.calls == []
    assert journal.sequence == 306


@pytest.mark.parametrize(
    "value",
    [
        np.float64(1.5), np.float32(1.5), np.float16(1.5), np.int8(3), np.uint64(2**63), np.bool_(True), np.array(1.5),
        True, 7, 2**70, Decimal("1.5"), Fraction(3, 2), math.inf, -math.inf, -0.0, 5e-324,
    ],
    ids=repr,
)  # fmt: skip
def test_numbers_of_all_sorts_are_taken(journal: Journal, value: Any) -> None:
    others = Others()
    recorder(journal, 1, 1, [0], others)(np.int64(4), value)
    assert logged(journal) == [(4, 0, (float(value),))]
    assert others.calls == []


def test_nan_stays_nan(journal: Journal) -> None:
    recorder(journal, 1, 1, [0], Others())(1, float("nan"))
    assert math.isnan(logged(journal)[0][2][0])


class Awkward:
    def __float__(self) -> float:
        raise RuntimeError("the device is gone")

    def __index__(self) -> int:
        raise RuntimeError("the device is gone")


@pytest.mark.parametrize(
    "step", [1, "1", None, 1.0, 2**63, Awkward(), np.array([1, 2])], ids=lambda step: type(step).__name__
)
@pytest.mark.parametrize(
    "value", ["1", None, [1.0], 1j, Awkward(), np.array([1.0, 2.0]), 2**2000], ids=lambda value: type(value).__name__
)
def test_what_is_no_number_is_handed_on_and_leaves_the_journal_as_it_was(
    journal: Journal, step: Any, value: Any
) -> None:
    others = Others()
    record = recorder(journal, 1, 2, [0], others)
    record(0, 1.0, 2.0)
    before = list(journal.state), journal.first.length
    record(step, 3.0, value)
    assert (list(journal.state), journal.first.length) == before
    ((given, values),) = others.calls
    assert given is step
    assert values[1] is value
    record(9, 5.0, 6.0)
    assert [row[0] for row in logged(journal)] == [0, 9]


def test_another_thread_is_handed_on(journal: Journal) -> None:
    others = Others()
    record = recorder(journal, 1, 1, [0], others)
    thread = threading.Thread(target=record, args=(1, 2.0))
    thread.start()
    thread.join()
    assert (others.calls, journal.sequence) == ([(1, (2.0,))], 0)


def test_a_full_journal_is_handed_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Source(1, 0, 0), "3f0d2a44", {}, 64 << 10)
    others = Others()
    record = recorder(journal, 1, 1, [0], others)
    for step in range(2000):
        record(step, 1.0)
    kept = [row[0] for row in logged(journal)]
    assert kept == list(range(len(kept)))
    assert [step for step, _ in others.calls] == list(range(len(kept), 2000))
    journal.close(remove=True)


def test_a_frame_is_what_the_wire_format_says(journal: Journal) -> None:
    recorder(journal, 3, 2, [11], Others())(5, 0.5, 0.25)
    size, layout, sequence, _, step, section, *values = struct.unpack("<IIQqqQ2d", journal.seal().chunks[0])
    assert (size, layout, sequence, step, section, values) == (56, 3, 1, 5, 11, [0.5, 0.25])


# From here on in a run, where it is known what the other way is.


def read_back(output: Path, measure: str) -> list[tuple[int, float]]:
    with provml.open(output) as file:
        found = file.samples(measure=measure)
        return sorted(zip(found["step"].tolist(), found["value"].tolist(), strict=True))


def in_threads(count: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_four_threads_that_log_at_once_lose_nothing(tmp_path: Path) -> None:
    with capture(tmp_path) as job, job.run.training() as training:
        fixed = training.series("fixed")

        def work(number: int) -> None:
            for step in range(number * 500, number * 500 + 500):
                training.log(step, loss=step / 2)
                fixed(step, step / 4)

        in_threads(4, work)
        for step in range(2000, 2500):
            training.log(step, loss=step / 2)
    assert read_back(job.run.output, "loss") == [(step, step / 2) for step in range(2500)]
    assert read_back(job.run.output, "fixed") == [(step, step / 4) for step in range(2000)]


def test_threads_that_log_while_the_run_flushes_lose_nothing(tmp_path: Path) -> None:
    with capture(tmp_path) as job, job.run.training() as training:
        done = threading.Event()

        def work(number: int) -> None:
            for step in range(1000):
                training.log(step, **{f"m{number}": float(step)})

        def flush_point() -> None:
            in_threads(3, work)
            done.set()

        other = threading.Thread(target=flush_point)
        other.start()
        while not done.is_set():
            training.log(1, main=1.0)
            job.run.flush()
        other.join()
    for number in range(3):
        assert read_back(job.run.output, f"m{number}") == [(step, float(step)) for step in range(1000)]


def test_what_is_logged_after_the_end_is_warned_of_once(tmp_path: Path) -> None:
    with capture(tmp_path, warn=True) as job, job.run.training() as training:
        training.log(1, loss=1.0)
        record = training.series("loss")
    with pytest.warns(provml.CaptureWarning, match="after the run had ended"):
        record(2, 2.0)
    training.log(3, loss=3.0)
    assert read_back(job.run.output, "loss") == [(1, 1.0)]


def test_a_forked_child_writes_nothing(tmp_path: Path) -> None:
    with capture(tmp_path) as job, job.run.training() as training:
        training.log(1, loss=1.0)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                training.log(2, loss=2.0)
                training.series("loss")(3, 3.0)
                training.log_params({"child": 1})
                job.run.flush()
                job.run.finish()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        training.log(4, loss=4.0)
    assert read_back(job.run.output, "loss") == [(1, 1.0), (4, 4.0)]
    with provml.open(job.run.output) as file:
        assert not [row for row in file.params if "child" in str(row)]


def test_a_wrong_number_of_values_is_a_wrong_call_and_spoils_nothing(tmp_path: Path) -> None:
    with capture(tmp_path) as job, job.run.training() as training:
        record = training.series("a", "b")
        record(1, 1.0, 2.0)
        for values in ((), (1.0,), (1.0, 2.0, 3.0)):
            with pytest.raises(TypeError):
                record(2, *values)
        record(4, 1.0, 2.0)
    assert read_back(job.run.output, "a") == [(1, 1.0), (4, 1.0)]
