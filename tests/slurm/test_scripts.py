"""Every script in slurm/ runs to its end, as it is shipped; GPUs are stand-ins, and the benchmark's GPU is a timer.

The jobs are submitted together, so that one waits for its time limit while others run.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import provml_hpc as provml
from provml_hpc.errors import ProvMLError
from provml_tools.slurm import scripts
from tests.mpi.reading import File
from tests.slurm.cluster import GPUS, NODES, ROOT, Cluster, own_names
from tests.slurm.conftest import Place
from tests.slurm.jobs import Job, until
from tests.slurm.test_ends import check

SCRIPTS = sorted(path.name for path in (ROOT / "slurm").glob("*.sbatch"))


class Submitted:
    """The jobs of this module, by name, and where they write."""

    def __init__(self, place_at: Callable[[str], Place]) -> None:
        self.jobs: dict[str, Job] = {}
        self.places: dict[str, Place] = {}
        self._place_at = place_at

    def submit(self, name: str, script: str | Path, *options: str, **env: str) -> None:
        """Submit a job, from a place of its own if it has none yet."""
        self.places[name] = self.places.get(name) or self._place_at(name)
        self.jobs[name] = self.places[name].submit(script, *options, **env)

    def end(self, name: str, limit: float = 240) -> tuple[Job, Path]:
        """Wait for the good end of a job; return it, and its folder."""
        return self.jobs[name].succeed(limit=limit), self.places[name].folder


@pytest.fixture(scope="module")
def submitted(place_at: Callable[[str], Place]) -> Submitted:
    """Submit the largest job, one that runs into its time limit, and one that is told before."""
    submitted = Submitted(place_at)
    places, submit = submitted.places, submitted.submit
    # First, since it wants all nodes for itself.
    submit("training-48gpu", Path("slurm/training_48gpu.sbatch"))
    places["limit"] = place_at("limit")
    limited = f"#!/bin/bash\nsrun {places['limit'].worker('job.h5', seconds=0.5)}\n"
    submit("limit", limited, "--time=1", "--nodes=2", "--ntasks-per-node=2")
    # The number of epochs is read by each attempt, so that the test says which is the last.
    requeue = scripts.text_of("requeue").replace("--epochs 50", '--epochs "$(cat epochs)"')
    places["requeue"] = place_at("requeue")
    (places["requeue"].folder / "epochs").write_text("100000")
    submit("requeue", requeue, "--time=2", "--signal=USR1@80", "--ntasks-per-node=2", "--gpus-per-node=2")
    return submitted


@pytest.fixture(scope="module")
def others(submitted: Submitted, place_at: Callable[[str], Place]) -> Submitted:
    """Submit the other scripts as well; not at once, since all share two cores."""
    jobs, places, submit = submitted.jobs, submitted.places, submitted.submit
    submit("one-node", Path("slurm/one_node.sbatch"))
    submit("several-nodes", Path("slurm/several_nodes.sbatch"))
    submit("array", Path("slurm/array.sbatch"))
    places["convert"] = places["array"]
    submit("convert", Path("slurm/convert.sbatch"), f"--dependency=afterany:{jobs['array'].id}")
    places["overhead-48gpu"] = place_at("overhead")
    shutil.copytree(ROOT / "benchmarks", places["overhead-48gpu"].folder / "benchmarks")
    overhead = scripts.fill("overhead-48gpu", {"device": "timer"})
    overhead = re.sub(r"^SHAPES=\([^)]*\)", "SHAPES=(10:20)", overhead, flags=re.MULTILINE)
    submit("overhead-48gpu", overhead, "--nodes=2", "--ntasks-per-node=2", ROUNDS="2", BLOCK="0.1")
    return submitted


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scheduler_takes_it_as_it_is(name: str, cluster: Cluster) -> None:
    said = cluster.run("sbatch", "--test-only", ROOT / "slurm" / name)
    assert re.search(r"Job \d+ to start at", said.stderr)
    assert "error" not in said.stderr.lower()
    assert "warning" not in said.stderr.lower()


def test_training_48gpu(submitted: Submitted) -> None:
    job, folder = submitted.end("training-48gpu")
    file = File(folder / "training-48gpu.h5")
    assert file.run.status == "finished"
    assert len(file.all("Rank")) == NODES * GPUS
    assert not file.faults
    if own_names():
        assert sorted(node["label"] for node in file.all("ComputeNode")) == sorted(f"n{n + 1}" for n in range(NODES))
    assert "status      finished" in job.told()


def test_requeue_makes_three_attempts_in_one_file(submitted: Submitted, request: pytest.FixtureRequest) -> None:
    """The first attempt is told by Slurm itself, a minute and more before its limit; the second by a person."""
    job, place = submitted.jobs["requeue"], submitted.places["requeue"]
    output, checkpoint = place.folder / "requeue.h5", place.folder / "requeue.checkpoint.npz"
    printed = place.folder / f"requeue-{job.id}.out"

    def again(attempt: int) -> None:
        until(lambda: job.states == ["PENDING"] and job.field("Restarts") == str(attempt - 1), job.told)
        assert checkpoint.exists(), job.told()
        # Slurm lets a requeued job wait for half a minute here. Some seconds it needs, to tell the attempts apart.
        job.cluster.run("scontrol", "update", f"JobId={job.id}", "StartTime=now+3seconds")
        job.wait("RUNNING")

    until(lambda: samples_of(output, 1) > 10, job.told)
    request.getfixturevalue("others")
    again(2)
    until(lambda: samples_of(output, 2) > 10, job.told)
    job.cancel("--signal=USR1")
    until(lambda: job.states == ["PENDING"], job.told)
    with np.load(checkpoint) as saved:
        done = int(saved["epoch"])
    (place.folder / "epochs").write_text(str(done + 5))
    again(3)
    job.succeed()
    assert not checkpoint.exists()
    assert printed.read_text().count("there is more to do") == 2
    file = File(output)
    assert (file.run.status, file.run.details["attempts"]) == ("finished", [1, 2, 3])
    assert not file.faults
    # Each epoch was trained once, on every rank, in one of the attempts.
    with provml.open(output) as run:
        losses = run.samples(measure="loss")
    for rank in range(4):
        assert losses["step"][losses["rank"] == rank].tolist() == list(range(done + 5))
    assert sorted(set(losses["attempt"].tolist())) == [1, 2, 3]
    # One lineage: the model comes from the second checkpoint, and that from the first.
    (model,) = file.all("Model", label="requeue.model.npz")
    (second,) = file.objects("wasDerivedFrom", model)
    (first,) = file.objects("wasDerivedFrom", second)
    assert first["step"] < second["step"] == done < model["step"]
    assert file.objects("wasDerivedFrom", first) == []
    said = job.cluster.run("provml", "info", output).stdout
    assert re.search(r"^attempts +1: .*; 2: .*; 3: ", said, re.MULTILINE), said


def samples_of(output: Path, attempt: int) -> int:
    """Return how many samples of an attempt are in the file of a job that runs."""
    try:
        with provml.open(output) as run:
            return int((run.samples(measure="loss")["attempt"] == attempt).sum())
    except ProvMLError:
        return 0  # it is being opened again just now


def test_one_node(others: Submitted) -> None:
    job, folder = others.end("one-node")
    file = File(folder / "one-node.h5")
    assert (file.run.status, len(file.all("Rank"))) == ("finished", 4)
    assert f"job         {job.id}" in job.told()


def test_several_nodes(others: Submitted) -> None:
    _, folder = others.end("several-nodes")
    file = File(folder / "several-nodes.h5")
    assert (file.run.status, len(file.all("Rank"))) == ("finished", 16)


def test_an_array_of_ten_is_one_study(others: Submitted) -> None:
    job, folder = others.end("array")
    assert len(job.states) == 10
    files = [File(folder / "trials" / f"trial-{number}.h5") for number in range(10)]
    assert {file.run.status for file in files} == {"finished"}
    assert len({file.run.uuid for file in files}) == 10
    assert len({file.one("Study")["uuid"] for file in files}) == 1
    assert {file.one("Study")["label"] for file in files} == {"rates"}


def test_the_dependent_job_converts_the_array(others: Submitted) -> None:
    job, folder = others.end("convert")
    quads = (folder / "provenance.nq").read_text()
    graphs = {line.rsplit(" ", 2)[1] for line in quads.splitlines() if line.count("<") > 3}
    assert len(graphs) == 10
    assert len(set(re.findall(r"^(\S+) \S+type> <https://w3id.org/provml-hpc/ns#Study>", quads, re.MULTILINE))) == 1
    assert len(re.findall(r"trial-\d+.h5: valid, 0 violations", job.told())) == 10


def test_recovery_brings_in_the_journals_of_twelve_nodes(place: Place) -> None:
    """Cancelled as the script says, in the middle: each node has journals of its own, and is wiped afterwards."""
    # A program that takes no notice of the signal, so that srun ends it: each rank leaves its journal on its node.
    # Its epochs are slow: 48 ranks that flush all the time would have the cores to themselves.
    script = scripts.fill("recovery", {"program": place.worker('"$OUTPUT"', journal="node", seconds=1)})
    job = place.submit(script, f"--nodes={NODES}", "--gpus-per-node=1", GRACE="1")
    job.wait("RUNNING")
    place.until_flushed(NODES * GPUS, job)
    job.cancel("--batch", "--signal=USR1")
    assert job.end() == ["FAILED"], job.told()
    carried = re.findall(r"^(\S+): \d+ journals with \d+ records are safe", job.told(), re.MULTILINE)
    assert len(carried) == NODES, job.told()
    if own_names():
        assert sorted(carried) == sorted(f"n{n + 1}" for n in range(NODES))
    check(place.folder / "recovery.h5", place.told, NODES * GPUS)


def test_overhead_on_a_stand_in_of_a_gpu(others: Submitted) -> None:
    _, folder = others.end("overhead-48gpu")
    lines = [json.loads(line) for line in (folder / "benchmarks/results/overhead.jsonl").read_text().splitlines()]
    measured = [line for line in lines if line.get("device")]
    assert measured
    assert {(line["device"], line["ranks"]) for line in measured} == {("a timer, no accelerator", 4)}
    assert not list(folder.glob("overhead-[0-9]*/"))


def test_none_is_forgotten(others: Submitted) -> None:
    run = {*others.jobs, "recovery"}
    assert {name.removesuffix(".sbatch").replace("_", "-") for name in SCRIPTS} <= run


def test_the_time_limit_loses_nothing(submitted: Submitted) -> None:
    job, place = submitted.jobs["limit"], submitted.places["limit"]
    assert job.end() == ["TIMEOUT"], job.told()
    output = place.folder / "job.h5"
    job.cluster.run("provml", "recover", output)
    check(output, place.told, 4)
    assert File(output).run.status == "recovered"
