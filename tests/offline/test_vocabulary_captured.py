"""Everything that PROV-ML can say is said by some call, and what comes of it is valid on every level."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

import provml_hpc as provml
from provml_hpc.assembly.graph import Graph
from provml_hpc.vocabulary import CLASSES, RELATIONS
from provml_tools.rdf import convert
from provml_tools.validate import validate
from tests import standin
from tests.mpi import launch
from tests.offline import reasoner

SAID_BY = {
    "Study": "init(study=)",
    "Workflow": "init(phase='curation')",
    "WorkflowExecution": "init(phase='curation')",
    "LearningExperiment": "init(phase='learning')",
    "LearningExperimentExecution": "init(phase='learning')",
    "DataTransformation": "run.activity",
    "DataTransformationExecution": "run.activity",
    "Training": "run.training",
    "TrainingExecution": "run.training",
    "Validation": "run.validation",
    "ValidationExecution": "run.validation",
    "Evaluation": "run.evaluation",
    "EvaluationExecution": "run.evaluation",
    "LearningStageSection": "training.sections",
    "LearningStageSectionExecution": "training.sections",
    "FeatureExtraction": "run.feature_extraction",
    "FeatureExtractionExecution": "run.feature_extraction",
    "Dataset": "use_dataset in a curation",
    "LearningDataset": "use_dataset in a learning job",
    "FeatureSetData": "generate_features",
    "Model": "log_model",
    "Content": "any file, by its digest",
    "DataStore": "any file, or run.reference",
    "DataReference": "any file, or run.reference",
    "DatasetCharacteristic": "use_dataset(characteristics=)",
    "LearningTask": "run.training(task=)",
    "Algorithm": "run.training(algorithm=)",
    "Implementation": "the script, found by itself",
    "Software": "its packages, found by themselves",
    "LearningHyperparameter": "log_params, params=",
    "LearningHyperparameterValue": "log_params, params=",
    "ModelHyperparameter": "log_model(params=)",
    "ModelHyperparameterValue": "log_model(params=)",
    "EvaluationMeasure": "log, evaluate, measures=",
    "EvaluationSpecification": "run.training(measures=, procedure=)",
    "EvaluationProcedure": "run.training(procedure=)",
    "ModelEvaluation": "evaluate",
    "Persona": "run.persona, init(persona=)",
    "Organization": "run.persona of a mapping with organization",
    "Attribute": "log_values",
    "AttributeValue": "log_values",
    "Job": "init",
    "Rank": "init",
    "ComputeNode": "init",
    "Attempt": "init",
    "RankExecution": "run.training, of several ranks or one",
    "MetricSeries": "log",
}
"""Which call says each class."""

FOUND_BY_TELEMETRY = {"Device", "TelemetrySeries"}
"""What the sampler finds by itself, where init(telemetry=) does not turn it off."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Capture one job of each phase with every call there is, and return their files."""
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "raw.csv").write_text("x,y\n1,2\n")
    (folder / "pretrained.npz").write_text("weights of somebody else")
    files = [folder / f"{name}.h5" for name in ("curation", "first", "second")]
    with provml.init("curate", phase="curation", study="lines", output=files[0], persona="0000-0002-1825-0097") as run:
        raw = run.use_dataset(folder / "raw.csv", persona={"name": "Ada", "identifier": "ada@example.org"})
        table = run.reference("postgresql://well-logs", "public.logs")
        with run.activity("clean", use=[raw, table], params={"strict": True}, persona="Ben") as step:
            (folder / "tiles").mkdir()
            for number in range(2):
                (folder / "tiles" / f"{number}.csv").write_text(f"{number}\n")
                step.generate_dataset(
                    folder / "tiles" / f"{number}.csv",
                    derived_from=[raw],
                    member_of=folder / "tiles",
                    characteristics={"rows": 1},
                )
    for file, earlier in zip(files[1:], (None, files[1]), strict=True):
        _learn(folder, file, earlier)
    return files


def _learn(folder: Path, file: Path, earlier: Path | None) -> None:
    with provml.init("learn", phase="learning", study="lines", output=file, continues=earlier) as run:
        run.persona("Grace", role="scientist")
        run.persona({"name": "Institute of Seismics", "organization": True}, role="funder")
        run.log_params({"batch": 32})
        run.log_values({"seed": 7})
        with run.feature_extraction("scale", algorithm="PCA", use=[folder / "tiles"]) as step:
            np.save(folder / "features.npy", np.arange(4))
            features = step.generate_features(folder / "features.npy", characteristics={"samples": 4})
        with run.training(
            task="regression",
            algorithm="SGD",
            measures=["r2", "mae"],
            procedure="5-fold cross-validation",
            use={"training": features, "initial": run.use_model(folder / "pretrained.npz", persona="Zoe")},
            params={"lr": 0.1},
        ) as training:
            for epoch in training.sections("epoch", 2):
                training.log(epoch.index, loss=1.0)
                training.log(epoch.index, loss=0.5, grad_norm=2.0)
                (folder / "model.npz").write_text(f"{file.name} {epoch.index}")
                model = epoch.log_model(folder / "model.npz", step=epoch.index, params={"width": 3})
                with epoch.validation(use=[model, features]) as validation:
                    validation.evaluate(r2=0.5, model=model, on=features)
        with run.evaluation(use=[model, features], procedure="hold-out", measures="r2") as evaluation:
            evaluation.evaluate(r2=0.75, model=model, on=features)


@pytest.fixture(scope="module")
def graphs(files: list[Path]) -> list[Graph]:
    """Return what the jobs said."""
    return [provml.open(file).graph for file in files]


def test_the_table_names_every_class() -> None:
    assert set(SAID_BY) | FOUND_BY_TELEMETRY == {cls.name for cls in CLASSES if not cls.abstract}


@pytest.mark.parametrize("name", SAID_BY)
def test_a_class_is_said(name: str, graphs: list[Graph]) -> None:
    assert sum(len(graph.nodes[name]) for graph in graphs if name in graph.nodes), SAID_BY[name]


def test_what_telemetry_finds_is_said_and_valid(tmp_path: Path) -> None:
    """On a stand-in for NVIDIA's library (tests/standin): no GPU is measured here."""
    for needed in ("pynvml", "psutil"):
        pytest.importorskip(needed, reason=f"{needed} is not there: pip install provml-hpc[telemetry]")
    job = tmp_path / "telemetry.h5"
    launch.mpi_run(
        "telemetry.py", None, [job, "{}"], cwd=tmp_path, env=standin.environment("devices=1"), timeout=120
    ).check()
    with provml.open(job) as file:
        said = {name for name in FOUND_BY_TELEMETRY if name in file.graph.nodes and len(file.graph.nodes[name])}
    assert said == FOUND_BY_TELEMETRY
    assert validate(job).findings == []


@pytest.mark.parametrize("name", [relation.name for relation in RELATIONS])
def test_a_relation_is_said(name: str, graphs: list[Graph]) -> None:
    assert sum(len(graph.relations[name]) for graph in graphs if name in graph.relations)


def test_all_of_it_is_valid(files: list[Path]) -> None:
    for file in files:
        report = validate(file)
        assert report.findings == []
        assert report.checked["statements"] > 50


@reasoner.needs_reference
@reasoner.needs_reasoner
def test_all_of_it_is_consistent(graphs: list[Graph], tmp_path: Path) -> None:
    stream = BytesIO()
    convert(graphs, stream, "ntriples", samples=True)
    assert reasoner.is_consistent(reasoner.theory() | reasoner.text(stream.getvalue().decode()), tmp_path)
