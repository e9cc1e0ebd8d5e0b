"""Sampling on the virtual cluster: 48 GPUs of a STAND-IN (see tests/standin) on twelve nodes, in one file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import provml_hpc as provml
from provml_tools.query import Engine, ask
from tests import standin
from tests.slurm.cluster import GPUS, NODES, ROOT, Cluster, own_names

TRAIN = """
import os, socket, sys, time
os.environ["STANDIN_NODE"] = socket.gethostname()
import provml_hpc as provml

with provml.init("sampled", phase="learning", output=sys.argv[1], telemetry=5) as run, run.training("t") as training:
    sampler, until = run._session.sampler, time.monotonic() + 30
    while sampler.turns < 3 and time.monotonic() < until:
        time.sleep(0.05)
    training.evaluate(accuracy=0.5)
"""


def test_every_node_samples_its_gpus_and_the_cost_adds_up(cluster: Cluster, tmp_path: Path) -> None:
    if not own_names():
        pytest.skip("nodes of the cluster have no names of their own here: unshare --uts needs root")
    output = tmp_path / "sampled.h5"
    words = [f"{name}={text}" for name, text in standin.environment(f"devices={GPUS}").items() if "DEVICES" not in name]
    job = ["env", *words, f"PYTHONPATH={ROOT}:{ROOT / 'tools'}", sys.executable, "-c", TRAIN, str(output)]
    where = [f"--nodes={NODES}", "--ntasks-per-node=1", f"--gpus-per-node={GPUS}"]
    cluster.run("srun", *where, "--mpi=pmi2", *job, timeout=120)
    with provml.open(output) as file:
        assert file.status == "finished"
        assert len(file.nodes("Device")) == NODES * GPUS
        samplers = {table.name: set(table.read(0, table.count)["rank"].tolist()) for table in file.graph.telemetry}
        for rank in range(NODES):
            assert samplers[f"n{rank + 1} gpu0"] == samplers[f"n{rank + 1}"] == {rank}
        (training,) = [row for row in file.costs() if row.kind == "TrainingExecution"]
        # Slurm gave each rank the four GPUs of its node: 100, 200, 300 and 400 W.
        assert len(training.devices) == NODES * GPUS
        assert training.gpu_s == pytest.approx(GPUS * training.rank_s)
        assert training.energy_J == pytest.approx(250 * training.gpu_s * training.measured, rel=0.25)
        (row,) = ask(Engine([file.graph]), "cost").rows
        assert row["energy Wh"] == pytest.approx(training.energy_J / 3600)
