"""The best model, and who made one, how to make it again, and when it was written; see `query_fixtures`."""

from __future__ import annotations

from tests.offline import query_fixtures as fixtures
from tests.offline.query_fixtures import DAY, MONDAY, Builder, answer, cells


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
