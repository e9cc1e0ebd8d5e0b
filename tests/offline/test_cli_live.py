"""The commands on the files of real runs: while one goes on, when it has ended, and when it has died."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import provml_hpc as provml
from provml_tools import cli


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[provml.Run]:
    """Yield a run of one process that goes on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROVML_DEBUG", raising=False)
    (tmp_path / "raw.csv").write_text("1,2\n")
    with provml.init("line", phase="learning", study="lines", output="line.h5", persona="Ada") as one:
        yield one


def train(run: provml.Run) -> None:
    """Train for two epochs, keep a model, and evaluate it."""
    raw = run.use_dataset("raw.csv", role="training", characteristics={"points": 2})
    with run.training(use=[raw], params={"rate": 0.5}) as training:
        for epoch in training.sections("epoch", 2):
            for step in range(3):
                training.log(3 * epoch.index + step, loss=1 / (1 + epoch.index))
            epoch.evaluate(accuracy=0.5 + 0.25 * epoch.index)
            run.flush()
        Path("model.bin").write_bytes(b"weights")
        model = training.log_model("model.bin", params={"layers": 3})
    with run.evaluation(use=[model, raw]) as evaluation:
        evaluation.evaluate(f1=0.875)
    run.flush()


def rows(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    """Return the rows that a question is answered with."""
    capsys.readouterr()
    assert cli.main(["query", "line.h5", *words, "--format", "json"]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def check(capsys: pytest.CaptureFixture[str]) -> None:
    """Check the answers, which are the same whether the run goes on or not."""
    (best,) = rows(capsys, "compare-trainings")
    assert {name: best[name] for name in ("experiment", "study", "rate", "layers", "accuracy", "loss", "f1")} == {
        "experiment": "line", "study": "lines", "rate": 0.5, "layers": 3, "accuracy": 0.75, "loss": 0.5, "f1": 0.875,
    }  # fmt: skip
    progress = rows(capsys, "training-progress")
    assert [(row["section"], row["accuracy"], row["loss mean"], row["samples"]) for row in progress] == [
        ("epoch 0", 0.5, 1.0, 3),
        ("epoch 1", 0.75, 0.5, 3),
    ]
    lineage = rows(capsys, "model-lineage", "--model", "model.bin")
    assert [(row["distance"], row["kind"], row["link"]) for row in lineage] == [
        (0, "Model", ""),
        (1, "TrainingExecution", "made by"),
        (2, "LearningDataset", "used"),
    ]
    assert lineage[2]["details"] == {"points": 2}
    assert lineage[1]["who"] == "Ada"
    assert [row["model"] for row in rows(capsys, "data-impact", "--data", "raw.csv")] == [lineage[0]["name"]]
    (data,) = rows(capsys, "best-model-data", "--measure", "f1")
    assert (data["value"], data["dataset"]) == (0.875, lineage[2]["name"])


def test_while_the_run_goes_on(run: provml.Run, capsys: pytest.CaptureFixture[str]) -> None:
    train(run)
    assert Path("line.h5.partial").exists()
    check(capsys)
    assert cli.main(["info", "line.h5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["status"] == "running"
    assert found["who"] == ["Ada"]
    assert found["rows"]["samples"] == 6
    assert cli.main(["convert", "line.h5", "--to", "turtle", "-o", "line.ttl"]) == 0
    assert "provml:TrainingExecution" in Path("line.ttl").read_text()
    # A job that lives is not recovered.
    assert cli.main(["recover", "line.h5"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("provml recover: error: ")


def test_when_it_has_ended(run: provml.Run, capsys: pytest.CaptureFixture[str]) -> None:
    train(run)
    run.finish()
    assert not Path("line.h5.partial").exists()
    check(capsys)
    assert cli.main(["info", "line.h5"]) == 0
    said = capsys.readouterr().out
    assert "status      finished" in said
    assert "own cost" in said
    assert cli.main(["recover", "line.h5"]) == 0
    assert "complete already" in capsys.readouterr().out


def test_when_it_has_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    program = """
import os
import provml_hpc as provml
run = provml.init("line", phase="learning", output="line.h5")
with run.training(params={"rate": 0.5}) as training:
    for step in range(5):
        training.log(step, loss=1.0)
    run.flush()
    training.log(5, loss=1.0)
    os._exit(9)
"""
    died = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert died.returncode == 9
    assert cli.main(["info", "line.h5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "incomplete"

    before = sorted(path.name for path in tmp_path.iterdir())
    assert cli.main(["recover", "line.h5", "--dry-run"]) == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == before

    assert cli.main(["recover", "line.h5.partial"]) == 0
    assert "is complete" in capsys.readouterr().out
    assert cli.main(["info", "line.h5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["status"] == "recovered"
    # The last one was in the journal only.
    assert found["rows"]["samples"] == 6


def test_recovering_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["recover", "missing.h5"]) == 1
    said = capsys.readouterr().err
    assert "missing.h5" in said
    assert said.count("\n") == 1
