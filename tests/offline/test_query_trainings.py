"""Trainings compared, by what they reached and what they took; see `query_fixtures`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from provml_hpc.assembly.graph import ABSENT
from provml_hpc.errors import UsageError
from tests.offline import query_fixtures as fixtures
from tests.offline.query_fixtures import MONDAY, Builder, answer, cells


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
