"""What the doctor makes of a run that was tried, by one process or by the ranks of a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provml_hpc.environment.launcher import PMI, PMIX, Launch
from provml_tools.doctor import BROKEN, NOTE, OK, Finding, job
from provml_tools.doctor.children import Answer
from tests import standin

GIB = 1 << 30


def rank(number: int, node: str = "n0", **more: Any) -> dict[str, Any]:
    told = {"rank": number, "node": node, "variable": "", "gpus": None, "processors": 2, "devices": [], "on_node": 0}
    return {**told, "nvml": "", "memory": 16 * GIB, "memory_of": "the scheduler", **more}


def journal(number: int, node: str = "n0", place: str = "/out", kind: str = "lustre") -> dict[str, Any]:
    return {"rank": number, "node": node, "journal": place, "beside": place == "/out", "kind": kind}


def ran(*flush: float, journals: list[dict[str, Any]] | None = None, troubles: tuple[str, ...] = ()) -> dict[str, Any]:
    more = {"journals": journals or [journal(0)], "troubles": list(troubles)}
    return {"flush": list(flush), "init": 0.25, "close": 1.5, **more}


def findings(
    ranks: list[dict[str, Any]], run: dict[str, Any] | None = None, launched: Launch | None = None
) -> dict[str, Finding]:
    steps: dict[str, dict[str, Any]] = {"ranks": {"ranks": ranks}} if ranks else {}
    answer = Answer(steps | ({"run": run} if run else {}), "" if run else "no answer in 1 s")
    launched = launched or Launch(PMI, "x", 0, len(ranks))
    return {one.name: one for one in job.findings(answer, launched, together=True)}


def test_ranks_on_nodes() -> None:
    found = findings([rank(at, f"n{at // 3}") for at in range(5)], ran(0.01))["together"]
    assert (found.state, found.found) == (OK, "5 on 2 nodes (n0: 0-2; n1: 3-4)")
    assert found.details["nodes"] == {"n0": [0, 1, 2], "n1": [3, 4]}


def test_ranks_that_are_fewer_than_were_launched_or_not_heard_of() -> None:
    launched = Launch(PMIX, "srun", 0, 4)
    assert findings([rank(0)], ran(0.01), launched)["together"].state == BROKEN
    alone = findings([], None, launched)
    assert list(alone) == ["together"]
    assert "no answer in 1 s" in alone["together"].found


@pytest.mark.parametrize(
    ("ranks", "state", "text"),
    [
        ([rank(0), rank(1)], NOTE, "none are seen (the driver names none)"),
        ([rank(0, nvml="no library")], NOTE, "none are seen (n0: no library)"),
        ([rank(0, on_node=4)], NOTE, "no variable says which rank has which device"),
        (
            [rank(0, gpus="0", devices=["gpu0 A100"]), rank(1, gpus="1", devices=["gpu1 A100"])],
            OK,
            "n0: 0 -> gpu0 A100; 1 -> gpu1 A100",
        ),
        ([rank(0, gpus="0,1", devices=["gpu0", "gpu1"]), rank(1, gpus="0,1")], NOTE, "0 -> gpu0, gpu1"),
        ([rank(0, gpus="0", nvml="not installed")], NOTE, "0 -> 0"),
        ([rank(0, gpus="", nvml="")], OK, "0 -> none"),
    ],
)
def test_which_rank_was_given_which_device(ranks: list[dict[str, Any]], state: str, text: str) -> None:
    found = findings(ranks, ran(0.01))["GPUs"]
    assert (found.state, text in found.found) == (state, True), found


def test_where_journals_lay_and_what_they_take_of_memory() -> None:
    ranks = [rank(at, f"n{at // 2}") for at in range(4)]
    beside = findings(ranks, ran(0.01, journals=[journal(at, f"n{at // 2}") for at in range(4)]))["journals"]
    assert (beside.state, beside.found) == (OK, "n0: ranks 0-1 beside the output; n1: ranks 2-3 beside the output")
    there = [journal(0), journal(1), *(journal(at, "n1", "/dev/shm", "tmpfs") for at in (2, 3))]
    odd = findings(ranks, ran(0.01, journals=there))["journals"]
    assert odd.state == NOTE
    assert "n1: ranks 2-3 in /dev/shm, in memory: 0.8 % of 16 GiB (the scheduler)" in odd.found
    assert "provml rescue" in odd.remedy


def test_the_flush_that_was_measured() -> None:
    found = findings([rank(0)], ran(0.05, 0.01, 0.02))["flush"]
    assert found.state == OK
    assert found.found.startswith("20 ms for 62.5 KiB a rank (of 3: 10 ms to 50 ms), init 250 ms, end 1.5 s")
    assert found.meaning == "one a minute costs 0.033 % of the time"
    assert findings([rank(0)], ran(3.0))["flush"].state == NOTE
    ill = findings([rank(0)], ran(0.01, troubles=("the file could not be written",)))["flush"]
    assert (ill.state, ill.meaning) == (BROKEN, "the file could not be written")
    assert findings([rank(0)])["flush"].state == BROKEN


def test_a_run_that_is_tried_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in standin.environment(extra={"CUDA_VISIBLE_DEVICES": "1"}).items():
        monkeypatch.setenv(name, value)
    answer = job.attempt(tmp_path, 120, together=False)
    (found,) = job.findings(answer, Launch(), together=False)
    assert (found.topic, found.name, found.state) == ("Run", "flush", OK), answer
    assert len(found.details["flush_s"]) == job.FLUSHES
    (me,) = answer.steps["ranks"]["ranks"]
    assert me["devices"][0].startswith("gpu1 ")  # of the stand-in for NVML
    assert list(tmp_path.iterdir()) == []
    (found,) = job.findings(job.attempt(tmp_path / "gone", 120, together=False), Launch(), together=False)
    assert (found.state, found.found) == (BROKEN, "a run could not be tried: No such file or directory")
