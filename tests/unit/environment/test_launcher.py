"""Which launcher started a process, by what each of them sets; and what is a leftover in an interactive shell."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from provml_hpc.environment import apart, launcher
from provml_hpc.environment.launcher import DEEPSPEED, OPEN_MPI, PMI, PMIX, SRUN, TORCHRUN, Launch, detect

# What each launcher sets for the second of four ranks, two of them on its node, as far as it is read here.
ALLOCATION = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "48", "SLURM_PROCID": "0"}
STEP = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "1",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NUM_TASKS": "4",
}
HYDRA = {"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
PMIX_OF_SLURM = {"PMIX_RANK": "1", "PMIX_NAMESPACE": "slurm.pmix.7.0", "SLURM_MPI_TYPE": "pmix"}
OPEN = {
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "PMIX_RANK": "1",
    "PMIX_NAMESPACE": "prterun-n1-100@1",
}
TORCH_ALONE = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "n1", "MASTER_PORT": "29500"}
TORCH = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}
SPEED = {
    **{"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_SIZE": "2", "CROSS_RANK": "0", "CROSS_SIZE": "2"},
    **{"MASTER_ADDR": "n1", "MASTER_PORT": "29500"},
}
LAUNCHES = {
    "mpiexec of MPICH": (HYDRA, PMI, 2),
    "mpiexec of Intel MPI": (HYDRA | {"I_MPI_HYDRA_BOOTSTRAP": "ssh"}, PMI, 2),
    "Hydra with a port": ({"MPI_LOCALRANKID": "1", "PMI_ID": "1", "PMI_SIZE": "4", "PMI_PORT": "n1:4"}, PMI, None),
    "mpiexec of Open MPI": (OPEN, OPEN_MPI, 2),
    "mpiexec of Open MPI in a job": (OPEN | STEP, OPEN_MPI, 2),
    "srun --mpi=pmi2": (STEP | {"PMI_RANK": "1", "PMI_SIZE": "4", "SLURM_MPI_TYPE": "pmi2"}, PMI, None),
    "srun --mpi=pmix": (STEP | PMIX_OF_SLURM, PMIX, None),
    "srun --mpi=cray_shasta": (STEP | {"PMI_CONTROL_PORT": "20000", "PMI_SHARED_SECRET": "1"}, PMI, None),
    "srun without MPI": (STEP, SRUN, None),
    "PALS": ({"PALS_RANKID": "1", "PALS_SIZE": "4", "PALS_LOCAL_SIZE": "2"}, PMI, 2),
    "MVAPICH": ({"MV2_COMM_WORLD_RANK": "1", "MV2_COMM_WORLD_SIZE": "4"}, PMI, None),
    "Flux": ({"FLUX_TASK_RANK": "1", "PMI_RANK": "1", "PMI_SIZE": "4"}, PMI, None),
    "torchrun": (TORCH, TORCHRUN, 2),
    # Its workers inherit what started it, once a node: they are no ranks of that.
    "torchrun under srun --mpi=pmix": (TORCH | STEP | PMIX_OF_SLURM, TORCHRUN, 2),
    "torchrun under mpiexec": (TORCH | OPEN | HYDRA, TORCHRUN, 2),
    "deepspeed": (SPEED, DEEPSPEED, 2),
    "deepspeed, elastic": (SPEED | TORCH, TORCHRUN, 2),
    "deepspeed in a job": (SPEED | ALLOCATION, DEEPSPEED, 2),
    # Its other launchers are MPI's, and what DeepSpeed adds in the worker is not of its own launcher.
    "deepspeed --launcher openmpi": (OPEN | TORCH_ALONE, OPEN_MPI, 2),
}
LEFTOVERS = {
    "nothing": {},
    "a batch script": ALLOCATION | {"SLURM_STEP_ID": "4294967291"},
    "the shell of salloc": ALLOCATION | {"SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1"},
    "a shell in a step": ALLOCATION | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"},
    "a shell with what is left of a step": {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4"},
    "a rank without a size": {"PMI_RANK": "0"},
    "an empty rank": {"PMI_RANK": "", "PMI_SIZE": "4"},
    "no rank": {"PMI_RANK": "-1", "PMI_SIZE": "4"},
    "a child of a rank": HYDRA | {"PMI_FD": "999"},
    "a child of a rank of srun": STEP | {"PMI_RANK": "1", "PMI_SIZE": "4", "PMI_FD": "999"},
    "PMIx without a namespace": {"PMIX_RANK": "0"},
    "a PMIx server that is gone": OPEN | {"PMIX_SERVER_URI41": "prterun-n1-100@0.0;tcp4://127.0.0.1:1"},
    "Slurm's PMIx server that is gone": STEP | PMIX_OF_SLURM | {"PMIX_SERVER_URI3": "x;tcp4://127.0.0.1:1"},
    "names that people use": {"RANK": "0", "WORLD_SIZE": "8"},
    "a rank beyond the size": TORCH | {"RANK": "4"},
    "names that people use, and more of them": TORCH_ALONE,
    "DeepSpeed's without an address": {name: value for name, value in SPEED.items() if name != "MASTER_ADDR"},
    "DeepSpeed's of other launches": SPEED | {"LOCAL_RANK": "3"},
    "DeepSpeed's with a node too many": SPEED | {"CROSS_RANK": "2"},
    "no number": {"OMPI_COMM_WORLD_RANK": "one"},
}


@pytest.mark.parametrize(("environ", "kind", "here"), LAUNCHES.values(), ids=LAUNCHES)
def test_by_what_it_sets(environ: dict[str, str], kind: str, here: int | None) -> None:
    found = detect(environ)
    assert (found.kind, found.rank, found.size, found.here) == (kind, 1, 4, here)
    assert found.joins == (kind not in (SRUN, TORCHRUN, DEEPSPEED))
    assert found.several
    assert found.variables.items() <= environ.items()


@pytest.mark.parametrize("environ", LEFTOVERS.values(), ids=LEFTOVERS)
def test_what_is_left_is_no_launch(environ: dict[str, str]) -> None:
    found = detect(environ)
    assert not found.kind
    assert not found.several
    signs = {"PMI_RANK", "MPI_LOCALRANKID", "PMIX_RANK", "OMPI_COMM_WORLD_RANK"}
    assert set(found.leftovers) == signs & environ.keys()


def test_a_launch_of_unknown_size_may_be_several() -> None:
    assert detect({"PALS_RANKID": "5"}).several
    assert detect({"PMI_RANK": "0", "PMI_SIZE": "lots", "MPI_LOCALRANKID": "0"}).size is None
    assert not detect({"PMI_RANK": "0", "PMI_SIZE": "1"}).several
    assert not detect({}).several


def test_a_shell_that_srun_gave_a_keyboard_is_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_at_a_keyboard", lambda: True)
    assert detect(STEP) == Launch()


def test_the_connection_to_the_launcher_must_be_open(tmp_path: Path) -> None:
    here, there = socket.socketpair()
    with here, there:
        environ = HYDRA | {"PMI_FD": str(here.fileno())}
        assert detect(environ).kind == PMI
        assert launcher.descriptors(environ) == [here.fileno()]
    with (tmp_path / "reused").open("wb") as file:
        assert not detect(HYDRA | {"PMI_FD": str(file.fileno())}).kind
        assert launcher.descriptors({"PMI_FD": str(file.fileno())}) == []


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no /proc/net/tcp: run it on Linux")
def test_a_server_that_listens_is_no_leftover() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"prterun-n1-100@0.0;tcp4://127.0.0.1:{server.getsockname()[1]}"
        assert detect(OPEN | {"PMIX_SERVER_URI41": place}).kind == OPEN_MPI
    assert not detect(OPEN | {"PMIX_SERVER_URI41": place}).kind
    assert detect(OPEN | {"PMIX_SERVER_URI41": "prterun@0.0;tcp4://10.0.0.1:1"}).kind == OPEN_MPI  # not to be seen here


def test_what_is_of_one_rank_is_left_out_and_settings_stay() -> None:
    kept = launcher.alone(HYDRA | OPEN | {"OMPI_MCA_pml": "ob1", "PMIX_MCA_gds": "hash", "HOME": "/"})
    assert kept == {"OMPI_MCA_pml": "ob1", "PMIX_MCA_gds": "hash", "HOME": "/"}


@pytest.mark.parametrize("environ", [environ for environ, _, _ in LAUNCHES.values()], ids=LAUNCHES)
def test_a_process_by_itself_is_of_no_launch(environ: dict[str, str]) -> None:
    assert detect(launcher.by_itself(environ)) == Launch()


class TestCommonName:
    JOB = STEP | {"SLURM_JOB_NODELIST": "n[1-2]", "SLURMD_NODENAME": "n1", "SLURM_CLUSTER_NAME": "c"}

    @staticmethod
    def of(environ: dict[str, str]) -> tuple[str, ...]:
        return apart.common_name(detect(environ), environ)

    def test_over_nodes_it_is_that_of_the_job_and_its_step(self) -> None:
        first = self.of(self.JOB)
        other_node = self.JOB | {"SLURMD_NODENAME": "n2", "SLURM_PROCID": "3"}
        assert self.of(other_node) == first != ()
        changes = ({"SLURM_JOB_ID": "8"}, {"SLURM_STEP_ID": "1"}, {"SLURM_RESTART_COUNT": "1"})
        assert len({first, *(self.of(self.JOB | change) for change in changes)}) == 4

    def test_the_name_that_torchrun_gives_by_itself_is_none(self) -> None:
        assert self.of(TORCH) == ()
        named = TORCH | {"TORCHELASTIC_RUN_ID": "nightly-7", "MASTER_ADDR": "n1"}
        again = named | {"TORCHELASTIC_RESTART_COUNT": "2", "MASTER_PORT": "1", "RANK": "0", "WORLD_SIZE": "3"}
        assert self.of(named) == self.of(again) != ()
        assert self.of(named) != self.of(named | {"TORCHELASTIC_RUN_ID": "nightly-8"})
        assert [apart.attempt(detect(one), one) for one in (named, again)] == [1, 3]

    def test_a_user_can_name_any_launch(self) -> None:
        """DeepSpeed over nodes says nothing that another launch would not say as well."""
        assert self.of(SPEED) == ()
        named = SPEED | {"PROVML_LAUNCH": "nightly-7"}
        elsewhere = named | {"RANK": "3", "CROSS_RANK": "1"}
        assert self.of(named) == self.of(elsewhere) != ()
        assert self.of(named) != self.of(named | {"PROVML_LAUNCH": "nightly-8"})
        # Two in one job have the same step of Slurm, which is none.
        assert len({self.of(self.JOB | SPEED), *(self.of(self.JOB | SPEED | {"PROVML_LAUNCH": n}) for n in "ab")}) == 3

    def test_on_one_node_it_is_that_of_the_agent_which_has_no_rank(self) -> None:
        code = "from provml_hpc.environment import apart, launcher; print(apart.common_name(launcher.detect()))"
        wrapped = ["sh", "-c", 'true; "$0" -c "$1"', sys.executable, code]
        env = os.environ | TORCH | {"LOCAL_WORLD_SIZE": "4"}
        said = [
            subprocess.run(command, check=True, capture_output=True, text=True, env=env | {"RANK": str(rank)}).stdout
            for rank, command in enumerate([[sys.executable, "-c", code], wrapped])
        ]
        assert said[0] == said[1] == f"{('node', apart.boot_id(), str(os.getpid()), _started())}\n"


def _started() -> str:
    return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]


@pytest.mark.parametrize(
    ("tasks", "node", "here"),
    [
        *[("4", "0", 4), ("2(x2)", "1", 2), ("3,1(x2),2", "0", 3), ("3,1(x2),2", "2", 1), ("3,1(x2),2", "3", 2)],
        *[("2", "1", None), ("", "0", None), ("2", "", None), ("x", "0", None)],
    ],
)
def test_a_step_of_slurm_says_how_many_tasks_are_on_this_node(tasks: str, node: str, here: int | None) -> None:
    environ = STEP | {"PMI_RANK": "1", "PMI_SIZE": "4", "SLURM_MPI_TYPE": "pmi2"}
    assert detect(environ | {"SLURM_STEP_TASKS_PER_NODE": tasks, "SLURM_NODEID": node}).here == here
