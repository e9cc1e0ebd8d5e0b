"""Ranks that are not alike, several runs in one process, parts of the world; signals that ask a job to stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provml_hpc.storage.tables import TablesFile
from tests.faults import guarantee
from tests.mpi import launch

Run = Callable[..., launch.Result]


def _steps(path: Path) -> dict[int, int]:
    """Return how many samples each rank has, after a look at their order and values."""
    steps, _ = guarantee.in_closed(path)
    assert all(found.tolist() == list(range(len(found))) for found in steps.values())
    with TablesFile(path) as file:
        assert file.attributes["status"] == "finished"
        assert file.attributes["details"]["dropped"] == []
    return {rank: len(found) for (_, rank), found in steps.items()}


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("uneven", {"job": {1: 10, 2: 10, 3: 5000}}),
        ("late", {"job": {3: 100}}),
        ("parts", {"part-0": {0: 100, 1: 100}, "part-1": {0: 100, 1: 100}}),
        ("self", {f"self-{rank}": {0: 50} for rank in range(4)}),
        ("one-after-another", {f"run-{n}": dict.fromkeys(range(4), 20 * (n + 1)) for n in range(3)}),
        ("two-at-once", {"first": dict.fromkeys(range(4), 30), "second": dict.fromkeys(range(4), 60)}),
        ("stop", {"job": dict.fromkeys(range(4), 10)}),
        ("stop-untimely", {name: dict.fromkeys(range(4), 10) for name in ("between", "within")}),
    ],
)
def test_ranks_that_are_not_alike(how: str, expected: dict[str, dict[int, int]], mpi_run: Run, tmp_path: Path) -> None:
    mpi_run("ranks.py", 4, [how, tmp_path / "job.h5"]).check()
    assert {name: _steps(tmp_path / f"{name}.h5") for name in expected} == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.h5" for name in expected)
