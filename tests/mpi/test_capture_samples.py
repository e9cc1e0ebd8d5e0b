"""What ranks log is in the file: every sample once, every shared declaration once, however they flush and end."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.mpi.launch import mpi_run
from tests.mpi.reading import File, by_rank

NAME = "a name of any sort: é"


@pytest.fixture(scope="module", params=[1, 2, 4], ids="{} ranks".format)
def job(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Run the scenario, and return its folder and its number of ranks."""
    folder = tmp_path_factory.mktemp("samples")
    began = time.time_ns()
    result = mpi_run("capture_samples.py", request.param, cwd=folder, timeout=150, python=("-W", "error")).check()
    assert not result.stderr, result.stderr
    (folder / "began").write_text(str(began))
    return folder, request.param


def _told(folder: Path, ranks: int) -> list[dict[str, Any]]:
    return [json.loads((folder / f"told.{rank}").read_text()) for rank in range(ranks)]


def _expected(rank: int) -> dict[tuple[str, ...], list[tuple[int, tuple[float, ...]]]]:
    """Return what a rank logged in `uneven`: steps and values by measures, which stand in the order of their names."""
    losses = [(at, (rank + at / 1000,)) for at in range(100)]
    pairs: list[tuple[int, tuple[float, ...]]] = []
    odd: list[tuple[int, tuple[float, ...]]] = []
    for turn in range(2 + 3 * rank):
        for at in range(50 * (rank + 1)):
            step = 100 + turn * 1000 + at
            losses.append((step, (rank + step / 1000,)))
            if at % 10 < 2:
                pairs.append((step, (float(rank), -1.5)))
            if at % 25 == 0:
                odd.append((step, (float(step),)))
    return {("loss",): [*losses, (10_000, (-1.0,))], ("a", "b"): pairs, (NAME,): odd}


@pytest.mark.parametrize("name", ["uneven.h5", "rounds.h5"])
def test_each_sample_is_there_once_in_order(job: tuple[Path, int], name: str) -> None:
    folder, ranks = job
    file = File(folder / name)
    assert file.run.status == "finished"
    assert not file.faults
    # Uneven flush counts are nothing that ranks disagree about: no activity is meant.
    assert file.run.details["disagreements"] == []
    assert file.run.details["dropped"] == []
    began, ended = int((folder / "began").read_text()), max(told["time"] for told in _told(folder, ranks))
    assert {measures for _, measures in file.tables} == {("loss",), ("a", "b"), (NAME,)}
    for measures in (("loss",), ("a", "b"), (NAME,)):
        parts = by_rank(file.tables["training", measures])
        assert list(parts) == list(range(ranks))
        for rank, columns in parts.items():
            found = list(
                zip(columns["step"].tolist(), zip(*[columns[m].tolist() for m in measures], strict=True), strict=True)
            )
            assert found == _expected(rank)[measures]
            assert (np.diff(columns["time_ns"]) >= 0).all()
            assert began <= columns["time_ns"][0] <= columns["time_ns"][-1] <= ended
            assert set(columns["attempt"].tolist()) == {1}
    series = file.one("MetricSeries", label="loss")
    counts = {str(rank): len(_expected(rank)[("loss",)]) for rank in range(ranks)}
    assert {rank: told["count"] for rank, told in json.loads(series["by_rank"]).items()} == counts
    assert series["count"] == sum(counts.values())


def test_training_is_bit_identical_with_and_without(job: tuple[Path, int]) -> None:
    folder, ranks = job
    bits = {told[kind] for told in _told(folder, ranks) for kind in ("off", "on", "found")}
    assert len(bits) == 1
    assert not list(folder.glob("*off*"))
    for name in ("on.h5", "found.h5"):
        file = File(folder / name)
        assert not file.faults
        assert file.run.status == "finished"
        assert file.run.details["ranks"] == list(range(ranks))
        table = file.tables["training", ("loss", "norm")]
        assert len(table["step"]) == 12 * ranks
        for columns in by_rank(table).values():
            assert columns["step"].tolist() == list(range(12))
            epochs = [file.by_id[section]["section_index"] for section in columns["section"].tolist()]
            assert epochs == [step // 4 for step in range(12)]
        assert len(file.all("LearningStageSectionExecution")) == 3


def test_nothing_is_left_beside_the_files(job: tuple[Path, int]) -> None:
    folder, ranks = job
    halves = [f"half{one}.h5" for one in range(min(ranks, 2))]
    files = ["found.h5", *halves, "on.h5", "rounds.h5", *(f"self{r}.h5" for r in range(ranks)), "shared.h5"]
    told = [f"told.{rank}" for rank in range(ranks)]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*files, "uneven.h5", "world.h5", *told, "began"])


def test_what_all_ranks_say_is_one_record(job: tuple[Path, int]) -> None:
    folder, ranks = job
    file = File(folder / "shared.h5")
    assert not file.faults
    everybody = "0" if ranks == 1 else f"0-{ranks - 1}"
    run = file.one("LearningExperimentExecution")
    assert (run["label"], run["phase"], run["outcome"], run["ranks"]) == ("shared", "learning", "completed", everybody)
    assert file.pairs("hadMember") == {("a study", "shared")}
    assert file.one("LearningHyperparameterValue", label="seed")["ranks"] == everybody
    own = file.all("LearningHyperparameterValue", label="own")
    assert [(row["value"], row["ranks"]) for row in own] == [(str(rank), str(rank)) for rank in range(ranks)]
    assert file.one("AttributeValue", label="site")["ranks"] == everybody
    training = file.one("TrainingExecution", label="t", ranks=everybody)
    assert file.parameters(training) == {"lr": ("real", "0.1")}
    assert [row["label"] for row in file.objects("achieves", training)] == ["classification"]
    assert [row["label"] for row in file.objects("realizes", training)] == ["SGD"]
    assert file.whole(training) == run

    folds = sorted(file.all("LearningStageSectionExecution", section_kind="fold"), key=lambda row: row["section_index"])
    assert [(row["section_index"], row["ranks"]) for row in folds] == [(0, everybody), (1, everybody)]
    epochs = file.all("LearningStageSectionExecution", section_kind="epoch")
    assert sorted((file.whole(row)["label"], row["section_index"]) for row in epochs) == [
        ("fold 0", 10),
        ("fold 0", 11),
        ("fold 1", 10),
        ("fold 1", 11),
    ]
    for epoch in epochs:
        measured = [row for row in file.subjects("wasGeneratedBy", epoch) if row["cls"] == "ModelEvaluation"]
        (same,) = [row for row in measured if row["label"] == "acc"]
        assert (same["value"], same["value_type"], same["ranks"]) == ("0.5", "real", everybody)
        apart = [row for row in measured if row["label"] == "own acc"]
        assert sorted((row["value"], row["ranks"], row["step"]) for row in apart) == [
            (str(rank / 10), str(rank), epoch["section_index"]) for rank in range(ranks)
        ]
        # One rank's part each, within the whole.
        parts = [row for row in file.subjects("isPartOf", epoch) if row["cls"] == "RankExecution"]
        assert sorted(row["rank"] for row in parts) == list(range(ranks))
        assert min(row["start_ns"] for row in parts) == epoch["start_ns"]
        assert max(row["end_ns"] for row in parts) == epoch["end_ns"]
        for row in parts:
            assert row["end_ns"] - row["start_ns"] >= 2_000_000
            assert row["outcome"] == "completed"
            (agent,) = file.objects("wasAssociatedWith", row)
            assert (agent["cls"], agent["rank"]) == ("Rank", row["rank"])

    for columns in by_rank(file.tables["t", ("acc", "loss")]).values():
        sections = [file.by_id[section] for section in columns["section"].tolist()]
        assert [(file.whole(row)["label"], row["label"]) for row in sections] == [
            ("fold 0", "epoch 10"),
            ("fold 0", "epoch 11"),
            ("fold 1", "epoch 10"),
            ("fold 1", "epoch 11"),
        ]
    assert file.one("ModelEvaluation", label="f1")["ranks"] == everybody
    assert file.one("ValidationExecution", ranks=everybody)["label"] == "validation"
    assert file.one("EvaluationExecution", label="last", ranks=everybody)

    joint = file.one("DataTransformationExecution", label="joint work", ranks=everybody)
    assert file.parameters(joint) == {"joint": ("boolean", "true")}
    works = file.all("DataTransformationExecution", label="own work")
    assert sorted(row["ranks"] for row in works) == [str(rank) for rank in range(ranks)]
    for work in works:
        assert file.parameters(work) == {"who": ("integer", work["ranks"])}
        (table,) = [c for t, c in file.tables_in_order if t.activity == work["id"]]
        assert table["rank"].tolist() == [int(work["ranks"])] * 2
        assert table["seconds"].tolist() == [float(work["ranks"])] * 2
    assert len(file.all("DataTransformationExecution")) == ranks + 1
    (person,) = [row for row in file.objects("wasAssociatedWith", run) if row["cls"] == "Persona"]
    assert (person["label"], person["identifier"]) == ("a@b.c", "a@b.c")
    assert file.run.details["disagreements"] == []


def test_runs_over_parts_of_the_world_and_several_at_once(job: tuple[Path, int]) -> None:
    folder, ranks = job
    names = {f"half{half}.h5": list(range(half, ranks, 2)) for half in range(min(ranks, 2))}
    names |= {f"self{rank}.h5": [rank] for rank in range(ranks)} | {"world.h5": list(range(ranks))}
    runs = set()
    for name, members in names.items():
        file = File(folder / name)
        runs.add(file.run.uuid)
        assert file.run.status == "finished"
        assert not file.faults
        parts = by_rank(file.tables[name.partition(".")[0].rstrip("0123"), ("world",)])
        assert list(parts) == list(range(len(members)))
        for (columns), world in zip(parts.values(), members, strict=True):
            assert columns["step"].tolist() == list(range(20))
            assert set(columns["world"].tolist()) == {float(world)}
        assert len(file.all("Rank")) == len(members)
    assert len(runs) == len(names)
