"""What happens when the buffer is full, and where the place, the clock or the machine is against us."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import provml_hpc as provml
from provml_hpc.storage.place import hidden_of, partial_of
from provml_hpc.storage.recover import recover
from provml_hpc.storage.tables import TablesFile
from tests.faults import acknowledged, guarantee
from tests.mpi import launch

Job = Callable[..., dict[str, Any]]
Run = Callable[..., launch.Result]


@pytest.fixture
def job(tmp_path: Path, mpi_run: Callable[..., launch.Result]) -> Job:
    """Return a function that runs the scenario, and returns what its ranks saw, the warnings of all in one list."""
    told = tmp_path / "told"
    told.mkdir()
    told.chmod(0o777)

    def run(way: str, output: Path, *arguments: object, ranks: int | None = None, **more: Any) -> dict[str, Any]:
        for earlier in told.glob("seen-*.json"):
            earlier.unlink()
        mpi_run("bounds.py", ranks, [way, output, told, *arguments], **more).check()
        ranks_saw: list[dict[str, Any]] = [json.loads(path.read_text()) for path in told.glob("seen-*.json")]
        assert len(ranks_saw) == (ranks or 1)
        said = [warning for one in ranks_saw for warning in one["warnings"]]
        return {name: value for one in ranks_saw for name, value in one.items()} | {"warnings": said}

    return run


@contextlib.contextmanager
def _small_disk(path: Path, size: str) -> Iterator[Path]:
    """Mount a file system of so many bytes, in memory."""
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "none", str(path)], capture_output=True
    )
    if done.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def _details(output: Path) -> dict[str, Any]:
    with TablesFile(output) as file:
        details: dict[str, Any] = file.attributes["details"]
        return details


def _rows(output: Path, measure: str) -> np.ndarray[Any, Any]:
    with TablesFile(output) as file:
        table = next(table for table in file.samples() if measure in table.measures)
        return np.asarray(table.read(0, table.count)["step"])


def _values(output: Path) -> list[str]:
    with TablesFile(output) as file:
        labels = file.table("records", "AttributeValue").columns["label"]
        return [str(label) for label in labels if str(label).startswith("told-")]


def test_a_full_buffer_thins_samples_counts_them_and_keeps_structure(job: Job, tmp_path: Path) -> None:
    output, steps = tmp_path / "job.h5", 60_000
    seen = job("thinned", output)
    assert len(seen["warnings"]) == 1
    assert "buffer=" in seen["warnings"][0]
    dropped = {one["name"]: one for one in _details(output)["dropped"]}
    for name, further in (("loss", 100), ("other", 0)):
        kept = _rows(output, name)
        assert 0 < len(kept) < steps
        assert len(kept) + dropped[name]["count"] == steps + further
        assert dropped[name]["reason"] == "buffer full"
        assert dropped[name]["activity"], "the count belongs to a series, so to its activity"
    assert _rows(output, "loss")[-100:].tolist() == list(range(steps, steps + 100))
    assert len(_values(output)) == 500
    with TablesFile(output) as file:
        assert len(file.table("records", "LearningStageSectionExecution")) == 1


def test_a_kill_takes_nothing_from_the_count_of_what_was_thinned(mpi_run: Run, tmp_path: Path) -> None:
    output = tmp_path / "job.h5"
    done = mpi_run("bounds.py", None, ["killed", output, tmp_path])
    assert done.returncode == -9
    recover(output)
    dropped = {one["name"]: one["count"] for one in _details(output)["dropped"]}
    logged = acknowledged.read(acknowledged.file_of(tmp_path, 1, 0))["samples"]
    assert logged == 7777
    assert len(_rows(output, "loss")) + dropped["loss"] == logged
    kept = sum(len(_rows(output, f"other {n}")) for n in range(40))
    assert kept + sum(count for name, count in dropped.items() if name.startswith("other")) == logged
    assert dropped.keys() == {"loss", *(f"other {n}" for n in range(40))}


def test_a_record_larger_than_the_buffer(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "job.h5"
    assert job("large", output)["warnings"] == []
    steps, names = guarantee.in_closed(output)
    assert steps[1, 0].tolist() == list(range(20))
    assert len(names[1, 0]) == 3


def test_a_clock_that_steps_back(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "job.h5"
    assert job("clock", output)["warnings"] == []
    with TablesFile(output) as file:
        (table,) = file.samples()
        assert (np.diff(table.read(0, table.count)["time_ns"]) >= 0).all()
        assert file.attributes["status"] == "finished"
        for row in file.table("records", "Attempt").rows():
            assert row["end_ns"] >= row["start_ns"]


@pytest.mark.parametrize("ranks", [None, 3])
def test_a_full_disk_under_the_output(ranks: int | None, job: Job, tmp_path: Path) -> None:
    with _small_disk(tmp_path / "small", "700k") as disk:
        journals = tmp_path / "journals"
        journals.mkdir()
        seen = job("place", disk / "job.h5", journals, ranks=ranks)
        assert len(seen["warnings"]) == 1
        assert "could not be written" in seen["warnings"][0]
        assert "error" not in seen
        roomy = tmp_path / "roomy"
        shutil.copytree(disk, roomy)
    assert recover(roomy / "job.h5", force=True, journals=list(journals.iterdir())).status == "finished"
    steps, names = guarantee.in_closed(roomy / "job.h5")
    assert {len(found) for found in steps.values()} == {15_000}
    assert len(names[1, 0]) == 20


def test_a_full_disk_under_the_output_of_a_strict_run(job: Job, tmp_path: Path) -> None:
    with _small_disk(tmp_path / "small", "700k") as disk:
        seen = job("strict", disk / "job.h5", tmp_path)
        assert seen["error"].startswith(("StorageError", "ProvMLError"))
        assert "could not be written" in seen["error"]


def test_no_room_for_journals_beside_the_output_takes_the_next_place(job: Job, tmp_path: Path) -> None:
    with _small_disk(tmp_path / "small", "900k") as disk:
        seen = job("place", tmp_path / "job.h5", disk)
        assert not seen["journal"].startswith(str(disk))
        assert seen["warnings"] == []
        assert recover(tmp_path / "job.h5").status == "finished"


def test_a_read_only_folder(job: Job, tmp_path: Path) -> None:
    folder, home = tmp_path / "closed", tmp_path / "node"
    folder.mkdir()
    home.mkdir()
    with _small_disk(tmp_path / "small", "1m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        seen = job("place", disk / "job.h5", home)
        assert len(seen["warnings"]) == 1
        assert "cannot be written" in seen["warnings"][0]
        assert seen["journal"].startswith(str(home))
        strict = job("strict", disk / "job.h5", home)
        assert "cannot be written" in strict["error"]
    (folder_of_run,) = [path for path in home.iterdir() if list(path.glob("*-a001-*"))][:1]
    output = tmp_path / "small" / "job.h5"
    assert recover(output, force=True, journals=[folder_of_run]).status in ("finished", "failed")


@pytest.mark.parametrize("setting", ["TRUE", "FALSE", "BEST_EFFORT"])
def test_hdf5_locking_set_from_outside(setting: str, job: Job, tmp_path: Path) -> None:
    output = tmp_path / "job.h5"
    assert job("place", output, env={"HDF5_USE_FILE_LOCKING": setting})["warnings"] == []
    assert len(_rows(output, "loss")) == 15_000


def test_a_log_that_another_program_holds_is_closed_all_the_same(tmp_path: Path) -> None:
    """A viewer has the log open, and so its lock, while the run appends and ends."""
    output = tmp_path / "job.h5"
    run = provml.init("held", phase="learning", output=output)
    with run.training() as training:
        training.log(0, loss=1.0)
    run.flush()
    with h5py.File(partial_of(output), "r", swmr=True, libver="latest"):
        training.log(1, loss=2.0)
        run.flush()
        run.finish()
    assert _rows(output, "loss").tolist() == [0, 1]


def test_the_final_name_taken_by_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    output = tmp_path / "job.h5"
    run = provml.init("taken", phase="learning", output=output)
    with run.training() as training:
        training.log(0, loss=1.0)
        output.write_text("mine")
    with pytest.warns(provml.CaptureWarning, match="exists already"):
        run.finish()
    assert output.read_text() == "mine"
    output.unlink()
    assert recover(output).status == "finished"
    assert _rows(output, "loss").tolist() == [0]


def test_journals_are_private_and_planted_links_refused(tmp_path: Path) -> None:
    output = tmp_path / "job.h5"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    hidden_of(output).symlink_to(elsewhere)
    with pytest.warns(provml.CaptureWarning, match="is a link"):
        run = provml.init("link", phase="learning", output=output)
    run.finish()
    assert list(elsewhere.iterdir()) == []
    hidden_of(output).unlink()
    with provml.init("modes", phase="learning", output=output):
        assert hidden_of(output).stat().st_mode & 0o777 == 0o700
        journals = list(hidden_of(output).glob("*.journal"))
        assert journals
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in journals)


def test_the_process_may_not_be_able_to_write_at_all(tmp_path: Path) -> None:
    """With no place for a journal at all, a training goes on, and a strict one hears of it at once."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))"
    code = f"""
import signal, sys, warnings
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
{limit}
import provml_hpc as provml
try:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with provml.init("quota", phase="learning", output="job.h5", strict="strict" in sys.argv) as run:
            with run.training() as training:
                for step in range(1000):
                    training.log(step, loss=1.0)
                run.flush()
    print("went on,", len(caught), "warning:", caught[0].message)
except provml.ProvMLError as error:
    print(type(error).__name__, error)
"""
    results = []
    for mode in ("", "strict"):
        done = subprocess.run(
            [sys.executable, "-c", code, mode],
            cwd=tmp_path, env=launch.environment(), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        results.append(done.stdout)
    assert results[0].startswith("went on, 1 warning")
    assert "Error" in results[1]
