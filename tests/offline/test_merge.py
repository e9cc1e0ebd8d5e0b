"""`provml merge` on files of ranks that ran apart, one after the other in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import provml_hpc as provml
from provml_hpc.capture import apart
from provml_hpc.storage import unpacked
from provml_tools import cli

STEPS = 3000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def worker(monkeypatch: pytest.MonkeyPatch, rank: int, *, run: str = "job-7", ranks: int = 2) -> Path:
    """Be one worker of torchrun, on a node of its own."""
    told = {"RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": 1, "TORCHELASTIC_RUN_ID": run, "MASTER_ADDR": "n0"}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))
    apart._opened.clear()  # as in a process of its own
    with provml.init("apart", phase="learning", output="job.h5", telemetry=False) as job:
        for name in ("first", "second"):
            with job.training(name) as training:
                for step in range(STEPS):
                    training.log(step, loss=step + rank / 10)
                for step in range(rank):  # as many as the rank's number: none of the first one
                    training.log(step, extra=float(step), other=-1.0)
        return job.output


def test_samples_of_many_tables_and_blocks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacked, "_ROWS", 1000)
    files = [str(worker(monkeypatch, rank, ranks=3)) for rank in range(3)]
    assert cli.main(["merge", *files, "-o", "job.h5"]) == 0
    # What a merge made is merged again, which takes three ranks apart.
    assert cli.main(["merge", "job.h5", files[0], "-o", "again.h5"]) == 0
    assert (folder / "job.h5").read_bytes() == (folder / "again.h5").read_bytes()
    with provml.open("job.h5") as run:
        assert (run.status, len(run.activities.where(kind="TrainingExecution"))) == ("finished", 2)
        for name in ("first", "second"):
            for rank in range(3):
                loss = run.samples("loss", activity=name, rank=rank)
                np.testing.assert_array_equal(loss["step"], np.arange(STEPS))
                np.testing.assert_array_equal(loss["value"], np.arange(STEPS) + rank / 10)
                with provml.open(files[rank]) as alone:
                    np.testing.assert_array_equal(alone.samples("loss", activity=name)["time_ns"], loss["time_ns"])
                    assert len(run.samples("extra", activity=name, rank=rank)) == rank


def test_what_is_said_and_how_it_ends(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first = worker(monkeypatch, 0)
    capfd.readouterr()
    assert cli.main(["merge", str(first), "-o", "part.h5"]) == 0
    assert capfd.readouterr().out.startswith(f"{folder / 'part.h5'} holds ranks 0 of run ")
    assert cli.main(["merge", str(first), "-o", "part.h5"]) == 1
    assert "part.h5 exists already" in capfd.readouterr().err
    assert cli.main(["merge", str(first), "gone.h5", "-o", "x.h5"]) == 1
    assert "there is neither" in capfd.readouterr().err
    assert cli.main(["merge", str(first), str(first), "-o", "x.h5"]) == 2
    assert "given twice" in capfd.readouterr().err
    (folder / "earlier").mkdir()
    first.rename(folder / "earlier" / "job.h5")
    other = worker(monkeypatch, 0, run="job-8")
    assert cli.main(["merge", "earlier/job.h5", str(other), "-o", "x.h5"]) == 2
    said = capfd.readouterr().err
    assert said.startswith("provml merge: error: earlier/job.h5 is of run ")
    assert said.count("\n") == 1
    assert cli.main(["merge", str(other), "-o", "nowhere/x.h5"]) == 2
    assert not (folder / "x.h5").exists()
    left = {path.name for path in folder.iterdir()}
    assert left == {"earlier", "part.h5", other.name}


def test_two_files_that_say_different_things_of_a_rank(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = worker(monkeypatch, 0)
    first.rename(folder / "one.h5")
    second = worker(monkeypatch, 0)  # the same launch has it again, which nobody but a person can bring about
    assert cli.main(["merge", "one.h5", str(second), "-o", "x.h5"]) == 2
    assert not (folder / "x.h5").exists()


def test_a_later_job_goes_on_in_the_file_of_the_last_attempt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    again = worker(monkeypatch, 0)
    assert again.name == "job-rank0-attempt2.h5"
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "later")
    apart._opened.clear()
    with provml.init("apart", phase="learning", output="job.h5", telemetry=False, if_exists="resume") as job:
        assert job.output == again
        job.log_params({"x": 1})
    with provml.open(again) as run:
        assert run.run.details["attempts"] == [2, 3]
        assert len(run.samples("loss")) == 2 * STEPS
