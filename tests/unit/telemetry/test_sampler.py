"""The sampler's thread, with gauges made by hand: what it writes, what it drops, and how it keeps out of the way."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provml_hpc import records, wire
from provml_hpc.journal import Journal, SideJournal
from provml_hpc.records import Source
from provml_hpc.telemetry import sampler as sampling
from provml_hpc.telemetry.gauge import Gauge, Gone
from provml_hpc.telemetry.sampler import Sampler

RUN = "3f0d2a44-1111-4222-8333-0123456789ab"
Make = Callable[..., Sampler]


class Harness:
    """A sampler whose gauges are the test's, and its journal."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.journal = SideJournal(
            lambda: Journal(folder, Source(1, 0, records.TELEMETRY_LANE), RUN, {"run": RUN}, 64 << 10)
        )
        self._patch = monkeypatch
        self.made: list[Sampler] = []

    def sampler(self, *reads: Callable[[], tuple[float, ...]], hz: float = 10.0) -> Sampler:
        """Make a sampler with a gauge of one counter for each function."""
        found = Sampler(self.journal, "n0", [], hz)
        self._patch.setattr(found, "_find", lambda: [found._add(Gauge({"x": "1"}, read)) for read in reads])
        self.made.append(found)
        return found

    def steps(self, number: int = 1) -> list[int]:
        """Return the turns that the journal has of a gauge."""
        with self.journal.lock:
            journal = self.journal.journal
            data = b"".join(journal.seal().chunks)
        heads = [wire.SAMPLE_HEAD.unpack_from(data, at) for at, _, layout, _ in wire.walk(data) if layout == number]
        return [head[4] for head in heads]

    def said(self) -> list[records.Record]:
        """Return the records in the journal."""
        with self.journal.lock:
            journal = self.journal.journal
            data = b"".join(journal.seal().chunks)
        frames = [wire.decode(data, at) for at, _, layout, _ in wire.walk(data) if not layout]
        return [frame.record for frame in frames if frame is not None]

    def told(self) -> dict[str, str]:
        """Return the facts in the journal."""
        return {one.name: one.text for one in self.said() if isinstance(one, records.Fact)}


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    made = Harness(tmp_path, monkeypatch)
    yield made
    for one in made.made:
        one.stop()
        if one._thread.ident is not None:
            one._thread.join(10)
    made.journal.close(remove=True)


def test_turns_are_written_and_the_last_one_comes_when_it_is_asked_for(harness: Harness) -> None:
    one = harness.sampler(lambda: (1.0,), hz=0.01)  # of itself it would have the second turn after 100 s
    one.start()
    assert one.take_turn(30)
    assert one.take_turn(30)
    assert harness.steps()[:2] == [0, 1]


def test_a_full_journal_thins_the_turns_by_the_rule_of_samples_and_counts_them(harness: Harness) -> None:
    one = harness.sampler(lambda: (1.0,))
    one._find()
    for turn in range(3000):
        one.turns = turn
        one._turn()
    kept = harness.steps()
    (dropped,) = [one for one in harness.said() if isinstance(one, records.Dropped)]
    assert (dropped.reason, dropped.name) == ("buffer full", "telemetry")
    assert len(kept) + dropped.lost == 3000
    assert dropped.lost > 0
    # All of them first, then every second, every fourth ...: no rule but that of the step.
    gaps = [later - earlier for earlier, later in itertools.pairwise(kept)]
    assert gaps == sorted(gaps)
    assert set(gaps) >= {1, 2, 4}
    assert all(gap & (gap - 1) == 0 for gap in gaps)


def test_what_is_gone_is_not_read_again_and_the_others_are(harness: Harness) -> None:
    reads: Counter[str] = Counter()

    def lost() -> tuple[float, ...]:
        reads["lost"] += 1
        raise Gone("it fell off")

    one = harness.sampler(lost, lambda: (2.0,))
    one._find()
    for turn in range(3):
        one.turns = turn
        one._turn()
    assert reads["lost"] == 1
    assert (harness.steps(1), harness.steps(2)) == ([], [0, 1, 2])


def test_a_read_that_hangs_is_not_waited_for_twice(harness: Harness) -> None:
    release = threading.Event()

    def hang() -> tuple[float, ...]:
        release.wait(60)
        return (1.0,)

    one = harness.sampler(hang)
    one.start()
    try:
        assert not one.take_turn(0.05)
        assert one.is_late
        assert not one.take_turn(3600)  # an hour that is not waited
        harness.journal.close(remove=False)
    finally:
        release.set()
    # What it brings after all finds the journal closed, and the thread ends.
    one._thread.join(10)
    assert not one._thread.is_alive()


def test_a_failure_that_nobody_thought_of_ends_the_thread_with_a_reason(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> tuple[float, ...]:
        raise ZeroDivisionError("in the driver")

    one = harness.sampler(broken)
    one.start()
    one._thread.join(10)
    assert not one._thread.is_alive()
    assert "ZeroDivisionError" in harness.told()["telemetry.reason"]
    assert one.take_turn(3600)  # nothing to wait for


def test_turns_that_take_much_of_a_processor_become_rarer(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_LOOK", 2)

    def costly() -> tuple[float, ...]:
        until = time.thread_time() + 0.01  # a tenth of a processor at 10 Hz
        while time.thread_time() < until:
            pass
        return (1.0,)

    one = harness.sampler(costly)
    one.start()
    for _ in range(2):
        assert one.take_turn(30)
    one.stop()
    one._thread.join(30)
    assert float(harness.told()["telemetry.slowed_to_hz"]) < 10


def test_where_nothing_can_be_sampled_it_is_said_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sampling.can_sample() == ""
    monkeypatch.setattr(sampling, "find_spec", lambda name: None)
    assert "provml-hpc[telemetry]" in sampling.can_sample()
