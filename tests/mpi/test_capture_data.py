"""Data that ranks share: read once, known by its path on every rank, made once; and what ranks disagree about."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.mpi.launch import mpi_run
from tests.mpi.reading import File


@pytest.fixture(scope="module", params=[1, 2, 4], ids="{} ranks".format)
def job(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Run the scenario, and return its folder and its number of ranks."""
    folder = tmp_path_factory.mktemp("data")
    result = mpi_run("capture_data.py", request.param, cwd=folder, timeout=150, python=("-W", "error")).check()
    assert not result.stderr, result.stderr
    return folder, request.param


def _told(folder: Path, ranks: int) -> list[dict[str, Any]]:
    return [json.loads((folder / f"told.{rank}").read_text()) for rank in range(ranks)]


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _all(ranks: int) -> str:
    return "0" if ranks == 1 else f"0-{ranks - 1}"


def test_each_file_is_read_once_and_not_once_a_rank(job: tuple[Path, int]) -> None:
    folder, ranks = job
    reads: Counter[str] = Counter()
    readers: dict[str, int] = {}
    for rank in range(ranks):
        for line in (folder / f"reads.{rank}").read_text().splitlines():
            name = str(Path(json.loads(line)).relative_to(folder))
            # Later runs look at these again.
            reads[name] += 1
            readers.setdefault(name, rank)
    again = {"shared", "m1"}
    whole = {f"shards/{rank}" for rank in range(ranks)}
    # The folder of shards is digested as a whole too, where somebody reads it.
    assert {name: count for name, count in reads.items() if name not in again | whole} == {
        **dict.fromkeys(["large", "late", "only 0", "folder/a", "folder/b", "m0", "all", "part", "joint"], 1),
        **{f"of {rank}": 1 for rank in range(ranks)},
        **{f"own {rank}": 1 for rank in range(ranks)},
    }
    assert {name: reads[name] for name in again} == dict.fromkeys(again, 2)
    assert max(reads[name] for name in whole) <= 2
    for rank in range(ranks):
        assert readers[f"of {rank}"] == readers[f"own {rank}"] == rank
    assert readers["late"] == ranks - 1


def test_what_ranks_read(job: tuple[Path, int]) -> None:
    folder, ranks = job
    file = File(folder / "data.h5")
    assert not file.faults
    assert file.run.details["disagreements"] == []
    assert file.run.details["dropped"] == []
    for name in ("shared", "large"):
        row = file.one("LearningDataset", path=str(folder / name))
        assert (row["label"], row["ranks"], row["digest_state"]) == (name, _all(ranks), "whole")
    shared = file.one("LearningDataset", label="shared")
    assert file.content(shared) == [_sha("shared")]
    assert file.content(file.one("LearningDataset", label="large")) == [_sha("l" * (1 << 19))]
    (quality,) = file.objects("hasQuality", shared)
    assert (quality["label"], quality["ranks"]) == ("n", _all(ranks))
    for rank in range(ranks):
        row = file.one("LearningDataset", label=f"of {rank}")
        assert (row["ranks"], file.content(row)) == (str(rank), [_sha(f"of {rank}")])
    folder_row = file.one("LearningDataset", label="folder")
    assert sorted(row["label"] for row in file.objects("hadMember", folder_row)) == ["a", "b"]
    assert file.one("LearningDataset", label="same array")["ranks"] == _all(ranks)
    assert sorted(row["ranks"] for row in file.all("LearningDataset", label="own array")) == [
        str(rank) for rank in range(ranks)
    ]
    late = file.one("LearningDataset", label="late")
    assert late["ranks"] == ("0" if ranks == 1 else ",".join(sorted({"0", str(ranks - 1)})) if ranks > 2 else "0-1")
    assert file.content(late) == [_sha("late")]
    assert file.one("LearningDataset", label="only 0")["ranks"] == "0"
    uses = [row for row in file.relations("used") if row["object"]["id"] == shared["id"]]
    assert sorted((row["subject"]["cls"], row["role"], row["ranks"]) for row in uses) == [
        ("LearningExperimentExecution", "training", _all(ranks)),
        ("TrainingExecution", "", _all(ranks)),
    ]


def test_a_path_means_what_another_rank_made_there(job: tuple[Path, int]) -> None:
    folder, ranks = job
    file = File(folder / "data.h5")
    checks = {file.whole(row)["section_index"]: row for row in file.all("ValidationExecution")}
    assert sorted(checks) == [0, 1]
    for number, check in checks.items():
        assert check["ranks"] == _all(ranks)
        model = file.one("Model", step=number)
        assert model["label"] == str(folder / f"m{number}")
        assert file.content(model) == [_sha(f"weights {number}")]
        (made_by,) = file.objects("wasGeneratedBy", model)
        assert (made_by["cls"], made_by["section_index"]) == ("LearningStageSectionExecution", number)
        uses = [row for row in file.relations("used") if row["object"]["id"] == model["id"]]
        assert (check["id"], "candidate", _all(ranks)) in {(r["subject"]["id"], r["role"], r["ranks"]) for r in uses}
        (measured,) = [row for row in file.subjects("wasGeneratedBy", check) if row["cls"] == "ModelEvaluation"]
        assert (measured["value"], measured["ranks"]) == (str(number / 2), _all(ranks))
        assert [row["id"] for row in file.objects("ofModel", measured)] == [model["id"]]
    assert file.pairs("wasRevisionOf") == {(str(folder / "m1"), str(folder / "m0"))}
    assert len(file.all("Model")) == 2
    (evaluation,) = file.all("EvaluationExecution")
    assert {row["label"] for row in file.objects("used", evaluation)} == {str(folder / "m1"), "shards"}


def test_what_ranks_make(job: tuple[Path, int]) -> None:
    folder, ranks = job
    file = File(folder / "data.h5")
    whole = file.one("LearningDataset", label="shards")
    assert whole["ranks"] == _all(ranks)
    shards = file.objects("hadMember", whole)
    assert sorted((row["label"], row["ranks"]) for row in shards) == [
        (str(folder / "shards" / str(rank)), str(rank)) for rank in range(ranks)
    ]
    training = file.one("TrainingExecution")
    for row in shards:
        assert file.content(row) == [_sha(row["ranks"])]
        assert [one["id"] for one in file.objects("wasGeneratedBy", row)] == [training["id"]]
        assert [one["label"] for one in file.objects("wasDerivedFrom", row)] == ["shared"]
    assert file.objects("wasGeneratedBy", whole) == []
    assert (str(folder / "all"), str(folder / "part")) in file.pairs("hadMember")
    joint = file.one("LearningDataset", label="joint")
    assert (joint["ranks"], joint["digest_state"], file.content(joint)) == (_all(ranks), "whole", [_sha("joint")])
    (made_by,) = file.objects("wasGeneratedBy", joint)
    assert made_by["cls"] == "EvaluationExecution"
    assert [row["label"] for row in file.objects("wasDerivedFrom", joint)] == [str(folder / "all")]
    works = file.all("DataTransformationExecution", label="own work")
    assert len(works) == ranks
    for work in works:
        assert [row["id"] for row in file.objects("used", work)] == [joint["id"]]
        (own,) = file.subjects("wasGeneratedBy", work)
        assert own["label"] == str(folder / f"own {work['ranks']}")
        assert [row["id"] for row in file.objects("wasDerivedFrom", own)] == [joint["id"]]


def test_going_on_from_a_run_and_beside_one(job: tuple[Path, int]) -> None:
    folder, ranks = job
    first, second, third = (File(folder / name) for name in ("data.h5", "data2.h5", "data-1.h5"))
    assert not [*second.faults, *third.faults]
    (informed,) = second.relations("wasInformedBy")
    assert (informed["subject"]["uuid"], informed["object"]["uuid"]) == (second.run.uuid, first.run.uuid)
    # Two jobs meet in the bytes: the model that one made is the one that the other read.
    read, made = second.one("Model"), first.one("Model", step=1)
    assert read["uuid"] != made["uuid"]
    assert second.content(read) == first.content(made)
    assert second.one("Content")["uuid"] in {row["uuid"] for row in first.all("Content")}
    assert second.relations("wasGeneratedBy") == []
    assert third.run.uuid != first.run.uuid
    assert third.one("LearningExperiment")["uuid"] == first.one("LearningExperiment")["uuid"]
    assert third.content(third.one("LearningDataset")) == [_sha("shared")]
    for told in _told(folder, ranks):
        assert "exists already" in told["refused"]
        assert "still runs" in told["refused"]


def test_ranks_that_disagree_are_recorded_apart_listed_and_warned_of_once(job: tuple[Path, int]) -> None:
    folder, ranks = job
    file = File(folder / "disagree.h5")
    assert not file.faults
    assert file.run.status == "finished"
    trainings = sorted(file.all("TrainingExecution", label="by rank"), key=lambda row: row["ranks"])
    rates = {row["ranks"]: file.parameters(row)["lr"][1] for row in trainings}
    listed = {(one["about"], one["name"]): one for one in file.run.details["disagreements"]}
    warned = [told["disagree"] for told in _told(folder, ranks)]
    if ranks == 1:
        assert (rates, listed, warned) == ({"0": "0.1"}, {}, [[]])
        return
    assert rates == ({"0-1": "0.1", "2-3": "0.2"} if ranks == 4 else {"0-1": "0.1"})
    for training in trainings:
        epochs = [row for row in file.subjects("isPartOf", training) if row["cls"] == "LearningStageSectionExecution"]
        assert sorted((row["section_index"], row["ranks"]) for row in epochs) == [
            (0, training["ranks"]),
            (1, training["ranks"]),
        ]
        (measured,) = [row for row in file.subjects("wasGeneratedBy", training) if row["cls"] == "ModelEvaluation"]
        assert measured["ranks"] == training["ranks"]
        (table,) = [columns for told, columns in file.tables_in_order if told.activity == training["id"]]
        assert {str(rank) for rank in table["rank"].tolist()} == set(training["ranks"].split("-"))
    expected = {("count", "epoch"), ("count", "validation")} | ({("parameters", "by rank")} if ranks == 4 else set())
    assert set(listed) == expected
    alike = file.one("TrainingExecution", label="alike")
    epochs = [row for row in file.subjects("isPartOf", alike) if row["cls"] == "LearningStageSectionExecution"]
    fewer = "0" if ranks == 2 else "0-2"
    assert sorted((row["section_index"], row["ranks"]) for row in epochs) == [(0, _all(ranks)), (1, fewer), (2, fewer)]
    assert sorted(row["ranks"] for row in file.all("ValidationExecution")) == ["0", _all(ranks)]
    # What only one rank does at all is nothing to disagree about.
    assert file.one("EvaluationExecution")["ranks"] == "0"
    assert [len(lines) for lines in warned] == [1] + [0] * (ranks - 1)
    assert all(repr(name) in warned[0][0] for _, name in expected)


def test_what_could_not_be_recorded_is_counted_by_rank_and_said_once(job: tuple[Path, int]) -> None:
    folder, ranks = job
    file = File(folder / "lost.h5")
    assert not file.faults
    dropped = {(one["rank"], one["name"]): one["count"] for one in file.run.details["dropped"]}
    assert dropped == {(rank, name): count for rank in range(ranks) for name, count in (("loss", 10), ("bad", 1))}
    assert len(file.tables["lost", ("acc",)]["acc"]) == 10 * ranks
    assert len(file.tables["lost", ("loss",)]["loss"]) == 3 * ranks
    for told in _told(folder, ranks):
        assert len(told["lost"]) == 1
    # The same section opened three times is three, though its kind and index are the same.
    assert len(file.all("LearningStageSectionExecution")) == 3 * ranks
    strict = File(folder / "strict.h5")
    assert strict.run.status == "finished"
    assert strict.tables["strict", ("loss",)]["rank"].tolist() == [0]
    assert ["is strict" in told["strict"] for told in _told(folder, ranks)] == [False] + [True] * (ranks - 1)
