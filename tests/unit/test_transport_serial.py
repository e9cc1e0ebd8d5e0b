"""The transport of one process, and how a launcher is told from the environment."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from provml_hpc.errors import CaptureWarning, TransportError, UsageError
from provml_hpc.transport import Report, Serial, Transport, choose
from provml_hpc.transport.launcher import Launch, detect
from tests.mpi.contract import CHECKS

HYDRA = {"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "4"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "3", "PMIX_RANK": "0", "PMIX_NAMESPACE": "prterun-1"}
ALLOCATION = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "48", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"}


@pytest.fixture
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("PMI", "OMPI_COMM", "MPI_LOCAL", "PALS_", "MV2_", "SLURM_")):
            monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_contract_holds_without_mpi(check: object) -> None:
    def make(cap: int) -> Transport:
        return Serial(round_bytes=cap)

    assert callable(check)
    check(make)


def test_an_interrupt_in_the_sink_is_not_swallowed() -> None:
    transport = Serial()

    def sink(piece: memoryview, spans: object) -> None:
        raise KeyboardInterrupt

    agreement = transport.flush_point(Report(size=1))
    with pytest.raises(KeyboardInterrupt):
        transport.gather([memoryview(b"x")], sink, agreement)


def test_nothing_told_after_a_failure_is_a_new_reason() -> None:
    transport = Serial()
    transport.leave("SystemExit: 3")
    with pytest.raises(TransportError, match="SystemExit: 3"):
        transport.settle()


@pytest.mark.parametrize(
    ("environ", "size"),
    [
        (HYDRA, 4),
        (OPEN_MPI, 3),
        ({"PMIX_RANK": "0", "PMIX_NAMESPACE": "slurm.pmix.7.0", "SLURM_STEP_NUM_TASKS": "2"}, 2),
        ({"PMIX_RANK": "0", "PMIX_NAMESPACE": "slurm.pmix.7.0"}, None),
        ({"MPI_LOCALRANKID": "0"}, None),
        ({"PALS_RANKID": "5"}, None),
        (HYDRA | ALLOCATION, 4),
        ({"PMI_RANK": "0", "PMI_SIZE": "1"}, 1),
        ({"PMI_RANK": "0", "PMI_SIZE": "lots", "MPI_LOCALRANKID": "0"}, None),
    ],
    ids=str,
)
def test_launchers_are_found(environ: dict[str, str], size: int | None) -> None:
    launch = detect(environ)
    assert launch is not None
    assert launch.size == size


@pytest.mark.parametrize(
    "environ",
    [
        {},
        ALLOCATION,
        {"PMI_RANK": "0"},
        {"PMI_RANK": "", "PMI_SIZE": "4"},
        {"PMI_RANK": "-1", "PMI_SIZE": "4"},
        {"PMIX_RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "8"},
        HYDRA | {"PMI_FD": "999"},
    ],
    ids=str,
)
def test_leftovers_are_not_launchers(environ: dict[str, str]) -> None:
    assert detect(environ) is None


def test_a_connection_to_the_launcher_must_be_open(tmp_path: Path) -> None:
    here, there = socket.socketpair()
    with here, there:
        assert detect(HYDRA | {"PMI_FD": str(here.fileno())}) == Launch(
            "a PMI launcher (MPICH, Intel MPI, srun --mpi=pmi2)", 4
        )
    with (tmp_path / "reused").open("wb") as file:
        assert detect(HYDRA | {"PMI_FD": str(file.fileno())}) is None


@pytest.mark.usefixtures("no_launcher")
def test_without_a_launcher_mpi_is_not_touched(repository: Path) -> None:
    code = (
        "import sys; from provml_hpc.transport import choose; assert type(choose()).__name__ == 'Serial'; "
        "assert not {'mpi4py', 'h5py', 'numpy'} & set(sys.modules)"
    )
    for more in ({}, ALLOCATION, {"PMI_RANK": "0", "PMI_SIZE": "1"}):
        subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ) | more, cwd=repository)


@pytest.mark.usefixtures("no_launcher")
def test_a_launcher_without_mpi4py_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HYDRA.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.warns(CaptureWarning, match=r"started as 4 processes by .* install mpi4py"):
        assert isinstance(choose(), Serial)


@pytest.mark.usefixtures("no_launcher")
def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="writer=1 is no rank"):
        choose(writer=1)
    with pytest.raises(UsageError, match="no mpi4py communicator"):
        choose(4)
    with pytest.raises(UsageError, match="1 GiB"):
        choose(round_bytes=1 << 31)
