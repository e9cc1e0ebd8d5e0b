"""Three programs that a user would write, and what their graphs have to say, worked out by hand."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import provml_hpc as provml
from tests.mpi.launch import mpi_run
from tests.mpi.reading import File, by_rank

RANKS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the programs, and return their folder."""
    folder = tmp_path_factory.mktemp("programs")
    result = mpi_run("programs.py", RANKS, cwd=folder, timeout=150, python=("-W", "error")).check()
    assert not result.stderr, result.stderr
    return folder


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _inside(file: File, whole: dict[str, Any], cls: str) -> list[dict[str, Any]]:
    return [row for row in file.subjects("isPartOf", whole) if row["cls"] == cls]


def test_data_parallel_training(folder: Path) -> None:
    file = File(folder / "train.h5")
    assert not file.faults
    assert (file.run.status, file.run.details["disagreements"], file.run.details["dropped"]) == ("finished", [], [])
    (run,) = file.all("LearningExperimentExecution")
    assert file.pairs("hadMember") == {("programs", "parallel")}
    training = file.one("TrainingExecution")
    assert (training["ranks"], training["outcome"], file.whole(training)["id"]) == ("0-3", "completed", run["id"])
    assert file.parameters(training) == {"lr": ("real", "0.1"), "optimizer.momentum": ("real", "0.9")}
    assert [row["label"] for row in file.objects("achieves", training)] == ["regression"]
    assert [row["label"] for row in file.objects("realizes", training)] == ["SGD"]

    # Six epochs were begun; the sixth was left by `break`, which is no failure.
    epochs = sorted(file.all("LearningStageSectionExecution"), key=lambda row: row["section_index"])
    assert [(row["section_kind"], row["section_index"], row["ranks"], row["outcome"]) for row in epochs] == [
        ("epoch", number, "0-3", "completed") for number in range(6)
    ]
    for before, after in pairwise(epochs):
        assert before["start_ns"] <= after["start_ns"]
        assert file.whole(after)["id"] == training["id"]
    for columns in by_rank(file.tables["training", ("loss",)]).values():
        assert columns["step"].tolist() == list(range(30))
        assert [file.by_id[row]["section_index"] for row in columns["section"].tolist()] == [n // 5 for n in range(30)]
    series = file.one("MetricSeries", label="loss")
    assert series["count"] == 30 * RANKS

    # A validation an epoch, with its measure, within the epoch.
    for epoch, loss in zip(epochs, (0.9, 0.5, 0.3, 0.4, 0.6, 0.7), strict=True):
        (validation,) = _inside(file, epoch, "ValidationExecution")
        assert validation["ranks"] == "0-3"
        (measured,) = [row for row in file.subjects("wasGeneratedBy", validation) if row["cls"] == "ModelEvaluation"]
        assert (measured["label"], measured["value"], measured["ranks"]) == ("loss", str(loss), "0-3")
        assert [row["label"] for row in file.objects("used", validation)] == ["test.npy"]
    held_out = {row["role"] for row in file.relations("used") if row["subject"]["cls"] == "ValidationExecution"}
    assert held_out == {"held out"}

    # A checkpoint an epoch, by rank 0, each a revision of the one before.
    checkpoints = {row["label"]: row for row in file.all("Model")}
    assert set(checkpoints) == {*(f"checkpoint-{number}.npy" for number in range(6)), "model.npy"}
    for number in range(6):
        row = checkpoints[f"checkpoint-{number}.npy"]
        assert (row["step"], row["path"]) == (number * 5 + 4, str(folder / row["label"]))
        assert [one["id"] for one in file.objects("wasGeneratedBy", row)] == [epochs[number]["id"]]
        assert file.content(row) == [_sha(folder / row["label"])]
    chain = {(f"checkpoint-{number}.npy", f"checkpoint-{number - 1}.npy") for number in range(1, 6)}
    assert file.pairs("wasRevisionOf") == chain
    assert file.pairs("wasDerivedFrom") == {*chain, ("model.npy", "checkpoint-2.npy")}
    # The stored model has the bytes of the best checkpoint, and is another version of them.
    model = checkpoints["model.npy"]
    assert file.content(model) == file.content(checkpoints["checkpoint-2.npy"])
    assert [one["id"] for one in file.objects("wasGeneratedBy", model)] == [training["id"]]
    (setting,) = file.objects("hasSetting", model)
    assert (setting["cls"], setting["label"], setting["value"]) == ("ModelHyperparameterValue", "units", "4")

    uses = {
        (row["subject"]["label"], row["object"]["label"], row["role"], row["ranks"])
        for row in file.relations("used")
        if row["object"]["cls"] in ("LearningDataset", "Model") and row["subject"]["cls"] != "ValidationExecution"
    }
    assert uses == {
        ("parallel", "train.npy", "training", "0-3"),
        ("training", "train.npy", "", "0-3"),
        ("training", "checkpoint-2.npy", "best", "0-3"),
        ("evaluation", "model.npy", "model", "0-3"),
        ("evaluation", "test.npy", "test", "0-3"),
    }
    mse = file.one("ModelEvaluation", label="mse")
    assert [row["label"] for row in file.objects("ofModel", mse)] == ["model.npy"]
    assert [row["label"] for row in file.objects("onData", mse)] == ["test.npy"]
    assert float(mse["value"]) == float(np.load(folder / "model.npy")[0])
    # One dataset each, though four ranks named it, and named it again.
    assert sorted(row["label"] for row in file.all("LearningDataset")) == ["test.npy", "train.npy"]
    assert len(file.commits) >= 7


def test_people_can_read_the_file(folder: Path) -> None:
    """What pandas and h5dump show of the training is words and numbers, not identifiers and bytes."""
    pytest.importorskip("pandas", reason="pandas is not installed (extra pandas)")
    with provml.open(folder / "train.h5") as file:
        assert (file.status, file.live, file.measures) == ("finished", False, ["loss"])
        activities = file.activities.to_pandas()
        assert activities["name"].tolist()[:4] == ["parallel", "training", "epoch 0", "validation"]
        assert set(activities["outcome"]) == {"completed"}
        params = file.params.to_pandas()
        assert params["name"].tolist() == ["lr", "optimizer.momentum", "units"]
        assert params["value"].tolist() == [0.1, 0.9, 4]
        assert params["kind"].tolist() == ["learning", "learning", "model"]
        samples = file.samples("loss", rank=2).to_pandas()
        assert samples["step"].tolist() == list(range(30))
        assert set(samples["rank"]) == {2}
        entities = file.entities.to_pandas().set_index("label")
        assert entities.loc["model.npy", "digest"] == entities.loc["checkpoint-2.npy", "digest"]
    shown = [
        subprocess.run(
            ["h5dump", "-d", name, "train.h5"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout
        for name in ("/records/Model/label", "/records/TrainingExecution/outcome", "/samples/training/loss")
        if shutil.which("h5dump")
    ]
    if shown:
        assert '"checkpoint-5.npy"' in shown[0]
        assert "completed" in shown[1]
        assert "-1, -2, -3" in shown[2]


def test_search_with_a_trial_a_rank(folder: Path) -> None:
    file = File(folder / "search.h5")
    assert not file.faults
    assert (file.run.status, file.run.details["disagreements"], file.run.details["dropped"]) == ("finished", [], [])
    trials = {row["label"]: row for row in file.all("TrainingExecution")}
    assert set(trials) == {f"trial {number}" for number in range(6)}
    (data,) = file.all("LearningDataset")
    for number in range(6):
        trial = trials[f"trial {number}"]
        assert (trial["ranks"], trial["outcome"]) == (str(number % RANKS), "completed")
        # It is this rank's own: it has no parts, and the rank carried it out.
        assert _inside(file, trial, "RankExecution") == []
        agents = {(row["cls"], row.get("rank")) for row in file.objects("wasAssociatedWith", trial)}
        assert agents == {("Rank", number % RANKS), ("Job", None)}
        assert file.parameters(trial) == {"lr": ("real", repr(10.0**-number))}
        assert data["id"] in {row["id"] for row in file.objects("used", trial)}
        folds = sorted(_inside(file, trial, "LearningStageSectionExecution"), key=lambda row: row["section_index"])
        assert [(row["section_kind"], row["section_index"]) for row in folds] == [("fold", 0), ("fold", 1)]
        want = 3 if number == 4 else number + 1
        for fold in folds:
            epochs = _inside(file, fold, "LearningStageSectionExecution")
            assert sorted(row["section_index"] for row in epochs) == list(range(want))
            assert {(row["section_kind"], row["outcome"], row["ranks"]) for row in epochs} == {
                ("epoch", "completed", trial["ranks"])
            }
            (measured,) = [row for row in file.subjects("wasGeneratedBy", fold) if row["cls"] == "ModelEvaluation"]
            assert float(measured["value"]) == number / 10 + fold["section_index"] / 100
        (table,) = [columns for told, columns in file.tables_in_order if told.activity == trial["id"]]
        assert table["step"].tolist() == list(range(want)) * 2
        assert table["loss"].tolist() == [number + step / 10 for step in range(want)] * 2
        assert [file.whole(file.by_id[row])["section_index"] for row in table["section"].tolist()] == (
            [0] * want + [1] * want
        )
        (final,) = [row for row in file.subjects("wasGeneratedBy", trial) if row["cls"] == "ModelEvaluation"]
        assert (final["label"], float(final["value"])) == ("accuracy", number / 10)
        (model,) = [row for row in file.subjects("wasGeneratedBy", trial) if row["cls"] == "Model"]
        assert (model["label"], file.content(model)) == (f"trial-{number}.npy", [_sha(folder / f"trial-{number}.npy")])
        assert [(row["label"], row["value"]) for row in file.objects("hasSetting", model)] == [("depth", str(number))]
    # Trials of different names, so six plans; each is part of the experiment.
    assert {row["label"] for row in file.all("Training")} == set(trials)
    assert {row["label"] for row in file.all("LearningStageSection")} == {"fold", "epoch"}
    choice = file.one("DataTransformationExecution")
    assert {row["label"] for row in file.objects("used", choice) if row["cls"] == "Model"} == {
        f"trial-{number}.npy" for number in range(6)
    }
    assert file.parameters(choice) == {"best": ("integer", "5")}
    assert len(file.all("Model")) == 6
    assert file.relations("wasRevisionOf") == file.relations("wasDerivedFrom") == []


def test_curation_of_four_hundred_files(folder: Path) -> None:
    file = File(folder / "curate.h5")
    assert not file.faults
    assert (file.run.status, file.run.details["disagreements"], file.run.details["dropped"]) == ("finished", [], [])
    (run,) = file.all("WorkflowExecution")
    assert (run["cls"], run["phase"], run["label"]) == ("WorkflowExecution", "curation", "curation")
    assert {row["label"] for row in file.objects("wasAssociatedWith", run) if row["cls"] == "Persona"} == {
        "curator@example.org"
    }
    bad = {number for number in range(400) if number % 50 == 7}
    checks = file.all("DataTransformationExecution", label="check")
    assert len(checks) == 400
    raw = {row["label"]: row for row in file.all("Dataset") if row["label"].startswith("raw/")}
    assert set(raw) == {f"raw/{number:03d}.txt" for number in range(400)}
    seen = set()
    for check in checks:
        (read,) = [row for row in file.objects("used", check) if row["cls"] == "Dataset"]
        number = int(Path(read["label"]).stem)
        seen.add(number)
        assert check["ranks"] == read["ranks"] == str(number % RANKS)
        assert (file.parameters(check).get("rejected") == ("text", "bad scan")) is (number in bad)
        assert file.parameters(check)["rule"] == ("text", "no bad ones")
        assert file.content(read) == [_sha(folder / read["label"])]
        assert (read["digest_state"], read["size"]) == ("whole", (folder / read["label"]).stat().st_size)
        assert file.objects("wasGeneratedBy", read) == []
    assert seen == set(range(400))
    # All rejected files have the same bytes, and so the same Content.
    assert len({file.content(raw[f"raw/{number:03d}.txt"])[0] for number in bad}) == 1
    assert len(file.all("Content")) == 400 - len(bad) + 1 + 2 * RANKS + 1  # the folder of the shards has its own

    works = file.all("DataTransformationExecution", label="write shard")
    assert len(works) == 2 * RANKS
    (whole,) = {
        row["subject"]["id"]: row["subject"]
        for row in file.relations("hadMember")
        if row["subject"]["cls"] == "Dataset"
    }.values()
    assert (whole["label"], whole["ranks"]) == ("clean", "0-3")
    shards = {row["label"]: row for row in file.objects("hadMember", whole)}
    assert set(shards) == {f"clean/{rank}-{part}.json" for rank in range(RANKS) for part in range(2)}
    for name, shard in shards.items():
        rank, part = map(int, Path(name).stem.split("-"))
        kept = [number for number in range(rank, 400, RANKS) if number not in bad][part::2]
        assert [int(text.split()[1]) for text in json.loads((folder / name).read_text())] == kept
        sources = {row["label"] for row in file.objects("wasDerivedFrom", shard)}
        assert sources == {f"raw/{number:03d}.txt" for number in kept}
        (made_by,) = file.objects("wasGeneratedBy", shard)
        assert (made_by["label"], made_by["ranks"]) == ("write shard", str(rank))
        assert file.parameters(made_by) == {"part": ("integer", str(part))}
        assert {row["label"] for row in file.objects("used", made_by) if row["cls"] == "Dataset"} == sources
        assert file.content(shard) == [_sha(folder / name)]
        assert [(row["label"], row["value"]) for row in file.objects("hasQuality", shard)] == [
            ("scans", str(len(kept)))
        ]
    # No rejected file went into anything.
    derived = {row["object"]["label"] for row in file.relations("wasDerivedFrom")}
    assert derived == {f"raw/{number:03d}.txt" for number in range(400) if number not in bad}
    assert file.relations("hasInput") == []
    assert file.objects("wasGeneratedBy", whole) == []
