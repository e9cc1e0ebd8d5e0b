"""What a model came from and what data came to, answers worked out by hand: `query_fixtures`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from provml_hpc.assembly.graph import Graph
from tests.offline import query_fixtures as fixtures
from tests.offline.query_fixtures import DAY, MONDAY, Builder, answer, cells


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
