"""The time limit that only Slurm's controller knows, with a STAND-IN for scontrol; tests/slurm asks the real one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from provml_hpc.environment.asking import limit_facts
from provml_hpc.environment.facts import Fact

KNOWN = [Fact("scheduler.name", "slurm"), Fact("scheduler.job_id", "4711")]
# As scontrol of Slurm 22.05 writes it, cut down.
ROW = (
    "JobId=4711 JobName=a b UserId=u(1) JobState=RUNNING Reason=None Restarts=0 RunTime=00:00:01 TimeLimit={limit} "
    "TimeMin=N/A SubmitTime=1764000000 StartTime=1764000001 EndTime=1764003601 TRES=cpu=4,node=1"
)
Said = Callable[[str], dict[str, str]]


@pytest.fixture
def scontrol(tmp_path: Path) -> Said:
    """Return a function that puts a script in the place of ``scontrol``, and returns an environment that has it."""

    def put(script: str) -> dict[str, str]:
        program = tmp_path / "scontrol"
        program.write_text(f'#!/bin/sh\necho "$SLURM_TIME_FORMAT" "$@" >> {tmp_path}/asked\n{script}\n')
        program.chmod(0o755)
        return {"PATH": f"{tmp_path}:{os.defpath}"}

    return put


def found(environ: dict[str, str], *more: Fact, seconds: float = 60) -> dict[str, object]:
    facts = limit_facts([*KNOWN, *more], environ, seconds=seconds)
    return {fact.name.removeprefix("scheduler."): fact.value for fact in facts}


@pytest.mark.parametrize(
    ("limit", "seconds"), [("00:01:00", 60), ("12:30:05", 45005), ("2-00:00:00", 172800), ("10-01:00:00", 867600)]
)
def test_what_the_controller_says(limit: str, seconds: int, scontrol: Said, tmp_path: Path) -> None:
    environ = scontrol(f"echo '{ROW.format(limit=limit)}'")
    assert found(environ) == {"time_limit_s": seconds, "start_time": 1764000001, "end_time": 1764003601}
    assert (tmp_path / "asked").read_text() == "%s show job --oneliner 4711\n"


def test_what_is_known_is_not_asked_for(scontrol: Said, tmp_path: Path) -> None:
    environ = scontrol("exit 1")
    assert found(environ, Fact("scheduler.time_limit_s", 60)) == {}
    assert limit_facts([Fact("scheduler.name", "pbs"), Fact("scheduler.job_id", "1")], environ) == []
    # Variables that are not believed leave their reason alone, and no name of a scheduler.
    assert limit_facts([Fact("scheduler.reason", "leftovers")], environ) == []
    assert not (tmp_path / "asked").exists()
    environ = scontrol(f"echo '{ROW.format(limit='00:01:00')}'")
    assert found(environ, Fact("scheduler.start_time", 7)) == {"time_limit_s": 60, "end_time": 1764003601}


def test_a_task_of_an_array_is_asked_for_by_its_number(scontrol: Said, tmp_path: Path) -> None:
    """The last task of an array has the id of all; a line of another job is nothing to this one."""
    environ = scontrol(
        f"echo '{ROW.format(limit='00:01:00').replace('4711', '4710')}'; echo '{ROW.format(limit='01:00:00')}'"
    )
    array = Fact("scheduler.array_id", "4711"), Fact("scheduler.array_task", "9")
    assert found(environ, *array)["time_limit_s"] == 3600
    assert (tmp_path / "asked").read_text().endswith(" 4711_9\n")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", "Unable to contact"),
        ("exit 3", "scontrol: exit 3"),
        ("exec sleep 60", r"no answer within 0.5 s"),
        ("", "job 4711 is not there"),
        (f"echo '{ROW}' | sed s/RUNNING/COMPLETED/", "job 4711 is COMPLETED"),
        (f"echo '{ROW.format(limit='UNLIMITED')}'", "the limit is UNLIMITED"),
        ("printf 'JobId=4711 JobState=RUNNING \\377'", "the limit is not there"),
    ],
)
def test_what_it_does_not_say_is_a_fact(script: str, reason: str, scontrol: Said) -> None:
    ((name, value),) = found(scontrol(script), seconds=0.5 if "sleep" in script else 60).items()
    assert name == "time_limit_s.reason"
    assert reason in str(value)


def test_without_the_program(tmp_path: Path) -> None:
    assert found({"PATH": str(tmp_path)}) == {
        "time_limit_s.reason": "scontrol: there is no such program on the path of this node"
    }
    (tmp_path / "scontrol").write_text("no program\0")
    (tmp_path / "scontrol").chmod(0o755)
    assert "scontrol: " in str(found({"PATH": str(tmp_path)})["time_limit_s.reason"])
