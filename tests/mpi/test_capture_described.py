"""Files described beside a job of several ranks: each once, in a process that does not take itself for a rank."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.mpi.launch import mpi_run
from tests.mpi.reading import File


def test_each_file_is_described_once_and_not_once_a_rank(tmp_path: Path) -> None:
    result = mpi_run("capture_described.py", 3, cwd=tmp_path, timeout=150, python=("-W", "error")).check()
    assert not result.stderr, result.stderr
    assert Counter((tmp_path / "reads.txt").read_text().split()) == dict.fromkeys(
        ["shared", "own-0", "own-1", "own-2"], 1
    )
    file = File(tmp_path / "job.h5")
    assert not file.faults
    assert file.run.details["dropped"] == []
    said = {
        (row["label"], one["label"]): one["value"]
        for row in file.all("Dataset")
        for one in file.objects("hasQuality", row)
        if one["label"] in ("bytes", "variables.x.shape")
    }
    assert said == {
        ("shared", "bytes"): "6",
        **{(f"own-{rank}", "bytes"): str(rank + 1) for rank in range(3)},
        **{(f"made-{rank}.h5", "variables.x.shape"): f"[{rank + 1}]" for rank in range(3)},
    }
