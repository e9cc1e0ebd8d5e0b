"""The status that a reader tells of a job that nobody has recovered yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import provml_hpc as provml
from provml_hpc.storage.recover import recover
from tests.mpi import launch


def test_a_job_whose_ranks_failed_has_failed_also_before_it_is_recovered(
    mpi_run: Callable[..., launch.Result], tmp_path: Path
) -> None:
    assert mpi_run("status_failed.py", 2).returncode != 0
    with provml.open(tmp_path / "failing.h5") as file:
        assert file.live
        assert file.status == "failed"
        assert len(file.samples("loss")) == 2, "what was flushed, on each rank"
    recover(tmp_path / "failing.h5")
    with provml.open(tmp_path / "failing.h5") as file:
        assert file.status == "failed"
        assert len(file.samples("loss")) == 4
