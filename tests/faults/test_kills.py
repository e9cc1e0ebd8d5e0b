"""A short campaign: jobs killed at every phase, and now and then the recovery too. ``make faults`` is the long one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults import acknowledged, campaign, guarantee, killing, plans
from tests.mpi import launch


def _cases() -> list[killing.Plan]:
    """Return one plan for each target, before or after its call in turn, and a few random moments."""
    rng = random.Random(2)
    cases = []
    for phase, targets in plans.JOB.items():
        for target, rank, most in targets:
            who = plans.who(rng, rank, plans.RANKS)
            cases.append(killing.Plan(phase, target, 1 + most // 3, len(cases) % 2 == 0, who))
    moments = [killing.Plan("random moment", rank=r, delay_s=rng.uniform(0.05, 0.6)) for r in (0, 1, 2, -2)]
    return cases + moments


CASES = _cases()
OF_SEVERAL = [
    killing.Plan(phase, targets[-1][0], 1 + targets[-1][2] // 3, number % 2 == 0, 1)
    for number, (phase, targets) in enumerate(plans.JOB.items())
    if phase in ("gather", "append to commit", "after commit", "close", "publish", "begin")
]
"""One for each phase in which there is more than one file, where two ranks write and the second of them dies."""
OF_SEVERAL.append(killing.Plan("begin", "provml_hpc.storage.output:Output.claim", 1, True, 0))  # alone has a file yet


def _name(plan: killing.Plan) -> str:
    where = plan.target.partition(":")[2] or f"{plan.delay_s:.2f} s"
    return f"{plan.phase}-{'after' if plan.after else 'before'} {where}-{plan.call}-rank{plan.rank}".replace(" ", "_")


@pytest.mark.parametrize("plan", CASES, ids=_name)
def test_what_was_acknowledged_survives_a_kill(plan: killing.Plan, tmp_path: Path) -> None:
    campaign.one_kill(plan, tmp_path, random.Random(_name(plan)))


@pytest.mark.parametrize("plan", OF_SEVERAL, ids=_name)
def test_so_it_does_where_several_ranks_write(plan: killing.Plan, tmp_path: Path) -> None:
    campaign.one_kill(plan, tmp_path, random.Random(_name(plan)), writers=2)


def test_every_target_is_there() -> None:
    """A function that was renamed would end a job by an AttributeError, which looks like a kill."""
    targets = [target for cases in plans.JOB.values() for target, _, _ in cases]
    targets += [target for cases in plans.RECOVERY.values() for target, _ in cases]
    targets += [target for target, *_ in plans.DYING + plans.REBIND]
    for target in targets:
        owner, name = killing.find(target)
        assert callable(getattr(owner, name))


def test_the_cases_reach_every_phase(tmp_path: Path) -> None:
    """A target that is never called would kill nobody, and its test would say nothing."""
    assert {plan.phase for plan in CASES} >= set(plans.JOB)
    plan = killing.Plan("append to commit", "provml_hpc.storage.output:Output.commit", 2, False, 0)
    counts = campaign.one_kill(plan, tmp_path, random.Random(0))
    assert counts["kills"] == 1


@pytest.mark.parametrize("phase", plans.RECOVERY)
def test_a_recovery_may_be_killed_and_done_again(phase: str, tmp_path: Path) -> None:
    output, told = tmp_path / "job.h5", tmp_path / "told"
    told.mkdir()
    plan = killing.Plan("after commit", "provml_hpc.transport.meeting:Meeting._tell", 3, True, 0)
    env = {killing.VARIABLE: plan.text()}
    died = launch.mpi_run(campaign.VICTIM, plans.RANKS, [output, told], cwd=tmp_path, env=env)
    assert died.returncode != 0
    guarantee.wait_until_free(output)
    for target, most in plans.RECOVERY[phase]:
        for after in (False, True):
            guarantee.recover_in_child(output, killing.Plan(phase, target, 1 + most // 2, after, 0))
    assert guarantee.check(output, told, plans.RANKS) is not None
    assert acknowledged.read(acknowledged.file_of(told, 1, 0))["flushed_samples"] > 0


def test_the_check_sees_a_loss(tmp_path: Path) -> None:
    """What is said to be acknowledged and was never logged has to be missed, or the check checks nothing."""
    output, told = tmp_path / "job.h5", tmp_path / "told"
    told.mkdir()
    launch.mpi_run(campaign.VICTIM, 2, [output, told], cwd=tmp_path).check()
    guarantee.check(output, told, 2)
    counter = acknowledged.file_of(told, 1, 1)
    counted = acknowledged.read(counter)
    counter.write_bytes((counted["samples"] + 1).to_bytes(8, "little") + counter.read_bytes()[8:])
    with pytest.raises(guarantee.BrokenError, match="missing"):
        guarantee.check(output, told, 2)
