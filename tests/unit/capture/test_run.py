"""A run: how it begins, what it refuses, how it ends on every path."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import pytest

import provml_hpc as provml
from provml_hpc import records, wire
from provml_hpc.capture.disagreements import sentence
from provml_hpc.capture.intake import LANE
from provml_hpc.storage.output import Output
from provml_hpc.storage.recover import recover
from provml_hpc.storage.tables import read_attributes
from tests.unit.capture.jobs import File, capture

ROOT = Path(__file__).resolve().parents[3]


def _script(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    head = "import provml_hpc as provml\nrun = provml.init('job', phase='learning', output='job.h5')\n"
    (folder / "job.py").write_text(head + text)
    return subprocess.run(
        [sys.executable, *options, "job.py"],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("phase", "training"),
        ("phase", None),
        ("if_exists", "overwrite"),
        ("buffer", "much"),
        ("buffer", 100),
        ("comm", "world"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path: Path, argument: str, value: Any) -> None:
    given = {"phase": "learning", "output": tmp_path / "job.h5", argument: value}
    with pytest.raises(provml.UsageError, match=r".+"):
        provml.init("job", **given)
    assert list(tmp_path.iterdir()) == []


def test_the_output_is_never_overwritten(tmp_path: Path) -> None:
    output = tmp_path / "job.h5"
    output.write_text("precious")
    with pytest.raises(provml.OutputExistsError, match="if_exists='new'"):
        provml.init("job", phase="learning", output=output)
    names = []
    for _ in range(2):
        with capture(tmp_path, if_exists="new") as job:
            names.append(job.run.output.name)
            with pytest.raises(provml.OutputExistsError, match="still runs"):
                provml.init("job", phase="learning", output=job.run.output)
        assert job.file.run.status == "finished"
    assert names == ["job-1.h5", "job-2.h5"]
    assert output.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job-1.h5", "job-2.h5", "job.h5"]


def test_a_relative_output_is_that_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with capture(tmp_path, output="job.h5") as job:
        monkeypatch.chdir(tmp_path / "elsewhere")
        job.run.log(0, loss=1.0)
        job.run.flush()
    assert job.run.output == tmp_path / "job.h5"
    assert job.file.run.status == "finished"


def test_journals_of_the_gone_stay_until_the_file_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Orphans:
        removed = 0

        def parcels(self) -> list[memoryview]:
            frame = wire.encode(records.Started(0, 2, 1, "host"), 1, 1)
            return [memoryview(LANE.pack(1, 0, 1, 1, len(frame), zlib.crc32(frame))), memoryview(frame)]

        def remove(self) -> None:
            self.removed += 1

    orphans = Orphans()
    with capture(tmp_path, warn=True) as job:
        session = job.run._session
        session.orphans = orphans  # type: ignore[assignment]
        with monkeypatch.context() as patch:
            patch.setattr(session.storage, "commit", lambda: 1 / 0)
            job.run.flush()
        assert session.orphans is orphans
        assert not orphans.removed
        job.run.flush()
        assert session.orphans is None
        assert orphans.removed == 1
    assert job.file.run.details["ranks"] == [0, 1]


def test_a_warning_points_at_the_users_line(tmp_path: Path) -> None:
    def in_a_call(run: provml.Run) -> None:
        run.log("no step", loss=1.0)

    def in_a_recorder(run: provml.Run) -> None:
        run.series("loss")(0, "no number")

    def behind_a_context_manager(run: provml.Run) -> None:
        run._session.transport.leave("no reason")
        run.flush()

    for number, cause in enumerate((in_a_call, in_a_recorder, behind_a_context_manager)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with provml.init("line", phase="learning", output=tmp_path / f"{number}.h5") as run:
                cause(run)
        first = cause.__code__.co_firstlineno
        assert [(one.filename, one.lineno > first, one.lineno < first + 4) for one in caught] == [
            (__file__, True, True)
        ]


def test_flush_inside_a_ranks_own_activity_warns_once_and_does_nothing(tmp_path: Path) -> None:
    with capture(tmp_path, warn=True) as job:
        run = job.run
        run.log(0, loss=0.0)
        run.flush()
        before = run._session.last_committed
        with run.activity("own") as own:
            for at in range(3):
                own.log(at, loss=1.0)
                run.flush()
        with run.training(local=True) as training, training.section("epoch", 0):
            run.flush()
        for _ in run.training().sections("batch", ["a", "b"]):
            run.flush()
        assert run._session.last_committed == before
        with run.training() as training:
            for _ in training.sections("epoch", 2):
                run.flush()
        assert run._session.last_committed > before
    assert len(job.warned) == 1
    assert "flush() inside a rank's own activity" in job.warned[0]
    assert job.file.run.status == "finished"


def test_after_the_end_nothing_is_recorded_and_that_is_said(tmp_path: Path) -> None:
    with capture(tmp_path) as job:
        training = job.run.training()
        training.log(0, loss=1.0)
        record = training.series("loss")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        training.log(1, loss=1.0)
        record(2, 1.0)
        training.log_params({"a": 1})
        job.run.use_dataset(tmp_path)
        with job.run.training() as late:
            late.log(0, loss=1.0)
        job.run.flush()
        job.run.finish()
    assert ["after the run had ended" in str(one.message) for one in caught] == [True]
    assert job.file.tables["training", ("loss",)]["step"].tolist() == [0]
    assert len(job.file.all("TrainingExecution")) == 1


def test_an_exception_ends_the_run_as_failed_and_gets_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), capture(tmp_path) as job, job.run.training() as training:
        training.log(0, loss=1.0)
        1 / 0  # noqa: B018
    file = File(tmp_path / "job.h5")
    assert file.run.status == "failed"
    assert [(one["error"], one["rank"]) for one in file.run.details["failures"]] == [("ZeroDivisionError", 0)]
    assert "division by zero" in file.run.details["failures"][0]["reason"]
    assert file.one("TrainingExecution")["outcome"] == "failed"
    assert file.tables["training", ("loss",)]["loss"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("text", "code", "status"),
    [
        ("run.log(0, loss=1.0)", 0, "finished"),
        ("run.log(0, loss=1.0)\nraise SystemExit(3)", 3, "finished"),
        ("run.log(0, loss=1.0)\nwith run: raise SystemExit(0)", 0, "finished"),
        ("run.log(0, loss=1.0)\nraise RuntimeError('lost')", 1, "failed"),
        ("run.log(0, loss=1.0)\nwith run: raise RuntimeError('lost')", 1, "failed"),
        (
            "run.log(0, loss=1.0)\nimport os\nif os.fork() == 0:\n    run.log(1, loss=2.0)\n    os._exit(0)",
            0,
            "finished",
        ),
    ],
    ids=["forgotten", "exit 3", "exit 0 within", "exception", "exception within", "fork"],
)
def test_a_run_that_was_not_ended_ends_with_the_interpreter(tmp_path: Path, text: str, code: int, status: str) -> None:
    done = _script(tmp_path, text, "-W", "error::UserWarning")
    assert done.returncode == code, done.stderr
    file = File(tmp_path / "job.h5")
    assert file.run.status == status
    assert file.tables["job", ("loss",)]["loss"].tolist() == [1.0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.h5", "job.py"]


def test_importing_is_light() -> None:
    code = (
        "import sys, provml_hpc, provml_hpc.capture; heavy = {'numpy', 'h5py', 'mpi4py', 'asyncio'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_facts_are_found_once(tmp_path: Path) -> None:
    provml.init("facts", phase="learning", output=tmp_path / "job.h5").finish()
    file = File(tmp_path / "job.h5")
    assert not file.faults
    run = file.one("LearningExperimentExecution")
    facts = file.parameters(run)
    assert {"user", "host"} & set(facts) or any(name.startswith(("user", "host")) for name in facts)
    assert len(file.all("Rank")) == len(file.all("ComputeNode")) == len(file.all("Job")) == 1
    assert {row["label"] for row in file.all("Software")} >= {"numpy", "h5py"}
    (code,) = file.all("Implementation")
    assert {row["label"] for row in file.objects("requires", code)} >= {"numpy"}
    # Nothing of the environment as a whole, and no secret.
    assert not any("PATH" in name or "SECRET" in name for name in facts)


def test_the_time_limit_is_asked_of_slurm_beside_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a STAND-IN for scontrol; tests/slurm has the real one."""
    row = "JobId=7 JobState=RUNNING TimeLimit=01:00:00 StartTime=100 EndTime=3700"
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho {row}\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "SLURMD_NODENAME": "n1"}.items():
        monkeypatch.setenv(name, value)
    provml.init("asked", phase="learning", output=tmp_path / "job.h5").finish()
    file = File(tmp_path / "job.h5")
    facts = file.parameters(file.one("LearningExperimentExecution"))
    assert facts["scheduler.time_limit_s"] == ("integer", "3600")
    assert facts["scheduler.end_time"] == ("integer", "3700")


def test_the_own_cost_is_that_of_all_attempts(tmp_path: Path) -> None:
    output, points = tmp_path / "job.h5", []
    for if_exists in ("error", "resume", "resume"):
        with provml.init("again", phase="learning", output=output, if_exists=if_exists) as run:
            for _ in range(len(points) + 1):
                run.flush()
        points.append(read_attributes(output)["details"]["cost"]["flush_points"]["0"])
    # Of one, two and three flush points and the end of each attempt; the last of those is known of the last attempt.
    assert points == [1 + 1, 1 + 2 + 1, 1 + 2 + 3 + 1]


def test_code_that_no_script_holds_needs_packages_too(tmp_path: Path) -> None:
    code = "import provml_hpc as p; p.init('prompt', phase='learning', output='job.h5').finish()"
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    file = File(tmp_path / "job.h5")
    (session,) = file.all("Implementation")
    assert (session["label"], session["version"]) == ("interactive session", "")
    assert {row["label"] for row in file.objects("requires", session)} >= {"numpy", "h5py"}


def test_what_ranks_disagree_about_is_one_sentence() -> None:
    parameters = {"about": "parameters", "name": "t", "ranks": [[0, 1], [2, 3, 4, 5, 6]]}
    count = {"about": "count", "name": "it's", "groups": [{"count": 1, "ranks": [1]}, {"count": 2, "ranks": [0]}]}
    assert sentence([]) == ""
    told = sentence([parameters, count, count, count, count])
    assert "in the parameters of 't' (0,1 / 2,3,4,5,...)" in told
    assert 'in the number of "it\'s" (1 on 1, 2 on 0)' in told
    assert "and in 2 more" in told
    assert "local=True" in told


def test_an_output_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(provml.UsageError, match="there is no folder"):
        provml.init("job", phase="learning", output=tmp_path / "nowhere" / "job.h5")
    assert list(tmp_path.iterdir()) == []


def test_what_was_dropped_is_counted_up_to_the_last_thousand_also_after_a_kill(tmp_path: Path) -> None:
    steps = 30_000
    script = f"""
import os, signal
import provml_hpc as provml
run = provml.init("job", phase="learning", output="job.h5", buffer="64 KiB")
for step in range({steps}):
    run.log(step, loss=1.0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / "job.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "job.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        timeout=60,
    )
    assert done.returncode == -9
    recover(tmp_path / "job.h5")
    with provml.open(tmp_path / "job.h5") as file:
        kept = len(file.samples("loss"))
        (dropped,) = file.run.details["dropped"]
    assert dropped["reason"] == "buffer full"
    assert steps - 1000 <= kept + dropped["count"] <= steps


@pytest.mark.parametrize("place", ["output", "node"])
def test_what_a_thread_logs_as_the_file_is_closed_is_kept_for_a_recovery(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "node").mkdir()
    monkeypatch.setenv("SLURM_TMPDIR", str(tmp_path / "node"))
    output = tmp_path / "job.h5"
    run = provml.init("threads", phase="learning", output=output, journal=place)
    training = run.training()
    training.log(0, loss=0.0)
    close = Output.close

    def late(self: Output, *how: Any, **more: Any) -> Any:
        thread = threading.Thread(target=training.log, args=(1,), kwargs={"loss": 1.0})
        thread.start()
        thread.join()
        return close(self, *how, **more)

    monkeypatch.setattr(Output, "close", late)
    with pytest.warns(provml.CaptureWarning, match="provml recover"):
        run.finish()
    monkeypatch.undo()
    with provml.open(output) as file:
        assert (file.status, file.samples(measure="loss")["step"].tolist()) == ("finished", [0])
    assert list((tmp_path / "node").iterdir()) == []
    assert recover(output).taken
    with provml.open(output) as file:
        assert (file.status, file.samples(measure="loss")["step"].tolist()) == ("finished", [0, 1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.h5", "node"]


def test_a_flush_point_that_was_interrupted_in_the_middle_takes_nothing_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    appended, real = [], Output.append

    def append(self: Output, *arguments: Any) -> None:
        appended.append(self)
        if len(appended) == 2:
            raise KeyboardInterrupt
        real(self, *arguments)

    run = provml.init("job", phase="learning", output=tmp_path / "job.h5", comm="self", buffer="64 KiB")
    with pytest.raises(KeyboardInterrupt), run, run.training() as training:
        for number in range(40):
            training.log_params({f"p{number}": "x" * 4000})
        monkeypatch.setattr(Output, "append", append)
        run.flush()
    assert len(appended) > 2, "the journal is sent once more as the run ends"
    file = File(tmp_path / "job.h5")
    assert not file.faults
    assert len(file.all("LearningHyperparameterValue")) == 40
