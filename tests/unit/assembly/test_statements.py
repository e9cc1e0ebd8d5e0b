"""What is said of activities and entities, and what of it ML-Schema allows."""

from __future__ import annotations

import pytest

from provml_hpc import records
from provml_hpc.assembly.builder import Builder
from provml_hpc.records import NO_STEP
from tests.unit.assembly.builder import EVALUATION, RUN, STEP, TRAINING, FakeFrames


def test_a_parameter_that_all_ranks_log_is_one_value() -> None:
    frames = FakeFrames(4)
    for rank in frames.ranks():
        stage = rank.open(TRAINING)
        rank.value("LearningHyperparameterValue", "lr", "0.001", activity=stage)
        rank.value("LearningHyperparameterValue", "seed", str(rank.source.rank), activity=stage)
    view = frames.view()
    lr = view.one("LearningHyperparameterValue", label="lr")
    assert (lr["value"], lr["value_type"], lr["ranks"]) == ("0.001", "real", "0-3")
    assert view.to(lr, "used") == view.to(lr, "hasInput") == [view.one(TRAINING)]
    assert [row["ranks"] for row in view.all("LearningHyperparameterValue") if row["label"] == "seed"] == list("0123")
    assert len(view.all("LearningHyperparameter")) == 2


def test_what_is_logged_on_the_run_has_prov_relations_only() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    rank.value("LearningHyperparameterValue", "lr", "0.001")
    rank.read("LearningDataset", "/d/x", (1, 2, 3))
    rank(records.Evaluated(0, 0, 0, NO_STEP, "accuracy", "real", "0.9"))
    rank.make("Model", "/m/x")
    view = frames.view()
    assert len(view.links["used"]) == 2
    assert len(view.links["wasGeneratedBy"]) == 2
    assert not {"hasInput", "hasOutput"} & set(view.links)


def test_a_model_that_is_read_and_data_that_is_written_have_prov_relations_only() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    stage = rank.open(EVALUATION)
    rank.read("Model", "/m/x", (1, 2, 3), activity=stage)
    rank.make("LearningDataset", "/d/y", activity=stage)
    view = frames.view()
    assert (len(view.links["used"]), len(view.links["wasGeneratedBy"])) == (1, 1)
    assert not {"hasInput", "hasOutput"} & set(view.links)


def test_what_happens_in_a_section_or_an_inner_step_is_the_stages_input_and_output() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    stage = rank.open(TRAINING)
    epoch = rank.section(stage, 0)
    inner = rank.open(STEP, parent=epoch, own=True)
    rank.read("LearningDataset", "/d/x", (1, 2, 3), activity=inner)
    rank(records.Evaluated(epoch, 0, 0, 7, "accuracy", "real", "0.9"))
    view = frames.view()
    training = view.one(TRAINING)
    assert view.of(training, "hasInput") == view.all("LearningDataset")
    assert view.of(training, "hasOutput") == view.all("ModelEvaluation")
    assert view.of(view.one("LearningExperimentExecution"), "hasPart") == [training]


def test_parameters_of_a_model_are_its_settings_and_were_used() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    stage = rank.open(TRAINING)
    model = rank.make("Model", "/m/x", activity=stage)
    rank.value("ModelHyperparameterValue", "layers", "3", activity=stage, entity=model)
    view = frames.view()
    setting = view.one("ModelHyperparameterValue")
    assert view.to(setting, "hasSetting") == [view.one("Model")]
    assert view.to(setting, "used") == view.to(setting, "hasInput") == [view.one(TRAINING)]
    assert [row["label"] for row in view.of(setting, "specifiedBy")] == ["layers"]


def test_characteristics_of_data_are_qualities_and_those_of_anything_else_attributes() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    data = rank.read("LearningDataset", "/d/x", (1, 2, 3))
    model = rank.read("Model", "/m/x", (4, 5, 6))
    for entity in (data, model, 0):
        rank.value("DatasetCharacteristic", "samples", "100", entity=entity, used=False)
    view = frames.view()
    assert view.to(view.one("DatasetCharacteristic"), "hasQuality") == view.all("LearningDataset")
    owners = {
        view.class_of[row["id"]] for value in view.all("AttributeValue") for row in view.to(value, "hasAttribute")
    }
    assert owners == {"Model", "LearningExperimentExecution"}


def test_evaluations_of_all_ranks_are_one_where_they_agree() -> None:
    frames = FakeFrames(3)
    for rank in frames.ranks():
        stage = rank.open(EVALUATION)
        data = rank.read("LearningDataset", "/d/x", (1, 2, 3), activity=stage)
        model = rank.read("Model", "/m/x", (4, 5, 6), activity=stage)
        value = "0.9" if rank.source.rank < 2 else "0.8"
        for _ in range(2):
            rank(records.Evaluated(stage, data, model, NO_STEP, "accuracy", "real", value))
    view = frames.view()
    found = sorted((row["value"], row["ranks"]) for row in view.all("ModelEvaluation"))
    assert found == [("0.8", "2"), ("0.8", "2"), ("0.9", "0-1"), ("0.9", "0-1")]
    for row in view.all("ModelEvaluation"):
        assert view.of(row, "ofModel") == view.all("Model")
        assert view.of(row, "onData") == view.all("LearningDataset")


def test_use_stands_once_on_a_shared_activity_with_its_ranks_and_its_role() -> None:
    frames = FakeFrames(4)
    for rank in frames.ranks():
        stage = rank.open(TRAINING)
        handle = rank.read("LearningDataset", "/d/x", (1, 2, 3), activity=stage, role="training")
        rank(records.Used(stage, handle, "training"))
        if rank.source.rank == 3:
            rank(records.Used(stage, handle, "validation"))
    uses = frames.view().links["used"]
    assert [(row["role"], row["ranks"]) for row in uses] == [("training", "0-3"), ("validation", "3")]


def test_people_plans_and_the_study() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    rank(records.Associated(0, "Ada", "ada@example.org", "owner"))
    stage = rank.open(TRAINING, task="segmentation", algorithm="SGD")
    rank.section(stage, 0)
    rank.section(stage, 1)
    rank(records.Associated(stage, "Grace", "", ""))
    view = frames.view(study="netherlands-f3")
    run, training = view.one("LearningExperimentExecution"), view.one(TRAINING)
    assert sorted(row["identifier"] for row in view.all("Persona")) == ["Grace", "ada@example.org"]
    (by,) = [row for row in view.links["wasAssociatedWith"] if row["role"] == "owner"]
    assert (by["subject"], view.node[by["plan"]]["label"]) == (run["id"], "facies-unet")
    assert [row["label"] for row in view.of(view.one("Study"), "hadMember")] == ["facies-unet"]
    assert [row["label"] for row in view.of(training, "achieves")] == ["segmentation"]
    assert [row["label"] for row in view.of(training, "realizes")] == ["SGD"]
    assert [row["label"] for row in view.all("LearningStageSection")] == ["epoch"]
    plan = view.one("Training")
    assert view.of(view.one("LearningStageSection"), "isPartOf") == [plan]
    assert view.of(plan, "isPartOf") == view.all("LearningExperiment")
    assert "Persona" in {view.class_of[row["id"]] for row in view.of(view.one("Job"), "actedOnBehalfOf")}


def test_a_task_outside_of_learning_leaves_nothing_without_a_relation() -> None:
    frames = FakeFrames()
    frames.rank().open("FeatureExtractionExecution", task="t", algorithm="a")
    view = frames.view()
    assert view.all("LearningTask") == view.all("Algorithm") == []


def test_each_attempt_ran_the_code_that_it_found() -> None:
    frames = FakeFrames()
    for attempt, commit in ((1, "c1"), (2, "c2")):
        rank, side = frames.rank(attempt=attempt), frames.rank(attempt=attempt, lane=1)
        rank.open(TRAINING, algorithm="SGD")
        facts = {"command.script": "/home/u/train.py", "code.commit": commit, "code.dirty": "false"}
        for name, text in facts.items():
            side(records.Fact("run", name, "text", text))
        side(records.Fact("package", "numpy", "text", f"1.{attempt}"))
        rank(records.Fact("capture", "flush_ns", "integer", str(10 + attempt)))
        rank(records.Fact("capture", "strange", "integer", "not a number"))
    view = frames.view()
    stages = view.all(TRAINING)
    ran = [[row["version"] for row in view.of(stage, "executes")] for stage in stages]
    assert ran == [["c1"], ["c2"]]
    for code in view.all("Implementation"):
        assert [row["version"] for row in view.of(code, "requires")] == [f"1.{code['version'][1]}"]
        assert [row["label"] for row in view.of(code, "implements")] == ["SGD"]
    # Both attempts took their time.
    assert view.graph.run.details["cost"] == {"flush_ns": {0: 23.0}}


@pytest.mark.parametrize(("dirty", "tracked"), [("true", ""), ("unknown", ""), ("false", "false")])
def test_code_that_no_commit_tells_is_known_by_its_script_too(dirty: str, tracked: str) -> None:
    frames = FakeFrames()
    rank = frames.rank()
    facts = {
        "command.script": "/home/u/train.py",
        "code.commit": "c1",
        "code.dirty": dirty,
        "code.script_tracked": tracked,
        "command.script_sha256": "ab",
    }
    for name, text in facts.items():
        if text:
            rank(records.Fact("run", name, "text", text))
    assert frames.view().one("Implementation")["version"] == "c1+sha256:ab"


def test_code_outside_of_a_repository_is_known_by_its_script_alone() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    rank(records.Fact("run", "command.script", "text", "/home/u/train.py"))
    assert frames.view().all("Implementation") == [], "its version is not known yet"
    rank(records.Fact("run", "code.reason", "text", "no repository"))
    unknown = frames.view().one("Implementation")
    assert unknown["version"] == ""
    rank(records.Fact("run", "command.script_sha256", "text", "ab"))
    known = frames.view().one("Implementation")
    assert known["version"] == "sha256:ab"
    assert known["uuid"] != unknown["uuid"]


def test_losses_are_listed_with_their_activity() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    stage = rank.open(TRAINING)
    rank(records.Dropped(stage, 17, "buffer full", "loss"))
    view = frames.view()
    assert view.graph.run.details["dropped"] == [
        {
            "rank": 0, "attempt": 1, "reason": "buffer full", "name": "loss", "count": 17,
            "activity": view.one(TRAINING)["uuid"],
        }
    ]  # fmt: skip


def test_going_on_from_another_run() -> None:
    frames = FakeFrames()
    other = "9a0d2a44-1111-4222-8333-0123456789ab"
    frames.rank()(records.Continued(other, "/d/first.h5"))
    frames.rank()(records.Continued(RUN, "/d/itself.h5"))
    view = frames.view()
    assert [row["uuid"] for row in view.of(view.one("LearningExperimentExecution"), "wasInformedBy")] == [other]


def test_an_opening_of_another_thread_is_not_taken_for_one_of_the_runs_own() -> None:
    frames = FakeFrames()
    rank, side = frames.rank(), frames.rank(lane=1)
    rank.open(TRAINING, algorithm="SGD")
    side.open(TRAINING, "elsewhere", algorithm="Adam")
    view = frames.view()
    assert [row["label"] for row in view.of(view.one(TRAINING), "realizes")] == ["SGD"]


def test_values_of_newer_classes_and_types_are_kept_as_attributes() -> None:
    frames = FakeFrames()
    rank = frames.rank()
    rank(records.Named(9999, 0, 0, 1, "x", "quaternion", "1i"))
    rank(records.Declared(9999, 0, 1, 0, NO_STEP, 0, 0, 0, "y", "/y", "", "", "", "", ""))
    rank(records.Declared(1, 0, 0, 0, NO_STEP, 1, 2, 3, "z", "/z", "", "", "", "", ""))
    view = frames.view()
    assert (view.one("AttributeValue")["value"], view.one("AttributeValue")["value_type"]) == ("1i", "text")
    assert [row["label"] for row in view.all("Dataset")] == ["y"]
    assert [row["label"] for row in view.all("LearningDataset")] == ["z"]


def test_a_run_without_records_has_an_empty_graph() -> None:
    frames = FakeFrames()
    assert frames.view().graph.nodes == {}
    frames.rank(lane=1)
    assert frames.view().graph.nodes == {}


def test_a_relation_to_somebody_who_is_lost_is_left_out() -> None:
    build = Builder()
    build.node("Persona", "a", 0, label="ada")
    build.node("Persona", "b", 0, label="bob")
    build.relate("actedOnBehalfOf", "a", "b", 0)
    build.relate("actedOnBehalfOf", "a", "lost", 0)
    build.relate("atLocation", "lost", "a", 0)
    build.relate("wasAssociatedWith", "a", "b", 0, plan="lost")
    _, relations, _ = build.tables()
    assert {name: len(table) for name, table in relations.items()} == {"actedOnBehalfOf": 1, "wasAssociatedWith": 1}
