"""What the fault tests share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mpi import launch

SCENARIOS = Path(__file__).resolve().parent / "scenarios"


@pytest.fixture
def mpi_run(tmp_path: Path) -> Callable[..., launch.Result]:
    """Return `launch.mpi_run` for a script in ``tests/faults/scenarios``, in a temporary folder."""

    def run(script: str, ranks: int | None, *args: object, **kwargs: object) -> launch.Result:
        return functools.partial(launch.mpi_run, cwd=tmp_path)(SCENARIOS / script, ranks, *args, **kwargs)  # type: ignore[arg-type]

    return run
