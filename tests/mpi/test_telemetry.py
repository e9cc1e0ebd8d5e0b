"""One sampler a node, on a STAND-IN for NVIDIA's library (see tests/standin): ranks here play several nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import provml_hpc as provml
from provml_hpc.storage.merge import merge
from provml_tools.query import Engine, ask
from tests import standin
from tests.mpi import launch
from tests.mpi.reading import File

pytest.importorskip("pynvml", reason="the real bindings are needed: pip install 'provml-hpc[telemetry]'")


def job(
    folder: Path,
    ranks: int,
    plays: str = "devices=2",
    *,
    env: dict[str, str] | None = None,
    **options: Any,
) -> list[list[str]]:
    """Run a training on some ranks, and return the threads that each had."""
    launch.mpi_run(
        "telemetry.py", ranks, [folder / "job.h5", json.dumps(options)], cwd=folder,
        env=standin.environment(plays, env), python=("-W", "error"), timeout=100,
    ).check()  # fmt: skip
    return [json.loads((folder / f"told.{rank}").read_text())["threads"] for rank in range(ranks)]


def test_the_ranks_of_a_node_have_one_sampler(tmp_path: Path) -> None:
    threads = job(tmp_path, 2, processes=str(tmp_path / "processes"))
    assert ["provml-telemetry" in one for one in threads] == [True, False]
    with provml.open(tmp_path / "job.h5") as file:
        assert set(file.counters) == {"n0", "n0 gpu0", "n0 gpu1", "rank 0", "rank 1"}
        assert set(file.telemetry("gpu_memory_B", "rank 1")["value"].tolist()) == {2 << 20}
        (training,) = [row for row in file.costs() if row.kind == "TrainingExecution"]
        # Each rank was seen on the GPU of its place: 100 W the one, 200 W the other.
        assert training.devices == ["n0 gpu0", "n0 gpu1"]
        assert training.gpu_s == pytest.approx(training.rank_s)
        assert training.energy_J == pytest.approx(150 * training.gpu_s * training.measured, rel=0.25)
    assert not File(tmp_path / "job.h5").faults


def test_each_node_has_one_and_the_cost_adds_up_over_nodes(tmp_path: Path) -> None:
    # Four ranks on two nodes; both of a node share its one GPU.
    threads = job(tmp_path, 4, "devices=1", ranks_a_node=2, env={"CUDA_VISIBLE_DEVICES": "0"})
    assert ["provml-telemetry" in one for one in threads] == [True, False, True, False]
    with provml.open(tmp_path / "job.h5") as file:
        assert {"n0 gpu0", "n1 gpu0"} <= set(file.counters)
        assert len(file.nodes("Device")) == 2
        samplers = {table.name: set(table.read(0, table.count)["rank"].tolist()) for table in file.graph.telemetry}
        assert (samplers["n0 gpu0"], samplers["n1 gpu0"], samplers["rank 3"]) == ({0}, {2}, {2})
        (training,) = [row for row in file.costs() if row.kind == "TrainingExecution"]
        assert training.devices == ["n0 gpu0", "n1 gpu0"]
        # Ranks that share a GPU share its hours, so these are two GPUs' and not four ranks'.
        assert training.rank_s / 2 <= training.gpu_s <= 2 * training.wall_s
        assert training.energy_J == pytest.approx(100 * training.gpu_s * training.measured, rel=0.25)
        (row,) = ask(Engine([file.graph]), "cost", {"study": "energy", "measure": "accuracy"}).rows
        assert (row["accuracy"], row["devices"]) == (0.75, "n0 gpu0, n1 gpu0")
        assert row["energy Wh"] == pytest.approx(training.energy_J / 3600)
    assert not File(tmp_path / "job.h5").faults


def test_the_cost_of_a_run_that_still_goes_on(tmp_path: Path) -> None:
    job(tmp_path, 2, env={"CUDA_VISIBLE_DEVICES": "0"}, look=True)
    # Rank 0 asked, as another program would, after the first flush point.
    found = json.loads((tmp_path / "looked").read_text())
    (row,) = found["rows"]
    assert row["outcome"] == "open"
    assert 0 < row["energy Wh"] < 200 / 3600
    assert row["GPU hours"] > 0
    assert any("did not end" in note for note in found["notes"])


def test_ranks_that_do_not_find_each_other_sample_what_each_uses(tmp_path: Path) -> None:
    seen = tmp_path / "processes"
    options = json.dumps({"processes": str(seen)})
    script = [2, 0, 1, launch.SCENARIOS / "telemetry.py", tmp_path / "job.h5", options]
    env = standin.environment("devices=2")
    launch.mpi_run("elastic.py", None, script, cwd=tmp_path, env=env, timeout=100).check()
    files = sorted(tmp_path.glob("job-rank*.h5"))
    merged = merge(files, tmp_path / "job.h5")
    assert (merged.status, merged.ranks) == ("finished", [0, 1])
    with provml.open(tmp_path / "job.h5") as file:
        # Each GPU by the rank that uses it, the node by the first of them, each process by itself.
        samplers = {table.name: set(table.read(0, table.count)["rank"].tolist()) for table in file.graph.telemetry}
        assert samplers == {"n0": {0}, "n0 gpu0": {0}, "n0 gpu1": {1}, "rank 0": {0}, "rank 1": {1}}
        (training,) = [row for row in file.costs() if row.kind == "TrainingExecution"]
        assert training.devices == ["n0 gpu0", "n0 gpu1"]
        assert training.gpu_s == pytest.approx(training.rank_s)
        assert training.energy_J > 0
    assert not File(tmp_path / "job.h5").faults
