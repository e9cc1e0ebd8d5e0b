"""The launcher of the MPI tests: a hang is a failure that says where, and leaves no process behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mpi.launch import HangError, Result


def test_a_hang_is_ended_and_shows_where(mpi_run: Callable[..., Result], tmp_path: Path) -> None:
    with pytest.raises(HangError, match="hangs_here"):
        mpi_run("launch_hang.py", 2, timeout=5)
    for rank in range(2):
        pid = (tmp_path / f"pid.{rank}").read_text()
        # Gone, or a zombie that its parent has not yet taken note of.
        stat = Path(f"/proc/{pid}/stat")
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_a_failure_carries_what_the_ranks_said(mpi_run: Callable[..., Result], tmp_path: Path) -> None:
    script = tmp_path / "fails.py"
    script.write_text("import sys; print('to be seen'); sys.exit(3)")
    result = mpi_run(script, None)
    assert result.returncode == 3
    with pytest.raises(AssertionError, match="to be seen"):
        result.check()
