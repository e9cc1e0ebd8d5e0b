"""Going on in the same file: after a kill, after a finished run, again and again, and never beside a job that lives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import provml_hpc as provml
from provml_hpc.errors import FileBusyError, FormatError
from provml_hpc.storage.place import hidden_of, partial_of
from provml_hpc.storage.recover import recover
from provml_hpc.storage.tables import TablesFile
from tests.faults import acknowledged, guarantee, killing
from tests.mpi import launch

RANKS = 2
KILL = killing.Plan("after commit", "provml_hpc.transport.meeting:_understand", 3, False, 1)
IN_COMMIT = killing.Plan("append to commit", "provml_hpc.storage.output:Output.commit", 2, False, 0)

Job = Callable[..., launch.Result]


@pytest.fixture
def job(tmp_path: Path, mpi_run: Callable[..., launch.Result]) -> Job:
    """Return a function that runs one attempt of the victim's job in the temporary folder."""
    (tmp_path / "told").mkdir()

    def run(attempt: int, plan: killing.Plan | None = None) -> launch.Result:
        options = json.dumps({"attempt": attempt, "if_exists": "error" if attempt == 1 else "resume"})
        env = {killing.VARIABLE: plan.text() if plan else ""}
        done = mpi_run("victim.py", RANKS, [tmp_path / "job.h5", tmp_path / "told", options], env=env)
        guarantee.wait_until_free(tmp_path / "job.h5")
        assert (done.returncode == 0) == (plan is None), done.stderr
        return done

    return run


def _check(tmp_path: Path, attempts: int, status: str) -> None:
    result = guarantee.check(tmp_path / "job.h5", tmp_path / "told", RANKS, attempts=attempts)
    assert result is not None
    assert result.status == status
    with TablesFile(tmp_path / "job.h5") as file:
        assert file.attributes["details"]["attempts"] == list(range(1, attempts + 1))
        rows = list(file.table("records", "Attempt").rows())
        assert sorted(row["attempt"] for row in rows) == list(range(1, attempts + 1))


def test_resume_after_a_kill(job: Job, tmp_path: Path) -> None:
    job(1, KILL)
    job(2)
    _check(tmp_path, 2, "finished")


def test_resume_after_a_finished_run(job: Job, tmp_path: Path) -> None:
    job(1)
    job(2)
    _check(tmp_path, 2, "finished")


def test_three_attempts_killed_finished_killed(job: Job, tmp_path: Path) -> None:
    job(1, KILL)
    job(2)
    job(3, IN_COMMIT)
    _check(tmp_path, 3, "recovered")


def test_resume_after_a_recovery(job: Job, tmp_path: Path) -> None:
    job(1, IN_COMMIT)
    recover(tmp_path / "job.h5")
    job(2, KILL)
    recover(tmp_path / "job.h5")
    job(3)
    _check(tmp_path, 3, "finished")


@pytest.mark.parametrize(
    ("target", "after", "following"),
    [
        ("provml_hpc.storage.output:reopen", True, 2),
        ("provml_hpc.storage.reopened:LogWriter.create", True, 2),
        ("provml_hpc.storage.log:LogWriter.append", False, 2),
        ("provml_hpc.storage.log:LogWriter._write_commit", False, 2),
        ("provml_hpc.storage.output:LogWriter.reopen", False, 2),
        ("provml_hpc.storage.log:LogWriter._copy", True, 2),
        ("provml_hpc.storage.output:Output._resume", True, 3),
    ],
)
def test_a_resume_that_is_killed_loses_nothing_of_the_closed_file(
    target: str, after: bool, following: int, job: Job, tmp_path: Path
) -> None:
    """`following` is the attempt that comes next: the number of one that had begun is not given again."""
    job(1)
    job(2, killing.Plan("resume", target, 1, after, 0))
    shutil.copytree(tmp_path, tmp_path.with_name(tmp_path.name + "-copy"))
    other = tmp_path.with_name(tmp_path.name + "-copy")
    assert recover(other / "job.h5", force=True).status in ("finished", "recovered")
    guarantee.check_content(guarantee.in_closed(other / "job.h5"), other / "told", [(1, 0), (1, 1)], flushed=False)
    job(following)
    found = guarantee.in_closed(tmp_path / "job.h5")
    everything = [(attempt, rank) for attempt in (1, following) for rank in range(RANKS)]
    guarantee.check_content(found, tmp_path / "told", everything, flushed=False)
    assert set(found[0]) == set(everything)


def test_journals_that_come_after_the_recovery_are_merged(job: Job, tmp_path: Path) -> None:
    output, told = tmp_path / "job.h5", tmp_path / "told"
    job(1, killing.Plan("seal", "provml_hpc.journal:Segment.seal", 2, False, 1))
    aside = tmp_path / "node"
    aside.mkdir()
    for path in hidden_of(output).glob("*-r00001-l0-*.journal"):
        shutil.move(path, aside / path.name)
    recover(output)
    acks = acknowledged.read(acknowledged.file_of(told, 1, 1))
    before = guarantee.in_closed(output)[0]
    assert len(before.get((1, 1), ())) < acks["samples"], "the journal was not needed, so this shows nothing"
    assert recover(output, journals=[aside]).taken > 0
    guarantee.check_content(guarantee.in_closed(output), told, [(1, 0), (1, 1)], flushed=False)
    assert not list(aside.iterdir())
    _check(tmp_path, 1, "recovered")


def test_resume_and_recover_refuse_while_the_job_lives(tmp_path: Path) -> None:
    output = tmp_path / "job.h5"
    with provml.init("alive", phase="learning", output=output) as run:
        with run.training() as training:
            training.log(0, loss=1.0)
        run.flush()
        done = guarantee.recover_in_child(output)
        assert done.returncode == 1
        assert "FileBusyError" in done.stderr
        with pytest.raises(FileBusyError):
            recover(output)
        with pytest.raises(FileBusyError):
            provml.init("alive", phase="learning", output=output, if_exists="resume")
    assert recover(output).status == "finished"


def test_ranks_may_outlive_the_one_that_wrote(tmp_path: Path) -> None:
    """The writer's lock is free then, and their journals are still written: nobody may take those."""
    output = tmp_path / "job.h5"
    script = (
        "import sys\nimport provml_hpc as provml\n"
        "run = provml.init('job', phase='learning', output='job.h5')\n"
        "run.log(0, loss=1.0)\n"
        "run._session.storage.let_go()\n"
        "print('ready', flush=True)\nsys.stdin.read(1)\n"
        "run.log(1, loss=1.0)\n"
        "import os\nos._exit(0)\n"
    )
    rank = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=launch.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert rank.stdin is not None
    assert rank.stdout is not None
    assert rank.stdout.readline() == b"ready\n"
    before = {path.name for path in hidden_of(output).glob("*.journal")}
    with pytest.raises(FileBusyError, match=f"rank 0 lives, as process {rank.pid}"):
        recover(output)
    with pytest.raises(FileBusyError, match="rank 0 lives"):
        provml.init("job", phase="learning", output=output, if_exists="resume")
    assert before <= {path.name for path in hidden_of(output).glob("*.journal")}
    rank.communicate(b"!", timeout=60)
    assert recover(output).status == "recovered"
    with TablesFile(output) as file:
        assert sum(table.count for table in file.samples() if "loss" in table.measures) == 2


def test_resuming_what_is_not_a_run_says_so(tmp_path: Path) -> None:
    output = tmp_path / "job.h5"
    output.write_bytes(b"something else")
    with pytest.raises(FormatError, match="not an HDF5 file"):
        provml.init("other", phase="learning", output=output, if_exists="resume")
    assert output.read_bytes() == b"something else"
    partial_of(output).write_bytes(b"something else")
    output.unlink()
    with pytest.raises(FileBusyError, match="may belong to a job that lives"):
        provml.init("other", phase="learning", output=output, if_exists="resume")
    with pytest.raises(FormatError):
        recover(output, force=True)
    assert partial_of(output).read_bytes() == b"something else"


def test_a_journal_that_was_killed_before_it_had_a_head_is_cleared_away(tmp_path: Path) -> None:
    output = tmp_path / "job.h5"
    script = (
        "import os, signal\nimport provml_hpc as provml\n"
        "run = provml.init('job', phase='learning', output='job.h5')\n"
        "run.log(0, loss=1.0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    headless = hidden_of(output) / "0123abcd-a001-r00000-l1-s000.journal"
    headless.write_bytes(b"")
    assert recover(output).taken > 0
    assert not hidden_of(output).exists()
