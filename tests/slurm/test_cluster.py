"""The virtual cluster: what a job sees there is what it sees on a real one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import CPUS, GPUS, NODES, ROOT, Cluster, own_names
from tests.slurm.jobs import all_over, until

RANKS = NODES * GPUS
PLACES = """
from mpi4py import MPI
import os, socket
world = MPI.COMM_WORLD
node = world.Split_type(MPI.COMM_TYPE_SHARED)
names = ("SLURMD_NODENAME", "SLURM_TMPDIR", "CUDA_VISIBLE_DEVICES")
shm = os.stat("/dev/shm")
mine = [world.size, node.size, socket.gethostname(), shm.st_dev, *map(os.environ.get, names)]
for rank in world.gather(mine) or ():
    print(*rank)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return the place of a second cluster, of a short name for the sockets in it."""
    with tempfile.TemporaryDirectory() as short:
        yield Path(short) / "second"


def manage(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.slurm.cluster", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_48_ranks_are_on_12_nodes_with_4_gpus_each(cluster: Cluster) -> None:
    where = [f"--nodes={NODES}", f"--ntasks-per-node={GPUS}", f"--gpus-per-node={GPUS}"]
    said = cluster.run("srun", *where, "--mpi=pmi2", sys.executable, "-c", PLACES, timeout=120)
    ranks = [line.split() for line in said.stdout.splitlines()]
    assert len(ranks) == RANKS
    assert {tuple(rank[:2]) for rank in ranks} == {(str(RANKS), str(GPUS))}
    assert [rank[4] for rank in ranks] == [f"n{1 + n // GPUS}" for n in range(RANKS)]
    assert {rank[6] for rank in ranks} == {"0,1,2,3"}
    folders = {rank[5] for rank in ranks}
    assert len(folders) == NODES
    all_over(cluster)
    assert not any(Path(folder).exists() for folder in folders)
    if own_names():
        assert [rank[2] for rank in ranks] == [rank[4] for rank in ranks]
        assert len({rank[3] for rank in ranks}) == NODES


def test_it_comes_up_once_and_goes_down_with_its_jobs(cluster: Cluster, tmp_path: Path, folder: Path) -> None:
    try:
        assert manage("--folder", folder, "up").stdout.startswith("the cluster is up")
        assert manage("--folder", folder, "up").stdout.startswith("the cluster was up already")
        second = Cluster(folder)
        pid = tmp_path / "pid"
        command = f"echo $$ > {pid}.new && mv {pid}.new {pid} && exec sleep 600"
        submitted = second.run("sbatch", "--parsable", "--output=/dev/null", f"--wrap={command}")
        assert submitted.stdout.strip().isdecimal()
        until(pid.exists, lambda: second.run("squeue").stdout)
    finally:
        down = manage("--folder", folder, "down")
    assert down.stdout.startswith("the cluster is down"), down.stderr
    assert not folder.exists()
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()
    assert manage("--folder", folder, "down").stdout.startswith("there was no cluster")
    assert cluster.is_up


def test_a_folder_whose_name_is_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    refused = manage("--folder", tmp_path / ("x" * 100), "up")
    assert refused.returncode == 1
    assert "give a shorter --folder" in refused.stderr
    assert not list(tmp_path.iterdir())


def test_what_does_not_come_up_is_said_and_ended(tmp_path: Path, cluster: Cluster, folder: Path) -> None:
    broken = tmp_path / "bin"
    broken.mkdir()
    (broken / "slurmctld").write_text("#!/bin/sh\necho out of order >&2\nexit 1\n")
    (broken / "slurmctld").chmod(0o755)
    command = [sys.executable, "-m", "tests.slurm.cluster", "--folder", str(folder), "up"]
    env = os.environ | {"PATH": f"{broken}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 1
    assert "slurmctld ended" in done.stderr
    assert "out of order" in done.stderr
    assert "Traceback" not in done.stderr
    left = [p for p in Path("/proc").glob("[0-9]*") if os.fsencode(folder) in _command_line(p)]
    assert left == []
    assert cluster.is_up


def test_a_node_has_what_its_jobs_ask_for(cluster: Cluster) -> None:
    said = cluster.run("sinfo", "--noheader", "--Node", "--format=%N %c %G").stdout.split("\n")
    assert sorted(filter(None, said)) == sorted(f"n{n} {CPUS} gpu:{GPUS}" for n in range(1, NODES + 1))


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
