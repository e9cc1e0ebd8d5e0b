"""Which openings on which ranks are one activity, and when and how it ended."""

from __future__ import annotations

import pytest

from provml_hpc import records, wire
from provml_hpc.assembly.graph import ABSENT
from tests.unit.assembly.builder import EVALUATION, SECTION, STEP, TRAINING, FakeFrames


def test_ranks_that_open_the_same_stage_take_part_in_one_activity() -> None:
    frames = FakeFrames(4)
    handles = [rank.open(TRAINING, "training") for rank in frames.ranks()]
    for rank, handle in zip(frames.ranks(), handles, strict=True):
        for index in range(3):
            rank.close(rank.section(handle, index))
        rank.close(handle)
        rank.end()
    view = frames.view()
    training = view.one(TRAINING)
    assert (training["ranks"], training["outcome"]) == ("0-3", "completed")
    assert [row["ranks"] for row in view.all(SECTION)] == ["0-3"] * 3
    parts = view.to(training, "isPartOf")
    by_rank = [row for row in parts if view.class_of[row["id"]] == "RankExecution"]
    assert sorted(row["rank"] for row in by_rank) == [0, 1, 2, 3]
    assert training["start_ns"] == min(row["start_ns"] for row in by_rank)
    assert training["end_ns"] == max(row["end_ns"] for row in by_rank)
    assert len({row["start_ns"] for row in by_rank}) == 4


def test_the_second_opening_of_a_name_is_a_second_activity() -> None:
    frames = FakeFrames(2)
    for rank in frames.ranks():
        for _ in range(2):
            rank.close(rank.open(EVALUATION, "test"))
        rank.end()
    assert [row["ranks"] for row in frames.view().all(EVALUATION)] == ["0-1", "0-1"]


def test_equal_keys_are_one_activity_whatever_was_opened_before() -> None:
    frames = FakeFrames(2)
    first, second = frames.ranks()
    for key in ("a", "b"):
        first.close(first.open(TRAINING, "fold", key=key))
    for key in ("b", "a", "c"):
        second.close(second.open(TRAINING, "fold", key=key))
    ranks = sorted(row["ranks"] for row in frames.view().all(TRAINING))
    assert ranks == ["0-1", "0-1", "1"]


def test_a_key_stands_in_the_place_of_a_sections_index() -> None:
    frames = FakeFrames(2)
    for place, rank in enumerate(frames.ranks()):
        stage = rank.open(TRAINING)
        rank.section(stage, place, kind="file", key="str:x.sgy")
    assert [row["ranks"] for row in frames.view().all(SECTION)] == ["0-1"]


def test_a_rank_that_comes_back_to_a_key_has_one_part_from_first_to_last() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    for _ in range(2):
        rank.close(rank.open(TRAINING, "slice", key="k"))
    rank.end()
    view = frames.view()
    training = view.one(TRAINING)
    (part,) = [row for row in view.to(training, "isPartOf") if view.class_of[row["id"]] == "RankExecution"]
    assert (part["start_ns"], part["end_ns"]) == (training["start_ns"], training["end_ns"])
    assert training["end_ns"] - training["start_ns"] == 3 * 10**9


def test_own_activities_and_what_is_inside_them_stay_apart() -> None:
    frames = FakeFrames(3)
    for rank in frames.ranks():
        for _ in range(4):
            own = rank.open(STEP, "clean", own=True)
            inner = rank.open(TRAINING, "inner", own)
            rank.section(inner, 0)
            rank.close(own)
    view = frames.view()
    assert [len(view.all(cls)) for cls in (STEP, TRAINING, SECTION)] == [12, 12, 12]
    step = view.all(STEP)[0]
    assert not [row for row in view.to(step, "isPartOf") if view.class_of[row["id"]] == "RankExecution"]
    assert "Rank" in {view.class_of[row["id"]] for row in view.of(step, "wasAssociatedWith")}


def test_ranks_that_disagree_in_parameters_are_recorded_apart_and_listed() -> None:
    frames = FakeFrames(4)
    for number, rank in enumerate(frames.ranks()):
        stage = rank.open(TRAINING, "training", signature="a" if number != 2 else "b")
        rank.close(rank.section(stage, 0))
        rank.close(stage)
    view = frames.view()
    assert sorted(row["ranks"] for row in view.all(TRAINING)) == ["0-1,3", "2"]
    assert sorted(row["ranks"] for row in view.all(SECTION)) == ["0-1,3", "2"]
    (listed,) = view.graph.run.details["disagreements"]
    assert (listed["about"], listed["name"], listed["ranks"]) == ("parameters", "training", [[0, 1, 3], [2]])
    assert listed["activity"] == view.one(TRAINING, ranks="0-1,3")["uuid"]


def test_ranks_that_disagree_in_count_are_listed_once_they_are_through() -> None:
    frames = FakeFrames(3)
    stages = [rank.open(TRAINING) for rank in frames.ranks()]
    for number, (rank, stage) in enumerate(zip(frames.ranks(), stages, strict=True)):
        for index in range(2 if number else 5):
            rank.close(rank.section(stage, index))
    assert frames.view().graph.run.details["disagreements"] == []
    for rank, stage in zip(frames.ranks(), stages, strict=True):
        rank.close(stage)
    (listed,) = frames.view().graph.run.details["disagreements"]
    assert (listed["about"], listed["name"]) == ("count", "epoch")
    assert listed["groups"] == [{"count": 2, "ranks": [1, 2]}, {"count": 5, "ranks": [0]}]


def test_a_stage_that_one_rank_opens_is_no_disagreement() -> None:
    frames = FakeFrames(2)
    rank = frames.rank(0)
    rank.close(rank.open(EVALUATION))
    for one in frames.ranks():
        one.end()
    assert frames.view().graph.run.details["disagreements"] == []


@pytest.mark.parametrize("outcome", [records.COMPLETED, records.FAILED])
def test_a_section_left_early_takes_the_outcome_of_what_encloses_it(outcome: str) -> None:
    frames = FakeFrames()
    rank = frames.rank()
    stage = rank.open(TRAINING)
    fold = rank.section(stage, 0, "fold")
    rank.close(rank.section(fold, 0), records.LEFT)
    rank.close(fold, records.LEFT)
    rank.close(stage, outcome)
    rank.end()
    assert [row["outcome"] for row in frames.view().all(SECTION)] == [outcome, outcome]


def test_a_section_left_early_in_what_is_still_open_is_completed() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    stage = rank.open(TRAINING)
    rank.close(rank.section(stage, 0), records.LEFT)
    view = frames.view()
    assert (view.one(SECTION)["outcome"], view.one(TRAINING)["outcome"]) == ("completed", "open")


def test_an_end_also_ends_what_is_open_inside() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    stage = rank.open(TRAINING)
    rank.section(rank.section(stage, 0, "fold"), 0)
    rank.close(stage)
    late = rank.open(EVALUATION, "late", stage)
    rank.end(records.FAILED, "ValueError")
    view = frames.view()
    assert {row["end_ns"] for row in view.all(SECTION)} == {view.one(TRAINING)["end_ns"]}
    assert late
    assert view.one(EVALUATION)["outcome"] == "completed", "what it stands in had completed"
    assert view.one("LearningExperimentExecution")["outcome"] == "failed"
    assert [failure["error"] for failure in view.graph.run.details["failures"]] == ["ValueError"]


def test_one_open_rank_leaves_the_activity_open_and_one_failed_rank_fails_it() -> None:
    frames = FakeFrames(3)
    handles = [rank.open(TRAINING) for rank in frames.ranks()]
    frames.rank(0).close(handles[0])
    assert (frames.view().one(TRAINING)["outcome"], frames.view().one(TRAINING)["end_ns"]) == ("open", ABSENT)
    frames.rank(1).close(handles[1], records.FAILED)
    row = frames.view().one(TRAINING)
    assert (row["outcome"], row["end_ns"]) == ("failed", ABSENT)


def test_a_run_is_open_until_every_rank_was_heard_of() -> None:
    frames = FakeFrames(2)
    frames.rank(0).end()
    assert frames.view().one("LearningExperimentExecution")["outcome"] == "open"
    frames.rank(1).end()
    assert frames.view().one("LearningExperimentExecution")["outcome"] == "completed"


@pytest.mark.parametrize("left_something", [True, False])
def test_those_who_went_on_without_a_rank_say_how_it_ended(left_something: bool) -> None:
    frames = FakeFrames(3)
    who = [rank for rank in frames.ranks() if left_something or rank.source.rank != 1]
    handles = [rank.open(TRAINING) for rank in who]
    frames.rank(0)(records.Lost(1, 0, "its process died"))
    frames.rank(0)(records.Lost(1, 1, "its process died"))
    for rank, handle in zip(who, handles, strict=True):
        if rank.source.rank != 1:
            rank.close(handle)
            rank.end()
    view = frames.view()
    training = view.one(TRAINING)
    assert training["outcome"] == "completed"
    assert training["end_ns"] != ABSENT
    run = view.one("LearningExperimentExecution")
    assert (run["outcome"], view.one("Attempt")["outcome"]) == ("completed", "completed")
    details = view.graph.run.details
    assert details["silent"] == [1]
    ((lost),) = details["lost"]
    assert (lost["rank"], lost["adopted"], lost["reason"]) == (1, True, "its process died")
    outcomes = {row["rank"]: row["outcome"] for row in view.to(training, "isPartOf")}
    assert outcomes == {row.source.rank: "open" if row.source.rank == 1 else "completed" for row in who}


def test_attempts_are_parts_of_the_run_and_the_last_one_decides() -> None:
    frames = FakeFrames()
    first, second = frames.rank(attempt=1), frames.rank(attempt=2)
    first.open(TRAINING)
    second.close(second.open(TRAINING))
    second.end()
    view = frames.view()
    run = view.one("LearningExperimentExecution")
    assert [row["outcome"] for row in view.all("Attempt")] == ["open", "completed"]
    assert (run["outcome"], run["attempt"]) == ("completed", 2)
    assert [row["outcome"] for row in view.all(TRAINING)] == ["open", "completed"], "two, one an attempt"
    assert {row["uuid"] for row in view.of(view.all("Attempt")[0], "isPartOf")} == {run["uuid"]}
    assert view.graph.run.details["attempts"] == [1, 2]


def test_an_opening_of_an_unknown_class_is_its_parents() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    stage = rank.open(TRAINING)
    for code in (9999, 1, 14):
        strange = rank(records.Opened(code, stage, 0, 1, 0, "x", "", "", "", "", "", "", ""))
        rank.close(rank.section(strange, code))
        rank.close(strange)
    view = frames.view()
    assert len(view.all(SECTION)) == 3
    assert {row["uuid"] for section in view.all(SECTION) for row in view.of(section, "isPartOf")} >= {
        view.one(TRAINING)["uuid"]
    }
    assert view.one(TRAINING)["outcome"] == "open"


def test_a_source_whose_first_record_is_lost_has_the_clock_of_the_ranks_other_lane() -> None:
    frames = FakeFrames()
    rank, side = frames.rank(), frames.rank(lane=1)
    rank.open(TRAINING)
    side(records.Fact("rank", "x", "text", "y"))
    whole = frames.view()
    rank.open_block = rank.open_block[wire.HEADER.unpack_from(rank.open_block)[0] :]
    assert frames.view().one(TRAINING)["start_ns"] == whole.one(TRAINING)["start_ns"]


def test_deep_nesting_does_not_overflow() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    handle = rank.open(TRAINING)
    for _ in range(3000):
        handle = rank.section(handle, 0, "deeper")
    rank.end(records.FAILED)
    assert {row["outcome"] for row in frames.view().all(SECTION)} == {"failed"}


def test_a_number_of_ranks_that_no_job_has_is_damage_and_takes_no_memory() -> None:
    frames = FakeFrames(2**31)
    rank = frames.rank()
    rank.open(TRAINING)
    rank.end()
    details = frames.view().graph.run.details
    assert (details["sizes"], details["silent"]) == ([0], [])
