"""The named questions on three small jobs, with answers worked out by hand; see `query_fixtures`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from provml_hpc.assembly.graph import ABSENT, Graph
from provml_hpc.errors import UsageError
from provml_tools.query import Answer, Engine, ask, catalog
from tests.offline import query_fixtures as fixtures
from tests.offline.query_fixtures import DAY, MONDAY, Builder


def answer(graphs: Sequence[Graph], name: str, **values: str) -> Answer:
    return ask(Engine(graphs), name, values)


def cells(found: Answer, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row.get(column) for column in columns) for row in found.rows]


class TestCompareTrainings:
    def test_each_training_in_a_row_best_first(self) -> None:
        found = answer(fixtures.jobs(), "compare-trainings")
        columns = ("training", "experiment", "study", "batch", "layers", "lr", "loss", "accuracy", "f1")
        # The own learning rate hides that of the run; the last loss and accuracy count; f1 was taken on one model.
        assert cells(found, *columns) == [
            ("trial-0", "facies-unet", "facies", 32, 3, 0.1, 0.4, 0.91, 0.88),
            ("trial-1", "facies-unet", "facies", 32, 4, 0.01, 0.8, 0.75, None),
        ]
        assert found.notes == ["best first by accuracy (higher is better); --measure takes another"]

    def test_what_a_training_was_said_to_be_judged_by_decides(self) -> None:
        job = Builder("search", "learning", MONDAY)
        for number in range(2):
            training = job.activity("TrainingExecution", f"trial-{number}", 10 * number, 10 * number + 9)
            specification = job.named("EvaluationSpecification", "regret")
            job.link("hasPart", specification, job.named("EvaluationMeasure", "regret"))
            job.link("assessedBy", training, specification)
            job.measure(training, "accuracy", 0.5 + number / 10, 10 * number + 1)
            job.measure(training, "regret", 1.0 + number, 10 * number + 2)
            model = job.data("Model", f"/models/{number}.npz", f"model {number}")
            job.generate(model, training, 10 * number + 3)
        found = answer([job.graph()], "compare-trainings")
        assert cells(found, "training") == [("trial-0",), ("trial-1",)]
        assert found.notes[0].startswith("best first by regret (lower is better)")
        assert cells(answer([job.graph()], "compare-trainings", measure="accuracy"), "training")[0] == ("trial-1",)
        assert cells(answer([job.graph()], "best-model-data"), "model", "measure", "value") == [
            ("0.npz", "regret", 1.0)
        ]
        chosen = answer([job.graph()], "best-model-data", measure="accuracy")
        assert cells(chosen, "model", "value") == [("1.npz", 0.6)]

    def test_a_loss_is_better_when_lower(self) -> None:
        found = answer(fixtures.jobs(), "compare-trainings", measure="loss")
        assert cells(found, "training") == [("trial-0",), ("trial-1",)]
        assert "lower is better" in found.notes[0]

    def test_the_direction_can_be_said(self) -> None:
        found = answer(fixtures.jobs(), "compare-trainings", measure="loss", direction="higher")
        assert cells(found, "training") == [("trial-1",), ("trial-0",)]

    def test_the_study_chooses(self) -> None:
        assert answer(fixtures.jobs(), "compare-trainings", study="facies").rows
        assert answer(fixtures.jobs(), "compare-trainings", study="other").rows == []

    def test_an_unknown_measure_lists_those_there_are(self) -> None:
        with pytest.raises(UsageError, match=r"'recall'.*accuracy, loss"):
            answer(fixtures.jobs(), "compare-trainings", measure="recall")

    def test_a_training_inside_a_training_has_measures_of_its_own(self) -> None:
        job = Builder("search", "learning", MONDAY)
        outer = job.activity("TrainingExecution", "outer", 0, 100)
        inner = job.activity("TrainingExecution", "inner", 10, 50, within=outer)
        job.param(outer, "depth", 2)
        job.measure(outer, "score", 1.0, 60)
        job.measure(inner, "score", 2.0, 70)
        found = answer([job.graph()], "compare-trainings")
        assert cells(found, "training", "depth", "score") == [("inner", 2, 2.0), ("outer", 2, 1.0)]

    def test_a_measure_of_the_training_and_of_its_validation_stand_apart(self) -> None:
        job = Builder("both", "learning", MONDAY)
        for number, (own, validated) in enumerate(((0.99, 0.5), (0.7, 0.6))):
            training = job.activity("TrainingExecution", f"t{number}", 100 * number, 100 * number + 99)
            validation = job.activity("ValidationExecution", "v", 100 * number + 1, 100 * number + 9, within=training)
            job.measure(validation, "accuracy", validated, 100 * number + 5)
            job.measure(training, "accuracy", own, 100 * number + 50)
        found = answer([job.graph()], "compare-trainings", measure="accuracy")
        # What validates decides.
        assert cells(found, "training", "accuracy", "validation accuracy") == [("t1", 0.7, 0.6), ("t0", 0.99, 0.5)]

    def test_a_validation_counts_as_the_training_s_own_where_another_has_only_that(self) -> None:
        job = Builder("mixed", "learning", MONDAY)
        plain = job.activity("TrainingExecution", "plain", 0, 9)
        job.measure(plain, "accuracy", 0.8, 5)
        careful = job.activity("TrainingExecution", "careful", 10, 19)
        job.measure(job.activity("ValidationExecution", "v", 11, 12, within=careful), "accuracy", 0.9, 11)
        found = answer([job.graph()], "compare-trainings")
        assert cells(found, "training", "accuracy") == [("careful", 0.9), ("plain", 0.8)]
        assert "validation accuracy" not in found.columns

    def test_of_values_said_by_ranks_apart_the_training_takes_that_of_its_own(self) -> None:
        job = Builder("trials", "learning", MONDAY)
        for rank in range(3):
            job.param(job.run, "lr", 0.1 * (rank + 1), ranks=str(rank))
            job.activity("TrainingExecution", f"t{rank}", 1 + rank, 9, ranks=str(rank))
        found = answer([job.graph()], "compare-trainings")
        assert sorted(cells(found, "training", "lr")) == [("t0", 0.1), ("t1", 0.2), ("t2", 0.1 * 3)]

    def test_what_is_no_number_stands_last(self) -> None:
        job = Builder("odd", "learning", MONDAY)
        for number, value in enumerate((float("nan"), 0.2, 0.9)):
            training = job.activity("TrainingExecution", f"t{number}", number, number + 1)
            job.measure(training, "accuracy", value, number)
        job.activity("TrainingExecution", "t3", 3, 4)
        found = answer([job.graph()], "compare-trainings")
        assert cells(found, "training") == [("t2",), ("t1",), ("t0",), ("t3",)]

    def test_a_parameter_with_the_name_of_a_column_has_one_of_its_own(self) -> None:
        job = Builder("clash", "learning", MONDAY)
        training = job.activity("TrainingExecution", "t", 0, 9)
        job.param(training, "study", "mine")
        found = answer([job.graph()], "compare-trainings")
        assert cells(found, "study", "study (hyperparameter)") == [("facies", "mine")]

    def test_nothing_to_compare_is_no_error(self) -> None:
        assert answer([fixtures.curation()], "compare-trainings").rows == []


class TestModelLineage:
    def lineage(self, graphs: Sequence[Graph], model: str = "unet-0.npz") -> list[tuple[Any, ...]]:
        return cells(answer(graphs, "model-lineage", model=model), "distance", "kind", "name", "link", "job")

    def test_from_the_model_to_the_raw_files_through_three_jobs(self) -> None:
        assert self.lineage(fixtures.jobs()) == [
            (0, "Model", "unet-0.npz", "", "facies-unet"),
            (1, "TrainingExecution", "trial-0", "made by", "facies-unet"),
            (2, "LearningDataset", "tiles.h5", "used", "facies-unet"),
            (3, "LearningDataset", "tiles.h5", "same bytes as", "make-tiles"),
            (4, "DataTransformationExecution", "split", "made by", "make-tiles"),
            (5, "Dataset", "a.npy", "used", "make-tiles"),
            (5, "Dataset", "b.npy", "used", "make-tiles"),
            # Empty: it was read, but the empty file that another activity made is not where it came from.
            (5, "Dataset", "notes.txt", "used", "make-tiles"),
            (6, "Dataset", "a.npy", "same bytes as", "curate-scans"),
            (6, "Dataset", "b.npy", "same bytes as", "curate-scans"),
            (7, "DataTransformationExecution", "clean", "made by", "curate-scans"),
            (7, "DataTransformationExecution", "clean", "made by", "curate-scans"),
            (8, "Dataset", "a.dat", "used", "curate-scans"),
            (8, "Dataset", "b.dat", "used", "curate-scans"),
        ]

    def test_raw_files_come_with_their_domain_characteristics_and_people(self) -> None:
        found = answer(fixtures.jobs(), "model-lineage", model="unet-0.npz")
        by_name = {row["name"]: row for row in found.rows}
        assert by_name["a.dat"]["details"] == {"inlines": 100}
        assert by_name["split"]["details"] == {"seed": 7, "tile_size": 64}
        # The characteristic was said in the job that made the tiles; it holds for the same bytes in the other one.
        assert found.rows[2]["details"] == {"samples": 1437}
        assert {row["name"]: row["who"] for row in found.rows if row["kind"].endswith("Execution")} == {
            "trial-0": "cleo",
            "split": "ben",
            "clean": "ada",
        }

    def test_the_tree_has_every_row_once_below_what_it_was_reached_from(self) -> None:
        found = answer(fixtures.jobs(), "model-lineage", model="unet-0.npz")
        assert found.tree is not None
        assert sorted(at for at, _ in found.tree) == list(range(len(found.rows)))
        assert [depth for _, depth in found.tree] == [found.rows[at]["distance"] for at, _ in found.tree]

    @pytest.mark.parametrize("model", ["unet-0.npz", "/models/unet-0.npz", "6d6f64656c2030", "models/unet-0.npz"])
    def test_a_model_is_known_by_name_path_and_digest(self, model: str) -> None:
        assert self.lineage(fixtures.jobs(), model)[0][2] == "unet-0.npz"

    def test_without_a_name_it_is_the_model_made_last(self) -> None:
        found = answer(fixtures.jobs(), "model-lineage")
        assert found.rows[0]["name"] == "unet-1.npz"
        assert "of 2 models" in found.notes[0]

    def test_an_unknown_model_lists_those_there_are(self) -> None:
        found = answer(fixtures.jobs(), "model-lineage", model="resnet")
        assert found.rows == []
        assert found.notes == ["no model is called 'resnet'; there are: unet-0.npz, unet-1.npz"]

    def test_what_was_made_after_the_use_is_no_origin(self) -> None:
        late = Builder("late", "preparation", MONDAY + 9 * DAY)
        again = late.activity("DataTransformationExecution", "again", 1, 9)
        late.generate(late.data("LearningDataset", "/prepared/tiles.h5", "tiles"), again, 5)
        assert self.lineage([*fixtures.jobs(), late.graph()]) == self.lineage(fixtures.jobs())

    def test_all_that_made_the_same_bytes_before_the_use_are_origins(self) -> None:
        early = Builder("early", "preparation", MONDAY + DAY // 2)
        first = early.activity("DataTransformationExecution", "first", 1, 9)
        early.generate(early.data("LearningDataset", "/elsewhere/tiles.h5", "tiles"), first, 5)
        found = self.lineage([*fixtures.jobs(), early.graph()])
        assert [row for row in found if row[4] == "early"] == [
            (3, "LearningDataset", "tiles.h5", "same bytes as", "early"),
            (4, "DataTransformationExecution", "first", "made by", "early"),
        ]

    def test_what_a_training_used_after_a_checkpoint_is_not_in_it(self) -> None:
        job = Builder("steps", "learning", MONDAY)
        training = job.activity("TrainingExecution", "t", 0, 100)
        for number in range(2):
            epoch = job.activity(
                "LearningStageSectionExecution", "epoch", 40 * number + 1, 40 * number + 39, within=training,
                section_kind="epoch", section_index=number,
            )  # fmt: skip
            job.use(epoch, job.data("LearningDataset", f"/part-{number}.h5", f"part {number}"), 40 * number + 2)
            job.generate(job.data("Model", f"/checkpoint-{number}.npz", f"model {number}"), epoch, 40 * number + 30)
        names = {n: {r[2] for r in self.lineage([job.graph()], f"checkpoint-{n}.npz")} for n in range(2)}
        assert names[0] == {"checkpoint-0.npz", "epoch", "part-0.h5"}
        assert names[1] == {"checkpoint-1.npz", "epoch", "part-0.h5", "part-1.h5"}

    def test_a_fold_does_not_learn_from_another_fold(self) -> None:
        job = Builder("folds", "learning", MONDAY)
        training = job.activity("TrainingExecution", "t", 0, 100)
        for number in range(2):
            fold = job.activity(
                "LearningStageSectionExecution", "fold", 40 * number + 1, 40 * number + 39, within=training,
                section_kind="fold", section_index=number,
            )  # fmt: skip
            job.use(fold, job.data("LearningDataset", f"/fold-{number}.h5", f"fold {number}"), 40 * number + 2)
            job.generate(job.data("Model", f"/model-{number}.npz", f"model {number}"), fold, 40 * number + 30)
        assert {row[2] for row in self.lineage([job.graph()], "model-1.npz")} == {"model-1.npz", "fold", "fold-1.h5"}

    def test_a_model_does_not_come_from_what_it_was_tested_on_or_from_models_that_were_only_tried(self) -> None:
        job = Builder("tries", "learning", MONDAY)
        training = job.activity("TrainingExecution", "t", 0, 100)
        job.use(training, job.data("LearningDataset", "/train.h5", "train"), 1)
        checkpoint = job.data("Model", "/checkpoint.npz", "checkpoint")
        job.generate(checkpoint, training, 20)
        validation = job.activity("ValidationExecution", "v", 30, 40, within=training)
        job.use(validation, checkpoint, 31)
        job.use(validation, job.data("LearningDataset", "/valid.h5", "valid"), 32)
        evaluation = job.activity("EvaluationExecution", "e", 41, 50, within=training)
        job.use(evaluation, job.data("LearningDataset", "/test.h5", "test"), 42)
        job.generate(job.data("Model", "/final.npz", "final"), training, 90)
        assert {row[2] for row in self.lineage([job.graph()], "final.npz")} == {
            "final.npz", "t", "train.h5", "valid.h5",
        }  # fmt: skip

    def test_a_stage_that_names_no_data_takes_what_the_run_used(self) -> None:
        job = Builder("bare", "learning", MONDAY)
        job.use(job.run, job.data("LearningDataset", "/all.h5", "all"), 1)
        training = job.activity("TrainingExecution", "t", 2, 50)
        job.generate(job.data("Model", "/m.npz", "m"), training, 40)
        job.use(job.run, job.data("LearningDataset", "/later.h5", "later"), 60)
        assert {row[2] for row in self.lineage([job.graph()], "m.npz")} == {"m.npz", "t", "all.h5"}

    def test_a_folder_came_from_its_members_and_a_member_from_its_folder(self) -> None:
        shards = Builder("shards", "preparation", MONDAY)
        folder = shards.data("LearningDataset", "/shards", "folder")
        for number in range(2):
            one = shards.activity("DataTransformationExecution", f"write-{number}", number, number + 1)
            shards.use(one, shards.data("Dataset", f"/raw-{number}", f"raw {number}"), number + 0.1)
            shard = shards.data("LearningDataset", f"/shards/{number}", f"shard {number}")
            shards.generate(shard, one, number + 0.5)
            shards.link("hadMember", folder, shard)
        whole = Builder("whole", "learning", MONDAY + DAY)
        training = whole.activity("TrainingExecution", "t", 1, 9)
        whole.use(training, whole.data("LearningDataset", "/shards", "folder"), 2)
        whole.generate(whole.data("Model", "/whole.npz", "whole"), training, 8)
        single = Builder("single", "learning", MONDAY + DAY)
        training = single.activity("TrainingExecution", "t", 1, 9)
        single.use(training, single.data("LearningDataset", "/shards/1", "shard 1"), 2)
        single.generate(single.data("Model", "/single.npz", "single"), training, 8)

        graphs = [shards.graph(), whole.graph(), single.graph()]
        found = {model: {row[2] for row in self.lineage(graphs, model)} for model in ("whole.npz", "single.npz")}
        assert {"raw-0", "raw-1"} <= found["whole.npz"]
        assert "raw-1" in found["single.npz"]
        assert "raw-0" not in found["single.npz"]

    def test_a_member_that_nobody_made_was_made_with_its_folder(self) -> None:
        maker = Builder("maker", "preparation", MONDAY)
        write = maker.activity("DataTransformationExecution", "write all", 1, 9)
        folder = maker.data("LearningDataset", "/shards", "folder")
        maker.link("hadMember", folder, maker.data("LearningDataset", "/shards/0", "shard 0"))
        maker.generate(folder, write, 5)
        job = Builder("reader", "learning", MONDAY + DAY)
        training = job.activity("TrainingExecution", "t", 1, 9)
        job.use(training, job.data("LearningDataset", "/shards/0", "shard 0"), 2)
        job.generate(job.data("Model", "/m", "m"), training, 8)
        # The file alone was read, and nobody made it alone; it lies in no folder that this job knows.
        assert "write all" not in {row[2] for row in self.lineage([maker.graph(), job.graph()], "m")}
        used = job.data("LearningDataset", "/shards", "folder")
        job.link("hadMember", used, job.known_data("/shards/0"))
        assert "write all" in {row[2] for row in self.lineage([maker.graph(), job.graph()], "m")}

    def test_a_cycle_of_equal_bytes_ends(self) -> None:
        # A file that goes A, B, A again, and a best checkpoint that is restored: bytes come back.
        job = Builder("back", "preparation", MONDAY)
        before = None
        for number, content in enumerate(("A", "B", "A")):
            step = job.activity("DataTransformationExecution", f"step-{number}", 10 * number, 10 * number + 9)
            if before is not None:
                job.use(step, before, 10 * number + 1)
            before = job.data("Dataset", "/file", content)
            job.generate(before, step, 10 * number + 5)
        training = job.activity("TrainingExecution", "t", 50, 60)
        job.use(training, job.data("Dataset", "/file", "A"), 51)
        job.generate(job.data("Model", "/m", "m"), training, 55)
        found = self.lineage([job.graph()], "m")
        assert [row[2] for row in found if row[1].startswith("DataT")] == ["step-0", "step-2", "step-1"]


class TestDataImpact:
    def test_the_models_that_a_raw_file_touched(self) -> None:
        found = answer(fixtures.jobs(), "data-impact", data="a.dat")
        assert cells(found, "data", "model", "distance") == [("a.dat", "unet-0.npz", 8), ("a.dat", "unet-1.npz", 8)]

    def test_a_rejected_file_touched_none(self) -> None:
        found = answer(fixtures.jobs(), "data-impact", data="bad.dat")
        assert found.rows == []
        assert found.notes == ["touched no model: bad.dat"]

    def test_without_a_name_it_tells_of_every_raw_file(self) -> None:
        found = answer(fixtures.jobs(), "data-impact", model="unet-1.npz")
        assert cells(found, "data", "model") == [
            ("notes.txt", "unet-1.npz"),
            ("a.dat", "unet-1.npz"),
            ("b.dat", "unet-1.npz"),
        ]

    def test_it_is_the_lineage_seen_from_the_other_end(self) -> None:
        graphs = fixtures.jobs()
        impact = set(cells(answer(graphs, "data-impact"), "data iri", "model iri"))
        back = set()
        for model in ("unet-0.npz", "unet-1.npz"):
            rows = answer(graphs, "model-lineage", model=model).rows
            raw = [row for row in rows if not any(other["parent"] == row["iri"] for other in rows)]
            back |= {(row["iri"], rows[0]["iri"]) for row in raw if row["kind"] == "Dataset"}
        assert impact >= back

    def test_two_contents_of_one_path_are_told_apart(self) -> None:
        graphs = []
        for day, content in enumerate(("old", "new")):
            job = Builder(f"run-{day}", "learning", MONDAY + day * DAY)
            training = job.activity("TrainingExecution", "t", 1, 9)
            job.use(training, job.data("Dataset", "/raw/scan.dat", content), 2)
            job.generate(job.data("Model", f"/m-{day}", f"m {day}"), training, 8)
            graphs.append(job.graph())
        found = answer(graphs, "data-impact", data="scan.dat")
        assert len({row["digest"] for row in found.rows}) == 2
        assert sorted(cells(found, "data", "model")) == [("scan.dat", "m-0"), ("scan.dat", "m-1")]

    def test_one_file_in_two_runs_touched_the_models_of_both(self) -> None:
        graphs = []
        for day, path in enumerate(("/raw/scan.dat", "/copy/scan.dat")):
            job = Builder(f"run-{day}", "learning", MONDAY + day * DAY)
            training = job.activity("TrainingExecution", "t", 1, 9)
            job.use(training, job.data("Dataset", path, "scan"), 2)
            job.generate(job.data("Model", f"/m-{day}", f"m {day}"), training, 8)
            graphs.append(job.graph())
        found = answer(graphs, "data-impact", data="/raw/scan.dat")
        assert sorted(cells(found, "model")) == [("m-0",), ("m-1",)]


class TestBestModelData:
    def test_the_best_model_its_dataset_and_the_preparation_parameters(self) -> None:
        found = answer(fixtures.jobs(), "best-model-data", measure="accuracy")
        columns = (
            "experiment",
            "model",
            "measure",
            "value",
            "dataset",
            "prepared by",
            "job",
            "who",
            "parameter",
            "setting",
        )
        best = ("facies-unet", "unet-0.npz", "accuracy", 0.91, "tiles.h5")
        assert cells(found, *columns) == [
            (*best, "split", "make-tiles", "ben", "seed", 7),
            (*best, "split", "make-tiles", "ben", "tile_size", 64),
            (*best, "clean", "curate-scans", "ada", "threshold", 0.5),
        ]

    def test_lower_is_better_for_a_loss_unless_said_otherwise(self) -> None:
        lowest = answer(fixtures.jobs(), "best-model-data", measure="loss")
        highest = answer(fixtures.jobs(), "best-model-data", measure="loss", direction="higher")
        assert {row["model"] for row in lowest.rows} == {"unet-0.npz"}
        assert {row["model"] for row in highest.rows} == {"unet-1.npz"}

    def test_like_is_compared_with_like(self) -> None:
        # The second is better on validation; only the first was tested, on harder data.
        job = Builder("fair", "learning", MONDAY)
        for number, value in enumerate((0.8, 0.9)):
            training = job.activity("TrainingExecution", f"t{number}", 100 * number, 100 * number + 90)
            model = job.data("Model", f"/m-{number}", f"m {number}")
            job.generate(model, training, 100 * number + 50)
            validation = job.activity("ValidationExecution", "v", 100 * number + 60, 100 * number + 70, within=training)
            job.use(validation, model, 100 * number + 61)
            job.measure(validation, "accuracy", value, 100 * number + 65)
        evaluation = job.activity("EvaluationExecution", "e", 300, 310)
        job.measure(evaluation, "accuracy", 0.95, 305, model=job.known_data("/m-0"))
        found = answer([job.graph()], "best-model-data", measure="accuracy")
        assert cells(found, "model", "value", "measured by") == [("m-1", 0.9, "v (fair)")]

    def test_a_model_is_measured_by_another_job_through_its_bytes(self) -> None:
        other = Builder("test-bench", "learning", MONDAY + 5 * DAY)
        evaluation = other.activity("EvaluationExecution", "bench", 1, 9)
        for number, value in enumerate((0.1, 0.2)):
            model = other.data("Model", f"/copied/unet-{number}.npz", f"model {number}")
            other.use(evaluation, model, 2)
            other.measure(evaluation, "iou", value, 3 + number, model=model)
        found = answer([*fixtures.jobs(), other.graph()], "best-model-data", measure="iou")
        assert {(row["experiment"], row["model"], row["value"]) for row in found.rows} == {
            ("facies-unet", "unet-1.npz", 0.2)
        }


class TestTrainingProgress:
    def test_each_epoch_of_one_training(self) -> None:
        found = answer(fixtures.jobs(), "training-progress", training="trial-0")
        columns = ("section", "loss", "accuracy", "grad_norm mean", "grad_norm last", "samples", "seconds")
        # Each epoch has two samples of the gradient: 1.0 and 0.5, then half of that.
        assert cells(found, *columns) == [
            ("epoch 0", 0.9, 0.7, 0.75, 0.5, 2, 19.0),
            ("epoch 1", 0.4, 0.91, 0.375, 0.25, 2, 19.0),
        ]

    def test_all_trainings_if_none_is_named(self) -> None:
        found = answer(fixtures.jobs(), "training-progress")
        assert [row["training"] for row in found.rows] == ["trial-0", "trial-0", "trial-1", "trial-1"]

    def test_while_it_runs_the_last_epoch_is_open(self) -> None:
        job = Builder("live", "learning", MONDAY)
        job.status = "running"
        training = job.activity("TrainingExecution", "t", 0, 100)
        done = job.section(training, 0, 1, 9)
        running = job.section(training, 1, 10, None)
        job.log(training, "loss", [(0, done, 0, 1.0), (1, done, 0, 3.0), (0, running, 1, 0.5)])
        found = answer([job.graph()], "training-progress")
        assert cells(found, "section", "outcome", "loss mean", "loss last", "samples", "seconds") == [
            ("epoch 0", "completed", 2.0, 3.0, 2, 8.0),
            ("epoch 1", "open", 0.5, 0.5, 1, None),
        ]

    def test_sections_inside_sections_are_credited_once(self) -> None:
        job = Builder("nested", "learning", MONDAY)
        training = job.activity("TrainingExecution", "t", 0, 100)
        fold = job.section(training, 0, 1, 90, kind="fold")
        epoch = job.section(fold, 2, 2, 50)
        job.measure(epoch, "accuracy", 0.5, 40)
        job.measure(fold, "accuracy", 0.6, 60)
        job.measure(training, "accuracy", 0.7, 95)
        found = answer([job.graph()], "training-progress")
        assert cells(found, "section", "accuracy") == [("fold 0", 0.6), ("fold 0 / epoch 2", 0.5), ("", 0.7)]

    def test_samples_that_are_no_numbers_are_counted_and_left_out_of_the_mean(self) -> None:
        job = Builder("gaps", "learning", MONDAY)
        training = job.activity("TrainingExecution", "t", 0, 100)
        epoch = job.section(training, 0, 1, 9)
        job.log(training, "loss", [(0, epoch, 0, 1.0), (0, epoch, 1, float("nan")), (0, epoch, 2, 3.0)])
        found = answer([job.graph()], "training-progress")
        assert cells(found, "loss mean", "loss last", "samples") == [(2.0, 3.0, 3)]


class TestWho:
    def test_the_persons_of_all_jobs_that_a_model_went_through(self) -> None:
        found = answer(fixtures.jobs(), "who", model="unet-0.npz")
        assert cells(found, "did", "person", "role", "job", "activity") == [
            ("curated", "ada", "researcher", "curate-scans", "clean"),
            ("prepared", "ben", "researcher", "make-tiles", "split"),
            ("trained", "cleo", "researcher", "facies-unet", "trial-0"),
            ("evaluated", "cleo", "researcher", "facies-unet", "evaluation"),
        ]

    def test_who_tried_it_in_another_job_is_found_through_its_bytes(self) -> None:
        other = Builder("bench", "learning", MONDAY + 5 * DAY, who="dora")
        evaluation = other.activity("EvaluationExecution", "bench", 1, 9)
        other.use(evaluation, other.data("Model", "/copied.npz", "model 1"), 2)
        found = answer([*fixtures.jobs(), other.graph()], "who", model="unet-1.npz")
        assert cells(found, "did", "person")[-1] == ("evaluated", "dora")

    def test_the_person_of_an_activity_hides_that_of_its_job(self) -> None:
        job = Builder("pair", "learning", MONDAY, who="ada")
        training = job.activity("TrainingExecution", "t", 1, 9)
        job.link("wasAssociatedWith", training, job.named("Persona", "eve", identifier="eve"), role="guest")
        job.generate(job.data("Model", "/m", "m"), training, 5)
        assert cells(answer([job.graph()], "who"), "did", "person", "role") == [("trained", "eve", "guest")]


class TestReproduce:
    def test_what_ran_and_was_set_in_each_job_in_order_of_time(self) -> None:
        job = Builder("last", "learning", MONDAY + 9 * DAY)
        for name, value in (("command.line", "python t.py"), ("code.commit", "abc"), ("host.name", "node1")):
            fact = job.add("AttributeValue", label=name, value=value, value_type="text")
            job.link("hasAttribute", job.run, fact)
        code = job.named("Implementation", "t.py", version="abc")
        job.link("requires", code, job.named("Software", "numpy", version="2.0"))
        training = job.activity("TrainingExecution", "t", 1, 9)
        job.use(training, job.data("LearningDataset", "/prepared/tiles.h5", "tiles"), 2)
        job.param(training, "lr", 0.5)
        job.param(job.run, "seed", 3)
        job.generate(job.data("Model", "/m.bin", "m"), training, 8)
        found = answer([*fixtures.jobs(), job.graph()], "reproduce", model="m.bin")
        assert list(dict.fromkeys(row["job"] for row in found.rows)) == ["curate-scans", "make-tiles", "last"]
        tiles, model = (f"sha256:{text.encode().hex().ljust(64, '0')}" for text in ("tiles", "m"))
        assert cells(found, "what", "of", "name", "value")[-8:] == [
            ("code", "job", "code.commit", "abc"),
            ("command", "job", "command.line", "python t.py"),
            ("code", "job", "t.py", "abc"),
            ("package", "job", "numpy", "2.0"),
            ("parameter", "last", "seed", 3),
            ("parameter", "t", "lr", 0.5),
            ("input", "learning dataset", "tiles.h5", tiles),
            ("output", "model", "m.bin", model),
        ]
        # What is set alike on many files is one line.
        assert [row["value"] for row in found.rows if row["name"] == "threshold"] == [0.5]


class TestCheckpointOrigin:
    def test_the_epoch_and_step_and_what_was_measured_then(self) -> None:
        job = Builder("steps", "learning", MONDAY)
        training = job.activity("TrainingExecution", "t", 0, 100)
        for number in range(2):
            epoch = job.section(training, number, 40 * number + 1, 40 * number + 39)
            job.measure(epoch, "loss", 1.0 - 0.5 * number, 40 * number + 10)
            checkpoint = job.data("Model", f"/checkpoint-{number}", f"model {number}", step=10 * (number + 1))
            job.generate(checkpoint, epoch, 40 * number + 20)
            validation = job.activity("ValidationExecution", "v", 40 * number + 21, 40 * number + 30, within=epoch)
            job.use(validation, checkpoint, 40 * number + 22)
            job.measure(validation, "accuracy", 0.5 + 0.25 * number, 40 * number + 25)
        later = job.activity("EvaluationExecution", "e", 200, 300)
        job.measure(later, "accuracy", 0.1, 250, model=job.known_data("/checkpoint-1"))
        # A copy in another job is the same checkpoint.
        other = Builder("other", "learning", MONDAY + DAY)
        evaluation = other.activity("EvaluationExecution", "e", 1, 2)
        other.use(evaluation, other.data("Model", "/best.bin", "model 1"), 1)
        graphs = [job.graph(), other.graph()]

        columns = ("model", "training", "section", "step", "loss", "accuracy")
        first = ("checkpoint-0", "t", "epoch 0", 10, 1.0, 0.5)
        second = ("checkpoint-1", "t", "epoch 1", 20, 0.5, 0.75)
        assert cells(answer(graphs, "checkpoint-origin"), *columns) == [first, second]
        assert cells(answer(graphs, "checkpoint-origin", model="best.bin"), *columns) == [second]


class TestStragglers:
    def job(self, slow: Sequence[float]) -> Graph:
        """Return a training of four ranks, rank 2 of which takes so many seconds in each epoch; the others take 10."""
        job = Builder("ranks", "learning", MONDAY)
        training = job.activity("TrainingExecution", "t", 0, 1000)
        for number, seconds in enumerate(slow):
            epoch = job.section(training, number, 100 * number, 100 * number + 90)
            for rank in range(4):
                part = job.add(
                    "RankExecution", label=f"rank {rank}", rank=rank, start_ns=job.at(100 * number),
                    outcome="completed", end_ns=job.at(100 * number + (seconds if rank == 2 else 10)),
                )  # fmt: skip
                job.link("isPartOf", part, epoch)
        return job.graph()

    def test_mean_median_and_slowest_rank_of_each_epoch(self) -> None:
        found = answer([self.job([20, 10, 30, 50])], "stragglers")
        columns = ("section", "ranks", "mean s", "median s", "slowest s", "slowest rank", "slowest / median")
        assert cells(found, *columns) == [
            ("epoch 0", 4, 12.5, 10.0, 20.0, 2, 2.0),
            ("epoch 1", 4, 10.0, 10.0, 10.0, 0, 1.0),
            ("epoch 2", 4, 15.0, 10.0, 30.0, 2, 3.0),
            ("epoch 3", 4, 20.0, 10.0, 50.0, 2, 5.0),
        ]
        assert found.notes == ["rank 2 is persistently slow: the slowest in 3 of 4 sections of t"]

    def test_a_rank_that_is_slow_now_and_then_is_not_named(self) -> None:
        found = answer([self.job([20, 10, 10, 20])], "stragglers")
        assert found.notes == ["no rank is persistently slow"]


def test_questions_to_nothing_are_answered_with_nothing() -> None:
    for name in catalog():
        assert answer([], name).rows == []


def test_the_same_files_in_another_order_give_the_same_answer() -> None:
    jobs = fixtures.jobs()
    for name in catalog():
        assert answer(jobs, name).rows == answer(jobs[::-1], name).rows


class TestCost:
    @staticmethod
    def job(name: str, scores: Sequence[float], *, study: str = "facies", open_end: bool = False) -> Builder:
        """Trainings of 100 s each, on four ranks of which rank 1 came in late by 20 s."""
        job = Builder(name, "learning", MONDAY, study=study)
        for number, score in enumerate(scores):
            begin = 200 * number
            training = job.activity("TrainingExecution", f"trial-{number}", begin, begin + 100)
            if open_end:
                job.rows["TrainingExecution"][-1] |= {"end_ns": ABSENT, "outcome": "open"}
            job.measure(training, "accuracy", score, begin + 90)
            for rank in range(4):
                part = job.add(
                    "RankExecution", label=f"rank {rank}", rank=rank, attempt=1, outcome="completed",
                    start_ns=job.at(begin + 20 * (rank == 1)), end_ns=ABSENT if open_end else job.at(begin + 100),
                )  # fmt: skip
                job.link("isPartOf", part, training)
        return job

    def test_wall_time_and_rank_hours_stand_beside_the_measure_best_first(self) -> None:
        found = answer([self.job("search", [0.5, 0.9]).graph()], "cost")
        assert cells(found, "training", "accuracy", "wall s", "rank hours") == [
            ("trial-1", 0.9, 100.0, pytest.approx(380 / 3600)),
            ("trial-0", 0.5, 100.0, pytest.approx(380 / 3600)),
        ]

    def test_without_telemetry_gpu_hours_and_energy_are_unknown_and_not_zero(self) -> None:
        found = answer([self.job("search", [0.5, 0.9]).graph()], "cost")
        assert cells(found, "GPU hours", "energy Wh") == [(None, None), (None, None)]
        assert any("2 of 2 are unknown: no telemetry" in note for note in found.notes)

    def test_files_of_several_studies_and_the_study_chooses(self) -> None:
        graphs = [self.job("a", [0.5]).graph(), self.job("b", [0.7], study="wells").graph()]
        assert cells(answer(graphs, "cost"), "experiment", "study") == [("b", "wells"), ("a", "facies")]
        assert cells(answer(graphs, "cost", study="wells"), "experiment") == [("b",)]
        assert answer(graphs, "cost", study="other").rows == []

    def test_what_has_no_end_is_counted_up_to_the_last_commit(self) -> None:
        # Which the builder puts an hour after the start of the run.
        found = answer([self.job("running", [0.5], open_end=True).graph()], "cost")
        assert cells(found, "wall s", "rank hours") == [(3600.0, pytest.approx((4 * 3600 - 20) / 3600))]
        assert any("did not end" in note for note in found.notes)

    def test_a_training_of_one_rank_alone_has_the_hours_of_that_rank(self) -> None:
        job = Builder("search", "learning", MONDAY)
        training = job.activity("TrainingExecution", "mine", 0, 1800, ranks="2")
        rank = job.add("Rank", label="rank 2", rank=2, attempt=1)
        job.link("wasAssociatedWith", training, rank)
        found = answer([job.graph()], "cost")
        assert cells(found, "wall s", "rank hours") == [(1800.0, 0.5)]
