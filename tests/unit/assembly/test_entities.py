"""Versions, contents and references: the traps of identity, each with the graph that must come of it."""

from __future__ import annotations

import pytest

from provml_hpc import records, wire
from tests.unit.assembly.builder import EVALUATION, GONE, STEP, TRAINING, FakeFrames, View, Writer

OLD = (7, 10, 1)
"""A file of ten bytes that was there long before the run."""


def make_settled(rank: Writer, cls: str, path: str, activity: int, digest: str, inode: int = 5) -> int:
    handle = rank.make(cls, path, GONE, activity=activity)
    look = (inode, 10, rank.frames.second)
    rank.settle(handle, look)
    rank.digest(path, look, digest)
    return handle


def look_of(view: View, cls: str) -> tuple[int, int]:
    row = view.one(cls)
    return row["size"], row["modified_ns"]


def test_a_restored_best_checkpoint_is_a_second_version_of_the_same_bytes() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    stage = rank.open(TRAINING)
    previous, first = 0, 0
    for index, digest in enumerate(("sha256:aa", "sha256:bb", "sha256:aa")):  # the third is the first, restored
        epoch = rank.section(stage, index)
        handle = make_settled(rank, "Model", "/m/best.npz", epoch, digest)
        first = first or handle
        if previous:
            rank(records.Derived(handle, first if index == 2 else previous, int(index != 2)))
        rank.close(epoch)
        previous = handle
    rank.end()
    view = frames.view()
    models = view.all("Model")
    assert [view.contents(row) for row in models] == [["aa"], ["bb"], ["aa"]]
    assert view.of(models[1], "wasRevisionOf") == [models[0]]
    assert view.of(models[2], "wasDerivedFrom") == [models[0]]
    assert view.of(models[2], "wasRevisionOf") == []
    assert len(view.all("Content")) == 2
    assert len(view.all("DataReference")) == 1


@pytest.mark.parametrize("reader", [0, 1])
def test_a_step_that_leaves_its_file_as_it_was_does_not_read_its_own_product(reader: int) -> None:
    frames = FakeFrames(2)
    ranks = frames.ranks()
    steps = [rank.open(STEP, "normalise") for rank in ranks]
    ranks[reader].read("Dataset", "/d/x.csv", OLD, activity=steps[reader])
    ranks[reader].digest("/d/x.csv", OLD, "sha256:aa")
    made = ranks[0].make("Dataset", "/d/x.csv", OLD, activity=steps[0])
    ranks[0].settle(made, OLD)
    for rank, step in zip(ranks, steps, strict=True):
        rank.close(step)
    after = ranks[1].open(STEP, "next", own=True)
    ranks[1].read("Dataset", "/d/x.csv", OLD, activity=after)
    view = frames.view(phase="preparation")
    before, product = view.all("Dataset")
    if view.of(before, "wasGeneratedBy"):
        before, product = product, before
    normalise, following = view.one(STEP, label="normalise"), view.one(STEP, label="next")
    assert view.of(normalise, "used") == [before]
    assert view.to(normalise, "wasGeneratedBy") == [product]
    assert view.of(following, "used") == [product]
    assert view.contents(before) == view.contents(product) == ["aa"]
    assert "wasDerivedFrom" not in view.links


def test_a_step_that_only_read_on_another_rank_does_not_read_what_is_left_as_it_was() -> None:
    frames = FakeFrames(2)
    first, second = frames.ranks()
    a, b = first.open(STEP), second.open(STEP)
    second.read("Dataset", "/d/x.csv", OLD, activity=b)
    first.settle(first.make("Dataset", "/d/x.csv", OLD, activity=a), OLD)
    first.close(a)
    second.close(b)
    assert len(frames.view(phase="preparation").all("Dataset")) == 2


def test_a_file_that_goes_from_a_to_b_to_a_is_three_versions_of_two_contents() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    handles = []
    for digest in ("sha256:aa", "sha256:bb", "sha256:aa"):
        step = rank.open(STEP, own=True)
        if handles:
            rank(records.Used(step, handles[-1], ""))
        handles.append(make_settled(rank, "Dataset", "/d/x.csv", step, digest))
        if handles[:-1]:
            rank(records.Derived(handles[-1], handles[-2], 0))
        rank.close(step)
    view = frames.view(phase="preparation")
    versions = view.all("Dataset")
    assert [view.contents(row) for row in versions] == [["aa"], ["bb"], ["aa"]]
    assert [view.of(row, "wasDerivedFrom") for row in versions] == [[], [versions[0]], [versions[1]]]


def test_a_file_changed_in_place_between_two_uses_is_two_versions() -> None:
    frames = FakeFrames(2)
    for number, rank in enumerate(frames.ranks()):
        rank.read("", "/d/x.csv", (7, 10, 1 + number))
        rank.read("LearningDataset", "/d/y.csv", (8, 10, 1 + number))
    assert len(frames.view().all("LearningDataset")) == 4


def test_an_empty_file_never_joins() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    empty = (7, 0, 1)
    rank.read("LearningDataset", "/d/empty", empty)
    rank.digest("/d/empty", empty, "sha256:e3b0")
    rank.read("LearningDataset", "/d/given", (8, 0, 1), digest="sha256:e3b0")
    digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    rank.read("LearningDataset", store="s3://b", identifier="nothing", digest=digest)
    rank.read("LearningDataset", label="array[0]", digest="sha256-array:ff")
    view = frames.view()
    assert view.all("Content") == []
    assert len(view.all("LearningDataset")) == 4
    assert view.one("LearningDataset", label="/d/empty")["digest_state"] == "whole"


def test_a_given_digest_without_a_size_is_kept() -> None:
    frames = FakeFrames()
    frames.rank().read("LearningDataset", store="s3://b", identifier="x", digest="md5:1234")
    view = frames.view()
    assert view.contents(view.one("LearningDataset")) == ["1234"]
    assert view.one("LearningDataset")["digest_state"] == "given"


def test_a_copied_file_is_one_content_at_two_places() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    for inode, path in enumerate(("/a/x.csv", "/b/x.csv"), 1):
        rank.read("LearningDataset", path, (inode, 10, 1))
        rank.digest(path, (inode, 10, 1), "sha256:aa")
    view = frames.view()
    assert [view.contents(row) for row in view.all("LearningDataset")] == [["aa"], ["aa"]]
    assert len(view.all("Content")) == 1
    assert sorted(row["identifier"] for row in view.all("DataReference")) == ["/a/x.csv", "/b/x.csv"]


def test_the_same_bytes_as_model_and_as_dataset_are_two_versions_of_one_content() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    stage = rank.open(TRAINING)
    make_settled(rank, "Model", "/m/net.npz", stage, "sha256:aa")
    rank.close(stage)
    model = rank.frames.second
    look = (5, 10, 0)
    for record in (one for _, _, one in _records(rank) if isinstance(one, records.Settled)):
        look = (record.inode, record.size, (record.modified_ns - 1_700_000_000 * 10**9) // 10**9)
    rank.read("LearningDataset", "/m/net.npz", look)
    view = frames.view()
    assert model
    assert view.contents(view.one("Model")) == view.contents(view.one("LearningDataset")) == ["aa"]
    assert len(view.all("Content")) == 1
    assert view.of(view.one(TRAINING), "hasInput") == []


def _records(rank: Writer) -> list[tuple[int, int, records.Record]]:
    data = b"".join(rank.frames.blocks(rank.source))
    found = [wire.decode(data, at) for at, _, layout, _ in wire.walk(data) if not layout]
    return [tuple(frame) for frame in found if frame]


def test_ranks_that_say_different_things_of_a_product_are_recorded_apart() -> None:
    frames = FakeFrames(4)
    stages = [rank.open(TRAINING) for rank in frames.ranks()]
    for number, (rank, stage) in enumerate(zip(frames.ranks(), stages, strict=True)):
        rank.make("Model", "/m/net.npz", activity=stage, step=100)
        rank.make("LearningDataset", label="array", digest=f"sha256-array:{number // 2}a", size=4, activity=stage)
    view = frames.view()
    assert view.one("Model")["ranks"] == "0-3"
    assert [row["ranks"] for row in view.all("LearningDataset")] == ["0-1", "2-3"]
    assert [view.contents(row) for row in view.all("LearningDataset")] == [["0a"], ["1a"]]


def test_the_latest_look_counts_where_ranks_see_a_file_half_written() -> None:
    frames = FakeFrames(2)
    first, second = frames.ranks()
    stages = [rank.open(TRAINING) for rank in frames.ranks()]
    handles = [rank.make("Model", "/m/x", activity=stage) for rank, stage in zip(frames.ranks(), stages, strict=True)]
    half, whole = (5, 4, frames.second), (5, 10, frames.second + 1)
    first.settle(handles[0], half)
    second.settle(handles[1], whole)
    first.digest("/m/x", half, "", state="changed")
    second.digest("/m/x", whole, "sha256:aa")
    view = frames.view()
    model = view.one("Model")
    assert (model["size"], model["digest_state"], view.contents(model)) == (10, "whole", ["aa"])


def test_a_path_on_a_rank_without_the_handle_means_what_another_rank_saved() -> None:
    frames = FakeFrames(2)
    first, second = frames.ranks()
    stages = [rank.open(TRAINING) for rank in frames.ranks()]
    look = (5, 10, frames.second)
    first.settle(first.make("Model", "/m/net.npz", GONE, activity=stages[0]), look)
    for rank, stage in zip(frames.ranks(), stages, strict=True):
        rank.close(stage)
    seen, unseen = second.open(EVALUATION), second.open(EVALUATION, "other")
    second.read("", "/m/net.npz", look, activity=seen)
    second.read("", "/m/net.npz", GONE, activity=unseen)  # a file system that is slow to tell
    view = frames.view()
    model = view.one("Model")
    assert model["ranks"] == "0-1"
    assert [view.of(row, "used") for row in view.all(EVALUATION)] == [[model], [model]]
    assert view.all("LearningDataset") == []


def test_a_path_named_before_the_other_rank_saved_it_means_it_where_times_allow() -> None:
    frames = FakeFrames(2)
    first, second = frames.ranks()
    early = second.open(STEP, "early", own=True)
    second.read("", "/m/net.npz", GONE, activity=early)
    second.close(early)
    evaluation = second.open(EVALUATION)
    second.read("", "/m/net.npz", GONE, activity=evaluation)
    stage = first.open(TRAINING)
    first.settle(first.make("Model", "/m/net.npz", GONE, activity=stage), (5, 10, frames.second))
    first.close(stage)
    second.close(evaluation)
    view = frames.view()
    assert view.of(view.one(EVALUATION), "used") == [view.one("Model")]
    (use,) = [row for row in view.links["used"] if row["object"] == view.one("Model")["id"]]
    assert use["time_ns"] == view.links["wasGeneratedBy"][0]["time_ns"]
    (missing,) = view.of(view.one(STEP), "used")
    assert missing["digest_state"] == "missing", "what ended before cannot have read it"


def test_a_handle_means_nothing_that_was_made_after_what_used_it_had_ended() -> None:
    frames = FakeFrames(2)
    first, second = frames.ranks()
    named = second.declare("", "/m/net.npz")
    early = second.open(STEP, "early", own=True)
    second(records.Used(early, named, ""))
    second.close(early)
    first.settle(first.make("Model", "/m/net.npz"), (5, 10, frames.second))
    view = frames.view()
    assert [view.class_of[row["id"]] for _, row in view.ends("used")] == ["LearningDataset"]


def test_a_rank_never_reads_what_it_makes_later() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    step = rank.open(STEP, own=True)
    rank.read("", "/d/x", GONE, activity=step)
    rank.settle(rank.make("Dataset", "/d/x", GONE, activity=step), (5, 10, frames.second))
    rank.close(step)
    view = frames.view(phase="preparation")
    assert len(view.all("Dataset")) == 2
    assert not set(map(str, view.of(view.one(STEP), "used"))) & set(map(str, view.to(view.one(STEP), "wasGeneratedBy")))


def test_a_use_by_path_of_what_is_still_being_made_means_it() -> None:
    frames = FakeFrames(2)
    first, second = frames.ranks()
    first.make("Model", "/m/net.npz", GONE)
    second.read("", "/m/net.npz", (5, 10, frames.second))
    view = frames.view()
    assert [view.class_of[row["id"]] for _, row in view.ends("used")] == ["Model"]


def test_the_old_bytes_are_not_those_of_a_product_that_is_not_settled() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    recent = (5, 10, frames.second)
    rank.read("LearningDataset", "/d/x", recent)
    rank.digest("/d/x", recent, "sha256:aa")
    step = rank.open(STEP, own=True)
    rank.make("LearningDataset", "/d/x", recent, activity=step)
    view = frames.view()
    read, made = view.all("LearningDataset")
    if view.of(read, "wasGeneratedBy"):
        read, made = made, read
    assert (view.contents(read), view.contents(made)) == (["aa"], [])


def test_a_product_of_a_killed_job_has_the_bytes_that_only_it_had() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    stage = rank.open(TRAINING)
    look = (5, 10, frames.second)
    rank.make("Model", "/m/net.npz", look, activity=stage)
    rank.digest("/m/net.npz", look, "sha256:aa")
    view = frames.view()
    assert view.contents(view.one("Model")) == ["aa"]
    assert look_of(view, "Model") == (10, look[2] * 10**9 + 1_700_000_000 * 10**9)


def test_digests_come_from_any_rank_and_lane_and_weak_and_full_are_both_kept() -> None:
    frames = FakeFrames(3)
    first, _, third = frames.ranks()
    first.read("LearningDataset", "/d/x", OLD)
    frames.rank(1, lane=1).digest("/d/x", OLD, "provml-sample-1:ee", state="sampled")
    third.digest("/d/x", OLD, "sha256:aa")
    view = frames.view()
    row = view.one("LearningDataset")
    assert (view.contents(row), row["digest_state"]) == (["aa", "ee"], "whole")


@pytest.mark.parametrize("state", ["changed", "missing", "failed"])
def test_a_file_that_could_not_be_digested_is_labelled(state: str) -> None:
    frames = FakeFrames()
    rank = frames.rank()
    rank.read("LearningDataset", "/d/x", OLD)
    rank.digest("/d/x", OLD, "", state=state)
    view = frames.view()
    assert (view.one("LearningDataset")["digest_state"], view.all("Content")) == (state, [])


def test_a_product_that_is_not_there_in_the_end_is_missing() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    step = rank.open(STEP, own=True)
    rank.settle(rank.make("LearningDataset", "/d/x", GONE, activity=step), GONE)
    rank.close(step)
    assert frames.view().one("LearningDataset")["digest_state"] == "missing"


def test_shards_made_by_many_ranks_are_members_of_one_collection() -> None:
    frames = FakeFrames(4)
    for rank in frames.ranks():
        whole = rank.declare("Dataset", "/d/tiles", collection=True)
        for shard in range(2):
            step = rank.open(STEP, own=True)
            made = make_settled(rank, "Dataset", f"/d/tiles/{rank.source.rank}-{shard}", step, "sha256:aa")
            rank(records.Member(whole, made))
            rank.close(step)
    view = frames.view(phase="curation")
    tiles = view.one("Dataset", path="/d/tiles")
    assert (tiles["ranks"], len(view.of(tiles, "hadMember"))) == ("0-3", 8)
    assert view.of(tiles, "wasGeneratedBy") == []


def test_a_directory_that_the_run_filled_is_known_when_it_is_read() -> None:
    frames = FakeFrames(2)
    first, second = frames.ranks()
    whole = first.declare("LearningDataset", "/d/tiles", collection=True)
    step = first.open(STEP, own=True)
    shard = make_settled(first, "LearningDataset", "/d/tiles/0", step, "sha256:aa")
    first(records.Member(whole, shard))
    first.close(step)
    directory = (9, 4096, frames.second)
    second.read("LearningDataset", "/d/tiles", directory)
    side = frames.rank(1, lane=1)
    side.member("/d/tiles", directory, "0", "sha256:aa")
    side.member("/d/tiles", directory, "stray", "sha256:bb")
    side.digest("/d/tiles", directory, "sha256-tree:dd", size=20)
    view = frames.view()
    tiles = view.one("LearningDataset", path="/d/tiles")
    assert view.contents(tiles) == ["dd"]
    assert [row for _, row in view.ends("used")] == [tiles]
    members = {row["path"]: row for row in view.of(tiles, "hadMember")}
    assert sorted(members) == ["/d/tiles/0", "/d/tiles/stray"]
    assert view.of(members["/d/tiles/0"], "wasGeneratedBy"), "the shard that was made, and no second version of it"
    assert view.contents(members["/d/tiles/stray"]) == ["bb"]


def test_a_directory_that_was_only_read_has_its_files_as_members() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    directory = (9, 4096, 1)
    rank.read("Dataset", "/raw", directory)
    rank.member("/raw", directory, "a.sgy", "sha256:aa")
    rank.member("/raw", directory, "b.sgy", "")
    rank.member("/raw", directory, "empty", "sha256:ee", size=0)
    rank.digest("/raw", directory, "sha256-tree:dd", size=10)
    view = frames.view(phase="curation")
    members = {row["label"]: row for row in view.of(view.one("Dataset", path="/raw"), "hadMember")}
    assert {name: view.contents(row) for name, row in members.items()} == {"a.sgy": ["aa"], "b.sgy": [], "empty": []}
    assert {name: row["digest_state"] for name, row in members.items()} == {
        "a.sgy": "whole",
        "b.sgy": "changed",
        "empty": "whole",
    }


def test_nothing_is_derived_but_what_was_said() -> None:
    frames = FakeFrames(2)
    for rank in frames.ranks():
        step = rank.open(STEP)
        rank.read("Dataset", "/d/a", OLD, activity=step)
        make_settled(rank, "Dataset", "/d/b", step, "sha256:aa")
    assert "wasDerivedFrom" not in frames.view(phase="preparation").links


def test_ranks_that_say_a_derivation_both_ways_make_no_circle() -> None:
    frames = FakeFrames(2)
    for number, rank in enumerate(frames.ranks()):
        step = rank.open(STEP)
        made = [rank.make("Dataset", path, activity=step) for path in ("/d/a", "/d/b")]
        rank(records.Derived(made[number], made[1 - number], 0))
        rank(records.Derived(made[0], made[0], 1))
    view = frames.view(phase="preparation")
    assert len(view.links["wasDerivedFrom"]) == 1
    assert [one["about"] for one in view.graph.run.details["disagreements"]] == ["derivation"]


def test_data_without_a_file_is_known_by_its_reference() -> None:
    frames = FakeFrames(2)
    for rank in frames.ranks():
        rank.read("LearningDataset", store="postgresql://wells", identifier="logs", label="logs")
    view = frames.view()
    dataset, reference = view.one("LearningDataset"), view.one("DataReference")
    assert view.of(dataset, "specializationOf") == [reference]
    assert [row["label"] for row in view.of(reference, "atLocation")] == ["postgresql://wells"]


def test_a_part_of_a_file_is_a_version_of_its_own_with_the_same_bytes() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    for select in ("train", "test"):
        rank.read("LearningDataset", "/d/x", OLD, select=select)
    rank.digest("/d/x", OLD, "sha256:aa")
    view = frames.view()
    assert [(row["select"], view.contents(row)) for row in view.all("LearningDataset")] == [
        ("train", ["aa"]),
        ("test", ["aa"]),
    ]


def test_the_same_path_in_two_attempts_is_generated_twice() -> None:
    frames = FakeFrames()
    for attempt in (1, 2):
        rank = frames.rank(attempt=attempt)
        rank.make("Model", "/m/net.npz")
        rank(records.Evaluated(0, 0, 0, records.NO_STEP, "accuracy", "real", "0.9"))
        rank.end()
    view = frames.view()
    assert len(view.all("Model")) == 2
    assert len(view.all("ModelEvaluation")) == 2


def test_finding_a_version_among_many_is_quick() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    for number in range(3000):
        rank.make("Model", "/m/net.npz", GONE)
        rank.read("", "/m/net.npz", (number, 1, 1))
        rank.read("LearningDataset", f"/d/{number}", (number, 1, 1))
    view = frames.view()
    assert len(view.all("Model")) == 3000
    assert [row for _, row in view.ends("used") if view.class_of[row["id"]] == "Model"] == view.all("Model")
