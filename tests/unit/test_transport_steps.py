"""How a rank waits within a step, on a stand-in for MPI: what it sleeps over, what it remembers. Nothing is timed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from provml_hpc.transport import steps as module
from provml_hpc.transport.steps import Steps


class Clock:
    """A clock that moves while a rank sleeps, and a little each time that it is read."""

    def __init__(self) -> None:
        self.now, self.slept = 100.0, []

    def monotonic(self) -> float:
        self.now += 1e-6
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def waiting(clock: Clock, comes_after: float, monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Return steps whose requests are done so many seconds from now."""
    done = clock.now + comes_after
    steps = Steps.__new__(Steps)
    mpi: Any = SimpleNamespace(Request=SimpleNamespace(Testall=lambda requests: clock.now >= done))
    steps._mpi, steps._waits, steps._crowded, steps._completed, steps._notices = mpi, {}, 1000, 0, {}
    monkeypatch.setattr(steps, "_listen", lambda: None)
    return steps


def test_an_answer_that_is_there_already_is_not_slept_over(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = waiting(clock, 0.0, monkeypatch)
    steps._waits["an answer"] = (10e-3, 10e-3)  # so the wait would begin asleep
    steps.wait([object()], "an answer", None, alone=True)  # type: ignore[list-item]
    assert clock.slept == []


def test_a_wait_for_an_answer_begins_asleep_with_half_of_what_such_waits_took(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = waiting(clock, 8e-3, monkeypatch)
    for _ in range(2):
        steps.wait([object()], "an answer", None, alone=True)  # type: ignore[list-item]
        clock.now, clock.slept = 100.0, []
    steps.wait([object()], "an answer", None, alone=True)  # type: ignore[list-item]
    assert clock.slept[0] == pytest.approx(4e-3, rel=0.15)


def test_how_long_bytes_took_to_leave_says_nothing_of_an_answer(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = waiting(clock, 50e-3, monkeypatch)
    for _ in range(2):
        steps.wait([object()], "a flush point", None)  # type: ignore[list-item]
        clock.now, clock.slept = 100.0, []
    steps.wait([object()], "a flush point", None, alone=True)  # type: ignore[list-item]
    assert clock.slept[0] < 1e-3
