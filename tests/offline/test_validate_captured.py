"""Jobs as users write them, captured and closed: valid on every level, each and together, and consistent in OWL."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest

import provml_hpc as provml
from provml_tools.cli import main
from provml_tools.rdf import convert
from provml_tools.validate import validate
from tests.offline import reasoner

FILES = ("curation.h5", "preparation.h5", "learning.h5", "again.h5")


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run four small jobs that share their data, and return their folder."""
    folder = tmp_path_factory.mktemp("jobs")
    raw = []
    for number in range(3):
        raw.append(folder / f"raw-{number}.csv")
        raw[-1].write_text(f"x,y\n{number},1\n")
    with provml.init("curate", phase="curation", study="lines", output=str(folder / "curation.h5")) as run:
        run.persona("Ada", role="curator")
        for path in raw:
            with run.activity("clean", use=[path], params={"strict": True}) as step:
                clean = path.with_name(path.name.replace("raw", "clean"))
                clean.write_text(path.read_text() + "\n")
                step.generate_dataset(clean, derived_from=[path], characteristics={"rows": 1, "columns": "x,y"})
    with (
        provml.init("prepare", phase="preparation", study="lines", output=str(folder / "preparation.h5")) as run,
        run.feature_extraction("scale", use=sorted(folder.glob("clean-*.csv"))) as step,
    ):
        (folder / "features.csv").write_text("0.5\n0.25\n")
        step.generate_features(folder / "features.csv", characteristics={"samples": 2})
    for name, earlier in (("learning.h5", None), ("again.h5", "learning.h5")):
        _learn(folder, name, folder / earlier if earlier else None)
    return folder


def _learn(folder: Path, name: str, earlier: Path | None) -> None:
    more = {"continues": str(earlier)} if earlier else {}
    with provml.init("learn", phase="learning", study="lines", output=str(folder / name), **more) as run:
        run.persona("Grace", role="scientist")
        data = run.use_dataset(folder / "features.csv", role="training", characteristics={"samples": 2})
        run.log_params({"lr": 0.1, "layers": [1, 2], "note": None})
        model = None
        with run.training(task="regression", algorithm="SGD", use=[data], params={"momentum": 0.9}) as training:
            for epoch in training.sections("epoch", 3):
                for step in range(4):
                    training.log(4 * epoch.index + step, loss=1 / (1 + step), gradient_norm=0.5)
                with epoch.section("batch", 0):
                    pass
                (folder / "model.npz").write_text(f"{name} {epoch.index}")
                model = epoch.log_model(folder / "model.npz", params={"width": 3}, step=4 * epoch.index + 3)
                epoch.evaluate(accuracy=0.5 + epoch.index / 10)
                with run.validation(use=[model, data]) as validation:
                    validation.evaluate(accuracy=0.5, step=epoch.index)
                run.flush()
        with run.evaluation(use=[model, data]) as evaluation:
            evaluation.evaluate(accuracy=0.75, model=model, on=data)


def test_every_file_is_valid(jobs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", *(str(jobs / name) for name in FILES), "--format", "json"]) == 0
    reports = json.loads(capsys.readouterr().out)
    assert [report["findings"] for report in reports] == [[]] * (len(FILES) + 1)
    assert reports[-1]["file"] == "all together"
    assert reports[2]["checked"]["samples"] == 12
    assert all(report["checked"]["statements"] > 50 for report in reports)


def test_a_log_is_valid_while_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1\n")
    run = provml.init("live", phase="learning", output=str(tmp_path / "live.h5"))
    with run.training(use=[tmp_path / "data.csv"]) as training:
        for step in range(5):
            training.log(step, loss=1.0)
        run.flush()
        report = validate(tmp_path / "live.h5.partial")
        assert report.findings == []
        assert report.checked["samples"] == 5
    run.finish()
    assert validate(tmp_path / "live.h5").findings == []


def test_what_is_said_of_a_training_just_after_its_end_is_valid(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1\n")
    with provml.init("late", phase="learning", output=str(tmp_path / "late.h5")) as run:
        data = run.use_dataset(tmp_path / "data.csv")
        with run.training() as training:
            training.log(0, loss=1.0)
        (tmp_path / "model.npz").write_text("model")
        model = training.log_model(tmp_path / "model.npz")
        training.evaluate(accuracy=0.5)
        training.use(data)
        training.log_params({"lr": 0.1})
        with run.evaluation(use=[model]) as evaluation:
            evaluation.evaluate(accuracy=0.5)
    assert validate(tmp_path / "late.h5").findings == []
    with provml.open(tmp_path / "late.h5") as file:
        assert [model.label for model in file.entities if model.kind == "Model"] == [str(tmp_path / "model.npz")]


@reasoner.needs_reference
@reasoner.needs_reasoner
def test_jobs_together_are_consistent(jobs: Path, tmp_path: Path) -> None:
    stream = BytesIO()
    readers = [provml.open(jobs / name) for name in FILES[:3]]
    try:
        convert([one.graph for one in readers], stream, "ntriples")
    finally:
        for one in readers:
            one.close()
    assert reasoner.is_consistent(reasoner.theory() | reasoner.text(stream.getvalue().decode()), tmp_path)
