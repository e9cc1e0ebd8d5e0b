"""What the tests that launch MPI jobs share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mpi import launch


@pytest.fixture
def mpi_run(tmp_path: Path) -> Callable[..., launch.Result]:
    """Return `launch.mpi_run` for a temporary folder: ``mpi_run(script, ranks, args=(), env=None, timeout=60)``."""
    return functools.partial(launch.mpi_run, cwd=tmp_path)
