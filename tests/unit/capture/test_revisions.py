"""Versions of models and data: checkpoints that follow each other, files that come back to what they were."""

from __future__ import annotations

import os
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.capture.files import contents, sha, write
from tests.unit.capture.jobs import File, capture


def test_checkpoints_of_one_training_are_revisions_of_one_another(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    with capture(tmp_path) as job:
        with job.run.training("a") as training:
            for step in range(3):
                training.log_model(write(path, f"a{step}"), step=step)
        with job.run.training("b") as training:
            training.log_model(write(path, "b0"), step=0)
            training.log_model(write(tmp_path / "checkpoint", "b1"), step=1, derived_from=[])
    file = job.file
    rows = {(file.objects("wasGeneratedBy", row)[0]["label"], row["step"]): row for row in file.all("Model")}
    assert sorted(rows) == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)]
    # Each was digested as it was declared, before the next one was written over it.
    assert {key: file.content(row) for key, row in rows.items()} == {
        (name, step): [sha(f"{name}{step}")] for name, step in rows
    }
    chains = {
        (rows_key(rows, row["subject"]), rows_key(rows, row["object"])) for row in file.relations("wasRevisionOf")
    }
    assert chains == {(("a", 1), ("a", 0)), (("a", 2), ("a", 1)), (("b", 1), ("b", 0))}


def _chains(file: File) -> set[tuple[str, str]]:
    return {(row["subject"]["label"], row["object"]["label"]) for row in file.relations("wasRevisionOf")}


def test_models_of_different_names_are_chains_of_their_own(tmp_path: Path) -> None:
    with capture(tmp_path) as job, job.run.training() as training:
        for step in (0, 10):
            for name in (
                f"generator-{step:04}.pt",
                f"discriminator-{step:04}.pt",
                f"epoch={step}-loss={1e-5 * step}.ckpt",
            ):
                training.log_model(write(tmp_path / name, f"{name} {step}"), label=name, step=step)
        # A name that the user gives is the name, whatever the file is called.
        for name in ("x.bin", "y.bin"):
            average = training.log_model(write(tmp_path / name, name), label="ema")
        training.log_model(write(tmp_path / "final", "g"), label="final", derived_from=average)
    assert _chains(job.file) == {
        ("generator-0010.pt", "generator-0000.pt"),
        ("discriminator-0010.pt", "discriminator-0000.pt"),
        ("epoch=10-loss=0.0001.ckpt", "epoch=0-loss=0.0.ckpt"),
        ("ema", "ema"),
    }
    assert ("final", "ema") in {
        (row["subject"]["label"], row["object"]["label"]) for row in job.file.relations("wasDerivedFrom")
    }


def test_models_of_folds_are_no_revisions_of_each_other(tmp_path: Path) -> None:
    with capture(tmp_path) as job, job.run.training() as training:
        for fold in training.sections("fold", 2):
            for epoch in fold.sections("epoch", 2):
                name = f"fold {fold.index}, epoch {epoch.index}"
                epoch.log_model(write(tmp_path / "model", name), label=name)
    assert _chains(job.file) == {(f"fold {fold}, epoch 1", f"fold {fold}, epoch 0") for fold in (0, 1)}


def rows_key(rows: dict[tuple[str, int], dict[str, Any]], row: dict[str, Any]) -> tuple[str, int]:
    """Return under which key a row stands."""
    return next(key for key, one in rows.items() if one["id"] == row["id"])


@pytest.mark.parametrize("by_path", [False, True], ids=["handle", "path"])
@pytest.mark.parametrize("copied", [False, True], ids=["in place", "copied over"])
def test_restoring_the_best_checkpoint(tmp_path: Path, by_path: bool, copied: bool) -> None:
    current = tmp_path / "current"
    saved = []
    with capture(tmp_path) as job:
        with job.run.training() as training:
            for epoch in training.sections("epoch", 3):
                path = write(tmp_path / f"e{epoch.index}", f"weights {epoch.index}")
                saved.append(training.log_model(path, step=epoch.index))
            best: Any = saved[1].path if by_path else saved[1]
            training.use_model(best, role="best")
            if copied:
                shutil.copy(tmp_path / "e1", current)
                training.log_model(current, step=1, derived_from=[best])
            training.log_model(write(tmp_path / "e3", "weights 3"), step=3)
        with job.run.evaluation(use={"restored": best}):
            pass
    file = job.file
    models = {Path(row["path"]).name: row for row in file.all("Model")}
    assert sorted(models) == sorted(["e0", "e1", "e2", "e3"] + ["current"] * copied)
    used = {
        (row["subject"]["cls"], row["object"]["label"], row["role"])
        for row in file.relations("used")
        if row["object"]["cls"] == "Model"
    }
    assert used == {
        ("TrainingExecution", str(tmp_path / "e1"), "best"),
        ("EvaluationExecution", str(tmp_path / "e1"), "restored"),
    }
    pairs = {(Path(a).name, Path(b).name) for a, b in file.pairs("wasDerivedFrom")}
    assert pairs == {("e1", "e0"), ("e2", "e1"), ("e3", "e1")} | ({("current", "e1")} if copied else set())
    if copied:
        assert file.content(models["current"]) == file.content(models["e1"]) == [sha("weights 1")]


def test_a_step_that_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "data", "same")
    with capture(tmp_path, phase="curation") as job:
        raw = job.run.use_dataset(path)
        with job.run.activity("clean", use=raw) as work:
            work.generate_dataset(path, derived_from=raw)
        with job.run.activity("check", use=path):
            pass
    file = job.file
    before, after = sorted(file.all("Dataset"), key=lambda row: len(file.objects("wasGeneratedBy", row)))
    assert file.content(before) == file.content(after) == [sha("same")]
    assert [(r["subject"]["id"], r["object"]["id"]) for r in file.relations("wasDerivedFrom")] == [
        (after["id"], before["id"])
    ]
    reads = {row["subject"]["label"]: row["object"]["id"] for row in file.relations("used")}
    assert (reads["clean"], reads["check"]) == (before["id"], after["id"])


def test_a_file_that_goes_from_a_to_b_and_back(tmp_path: Path) -> None:
    path = write(tmp_path / "data", "A")
    with capture(tmp_path, phase="preparation") as job:
        last = job.run.use_dataset(path)
        for number, text in enumerate(("B", "A", "B"), 1):
            with job.run.activity(f"step {number}", use=last) as work:
                last = work.generate_dataset(write(path, text), derived_from=last)
    file = job.file
    versions = [row for row in file.all("Dataset") if row["cls"] == "Dataset"]
    for number in (1, 2, 3):
        (made,) = file.subjects("wasGeneratedBy", file.one("DataTransformationExecution", label=f"step {number}"))
        versions.append(made)
    assert [file.content(row) for row in versions] == [[sha(text)] for text in "ABAB"]
    assert len({row["id"] for row in versions}) == 4
    chain = {(row["subject"]["id"], row["object"]["id"]) for row in file.relations("wasDerivedFrom")}
    assert chain == {(new["id"], old["id"]) for old, new in pairwise(versions)}
    reads = {row["subject"]["label"]: row["object"]["id"] for row in file.relations("used")}
    assert reads == {"job": versions[0]["id"]} | {f"step {n}": versions[n - 1]["id"] for n in (1, 2, 3)}
    assert len(file.all("Content")) == 2


@pytest.mark.parametrize("bare", [False, True], ids=["declared", "bare path"])
def test_a_file_changed_in_place_between_two_uses(tmp_path: Path, bare: bool) -> None:
    path = write(tmp_path / "data", "first")
    with capture(tmp_path) as job:
        for text in ("first", "second"):
            write(path, text) if text != "first" else None
            if bare:
                with job.run.activity(text, use=path):
                    pass
            else:
                job.run.use_dataset(path, role=text)
    file = job.file
    assert sorted(contents(file, "LearningDataset")) == sorted([[sha("first")], [sha("second")]])
    reads = {row["role"] or row["subject"]["label"]: row["object"] for row in file.relations("used")}
    assert {name: file.content(row) for name, row in reads.items()} == {n: [sha(n)] for n in ("first", "second")}


def test_empty_files_say_nothing_of_each_other(tmp_path: Path) -> None:
    with capture(tmp_path) as job:
        job.run.use_dataset(write(tmp_path / "a", ""))
        job.run.use_dataset(write(tmp_path / "b", ""))
        with job.run.activity("work") as work:
            work.generate_dataset(write(tmp_path / "c", ""))
        job.run.use_dataset(np.zeros(0), label="d")
        (tmp_path / "folder").mkdir()
        job.run.use_dataset(tmp_path / "folder", label="e")
    file = job.file
    assert len(file.all("Dataset")) == 5
    assert file.all("Content") == []
    assert {row["digest_state"] for row in file.all("Dataset", size=0) if row["label"] not in "de"} == {"whole"}


def test_a_copied_file_meets_its_original_through_the_bytes(tmp_path: Path) -> None:
    original = write(tmp_path / "original", "bytes")
    copy = Path(shutil.copy2(original, tmp_path / "copy"))
    with capture(tmp_path) as job:
        job.run.use_dataset(original)
        job.run.use_dataset(copy)
        # One file under two names as well.
        os.link(original, tmp_path / "link")
        job.run.use_dataset(tmp_path / "link")
    file = job.file
    assert contents(file, "LearningDataset") == [[sha("bytes")]] * 3
    assert len(file.all("Content")) == 1
    assert file.relations("wasDerivedFrom") == []


def test_the_same_bytes_as_model_and_as_dataset(tmp_path: Path) -> None:
    path = write(tmp_path / "weights", "w")
    with capture(tmp_path) as job:
        with job.run.training() as training:
            model = training.log_model(path)
        with job.run.evaluation(use=[model]) as evaluation:
            evaluation.use_dataset(path)
            evaluation.use_model(path)
    file = job.file
    as_model, as_data = file.one("Model"), file.one("LearningDataset")
    assert file.content(as_model) == file.content(as_data) == [sha("w")]
    assert len(file.all("Content")) == 1
    used = {row["object"]["id"] for row in file.relations("used")}
    assert used == {as_model["id"], as_data["id"]}
