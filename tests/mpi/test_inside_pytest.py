"""pytest-mpi: the same pytest on every rank, for what only a test on each rank can see."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.mpi.launch import ROOT, Result

TESTS = ROOT / "tests/mpi/inside/inside_capture.py"


def test_tests_that_run_on_every_rank(mpi_run: Callable[..., Result], tmp_path: Path) -> None:
    options = ["-q", "-o", "addopts=", "--import-mode=importlib", "--strict-markers", "--with-mpi"]
    pytest_ = ["-m", "pytest", *options, "-p", "no:cacheprovider"]
    done = mpi_run(TESTS, 2, env={"PYTEST_DEBUG_TEMPROOT": str(tmp_path)}, python=pytest_, timeout=120).check()
    count = TESTS.read_text().count("\ndef test_")
    # On each rank every test ran, and none was skipped for want of ranks.
    assert re.findall(r"(\d+) passed", done.stdout) == [str(count)] * 2
    assert "skipped" not in done.stdout
