"""How a training goes, epoch by epoch and rank by rank; see `query_fixtures`."""

from __future__ import annotations

from collections.abc import Sequence

from provml_hpc.assembly.graph import Graph
from tests.offline import query_fixtures as fixtures
from tests.offline.query_fixtures import MONDAY, Builder, answer, cells


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
