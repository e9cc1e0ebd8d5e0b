"""Threads beside a training give way to it, and the main thread to nobody."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from provml_hpc.environment import yielding


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The sleeps of the module, on a clock that moves a tenth of a millisecond each time that it is read."""
    found: list[float] = []
    reads = iter(range(10**6))
    monkeypatch.setattr(yielding.time, "sleep", found.append)
    monkeypatch.setattr(yielding.time, "monotonic", lambda: next(reads) * 1e-4)
    return found


def beside(work: Any) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_thread_that_works_for_long_gives_way_now_and_then(slept: list[float]) -> None:
    beside(lambda: [yielding.give_way() for _ in range(30)])
    assert 8 <= len(slept) <= 15
    assert min(slept) > 0, "a sleep of nothing gives nothing away"


def test_the_main_thread_gives_way_to_nobody(slept: list[float]) -> None:
    for _ in range(30):
        yielding.give_way()
    assert slept == []


def test_each_thread_has_turns_of_its_own(slept: list[float]) -> None:
    for _ in range(3):
        beside(yielding.give_way)
    assert len(slept) == 3
