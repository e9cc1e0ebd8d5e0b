"""Ranks that no MPI joins, as under torchrun: each writes a file of its own, and a merge makes what MPI would make.

Workers are started by stand-ins for torchrun and for DeepSpeed's launcher (`scenarios/elastic.py`,
`scenarios/deepspeed.py`), which set the same variables.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import provml_hpc as provml
from provml_hpc.errors import OutputExistsError, UsageError
from provml_hpc.storage.merge import merge
from tests.mpi.launch import SCENARIOS, Result
from tests.mpi.reading import same

Run = Callable[..., Result]


def elastic(mpi_run: Run, *args: object, workers: int = 4, restarts: int = 0, nodes: int = 1, **env: str) -> Result:
    script = [workers, restarts, nodes, SCENARIOS / "apart.py", *args]
    return mpi_run("elastic.py", None, script, env=env, timeout=100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiles.csv").write_text("1\n2\n3\n")
    return tmp_path


def test_a_merge_says_what_is_said_under_mpi(mpi_run: Run, folder: Path) -> None:
    joined = folder / "joined"
    joined.mkdir()
    mpi_run("apart.py", 4, timeout=100).check()
    (folder / "run.h5").rename(joined / "run.h5")
    (folder / "model.bin").unlink()
    done = elastic(mpi_run).check()
    assert done.stderr.count("provml merge run-rank*.h5 -o run.h5") == 1
    files = sorted(folder.glob("run-rank*.h5"))
    assert [file.name for file in files] == [f"run-rank{rank}.h5" for rank in range(4)]
    before = {path: path.read_bytes() for path in files}
    one = merge(files, folder / "one.h5")
    assert (one.status, one.ranks, one.missing) == ("finished", [0, 1, 2, 3], [])
    same(joined / "run.h5", one.output)

    # Whichever order and in how many steps, the same bytes; what is there stays as it is.
    merge(files[::-1], folder / "other.h5")
    part = merge(files[1:], folder / "part.h5")
    assert (part.status, part.missing) == ("incomplete", [0])
    merge([folder / "part.h5", files[0], files[1]], folder / "again.h5")  # rank 1 is in two files, alike
    whole = one.output.read_bytes()
    assert (folder / "other.h5").read_bytes() == (folder / "again.h5").read_bytes() == whole
    with pytest.raises(OutputExistsError, match="exists already"):
        merge(files, folder / "one.h5")
    assert one.output.read_bytes() == whole
    with pytest.raises(UsageError, match="given twice"):
        merge([files[0], files[0]], folder / "more.h5")
    assert {path: path.read_bytes() for path in files} == before
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    for path in files:
        with provml.open(path) as alone:  # each file is also whole by itself
            assert alone.status == "finished"
            assert alone.activities[0].outcome == "completed"


def test_workers_that_are_started_again_are_one_more_attempt(mpi_run: Run, folder: Path) -> None:
    elastic(mpi_run, "again", workers=2, restarts=1).check()
    names = {path.name for path in folder.glob("run*.h5")}
    assert names == {f"run-rank{rank}{more}.h5" for rank in range(2) for more in ("", "-attempt2")}
    made = merge(sorted(folder.glob("run-*.h5")), folder / "run.h5")
    assert (made.ranks, made.attempts, made.status) == ([0, 1], [1, 2], "finished")
    with provml.open(made.output) as run:
        assert [row.attempt for row in run.activities.where(name="training")] == [1, 2]
        assert len(run.samples("loss")) == 2 * 2 * 12
        assert sorted(run.run.details["attempts"]) == [1, 2]


def test_what_a_killed_worker_left_is_merged_as_it_is(mpi_run: Run, folder: Path) -> None:
    assert elastic(mpi_run, "die", workers=2).returncode == 1
    left = [folder / "run-rank0.h5", folder / "run-rank1.h5.partial"]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    made = merge(left, folder / "run.h5")
    assert {path: path.read_bytes() for path in before} == before
    assert (made.ranks, made.status) == ([0, 1], "incomplete")
    with provml.open(made.output) as run:
        assert [len(run.samples("loss", rank=rank)) for rank in (0, 1)] == [12, 8]


def test_over_several_nodes_only_a_name_tells_one_launch_from_another(mpi_run: Run, folder: Path) -> None:
    done = elastic(mpi_run, workers=2, nodes=2).check()
    assert "torchrun --rdzv-id" in done.stderr
    assert "CaptureWarning" in done.stderr
    files = sorted(folder.glob("run-rank*.h5"))
    with pytest.raises(UsageError, match=r"run-rank0.h5 is of run .*, .*run-rank1.h5 of run .* merge the files of one"):
        merge(files, folder / "run.h5")
    assert not (folder / "run.h5").exists()
    for file in files:
        file.unlink()
    done = elastic(mpi_run, workers=2, nodes=2, TORCHELASTIC_RUN_ID="nightly-7").check()
    assert "CaptureWarning" not in done.stderr
    assert merge(files, folder / "run.h5").status == "finished"


def test_workers_of_deepspeed_do_not_collide(mpi_run: Run, folder: Path) -> None:
    """On one node they know each other by the process that started them, over nodes by the name that a user gives."""
    script = SCENARIOS / "apart.py"
    files = [folder / f"run-rank{rank}.h5" for rank in range(2)]
    done = mpi_run("deepspeed.py", None, [2, 1, script], timeout=100).check()
    assert "DeepSpeed's launcher started 2 processes" in done.stderr
    made = merge(files, folder / "run.h5")
    assert (made.ranks, made.status, made.missing) == ([0, 1], "finished", [])
    for file in files:
        file.unlink()
    done = mpi_run("deepspeed.py", None, [2, 2, script], timeout=100).check()
    assert 'echo "PROVML_LAUNCH=$(uuidgen)" >> .deepspeed_env' in done.stderr
    for file in files:
        file.unlink()
    done = mpi_run("deepspeed.py", None, [2, 2, script], env={"PROVML_LAUNCH": "nightly-7"}, timeout=100).check()
    assert "CaptureWarning" not in done.stderr
    assert merge(files, folder / "named.h5").status == "finished"
