"""The launcher of the MPI tests: a hang is a failure that says where, and leaves no process behind."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mpi import launch
from tests.mpi.launch import HangError, Result, is_gone


def test_a_hang_is_ended_and_shows_where(mpi_run: Callable[..., Result], tmp_path: Path) -> None:
    pids = [tmp_path / f"pid.{rank}" for rank in range(2)]
    for limit in (5, 20, 80):  # on a busy machine, a launch may not have come to its hang when the first is over
        with pytest.raises(HangError) as hang:
            mpi_run("launch_hang.py", 2, timeout=limit)
        assert all(is_gone(int(path.read_text())) for path in pids if path.exists())
        if "hangs_here" in str(hang.value):
            break
    assert all(path.exists() for path in pids)
    assert "hangs_here" in str(hang.value)


def test_a_launch_is_over_when_the_last_of_its_processes_is_gone(
    mpi_run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rank outlives its launcher, in a session of its own, and is long in dying: its locks and journals are its."""
    script = tmp_path / "leaves.py"
    script.write_text(
        "import subprocess\n"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True, stdout=subprocess.DEVNULL)\n"
        "print(child.pid)\n"
    )
    kill, calls = launch._signal, []

    def kill_later(pids: list[int], number: signal.Signals) -> None:
        calls.append(pids)
        if len(calls) == 5:
            kill(pids, number)

    monkeypatch.setattr(launch, "_signal", kill_later)
    pid = int(mpi_run(script, None).check().stdout)
    assert calls[0] == [pid]
    assert is_gone(pid)


def test_a_failure_carries_what_the_ranks_said(mpi_run: Callable[..., Result], tmp_path: Path) -> None:
    script = tmp_path / "fails.py"
    script.write_text("import sys; print('to be seen'); sys.exit(3)")
    result = mpi_run(script, None)
    assert result.returncode == 3
    with pytest.raises(AssertionError, match="to be seen"):
        result.check()
