"""Any rank may write the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import provml_hpc as provml
from provml_hpc.storage.tables import read_attributes
from tests.mpi import launch


def test_the_last_rank_writes_the_file(mpi_run: Callable[..., launch.Result], tmp_path: Path) -> None:
    mpi_run("capture_writer.py", 3).check()
    seen = [json.loads((tmp_path / f"seen-{rank}.json").read_text()) for rank in range(3)]
    assert seen == [{"status": "finished", "samples": 150}] * 3
    with provml.open(tmp_path / "last.h5") as file:
        data = [row for row in file.entities if row.kind == "LearningDataset"]
        assert sorted(row.size for row in data) == [1, 2, 3]
        assert {row.digest_state for row in data} == {"whole"}
    # The run measures itself: the last flush point and the close are in it, and every rank is.
    cost = read_attributes(tmp_path / "last.h5")["details"]["cost"]
    assert all(flush_points >= 2 for flush_points in cost["flush_points"].values())
    for name in ("flush_ns", "gather_ns", "calls_estimated_ns"):
        assert set(cost[name]) == {"0", "1", "2"}
        assert min(cost[name].values()) > 0
    assert set(cost["close_ns"]) == {"2"}
    assert cost["close_ns"]["2"] > 0
    assert cost["append_ns"]["2"] > 0


def test_a_rank_that_does_not_write_loads_no_heavy_module(
    mpi_run: Callable[..., launch.Result], tmp_path: Path
) -> None:
    mpi_run("light_rank.py", 2).check()
    writer, other = (set(json.loads((tmp_path / f"loaded-{rank}.json").read_text())) for rank in range(2))
    # Each of these is a megabyte or more with what it brings; hashlib brings OpenSSL.
    heavy = {"h5py", "numpy", "pandas", "hashlib", "decimal", "tempfile"}
    assert "h5py" in writer
    assert heavy & other == set()
    ours = {name for name in other if name.startswith(("provml_hpc.storage.", "provml_hpc.assembly"))}
    assert ours <= {"provml_hpc.storage.place"}  # where things lie
