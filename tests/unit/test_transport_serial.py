"""The transport of one process, and how a launcher is told from the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from provml_hpc.errors import CaptureWarning, TransportError, UsageError
from provml_hpc.transport import Report, Serial, Transport, choose
from tests.mpi.contract import CHECKS

HYDRA = {"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "4"}
ALLOCATION = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "48", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"}


@pytest.fixture
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("PMI", "OMPI_COMM", "MPI_LOCAL", "PALS_", "MV2_", "SLURM_", "TORCHELASTIC")):
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

    with pytest.raises(KeyboardInterrupt):
        transport.meet(Report(), [memoryview(b"x")], sink)


def test_nothing_told_after_a_failure_is_a_new_reason() -> None:
    transport = Serial()
    transport.leave("SystemExit: 3")
    with pytest.raises(TransportError, match="SystemExit: 3"):
        transport.broadcast(b"", 0)


def test_a_rank_apart_knows_its_place_and_hears_nothing() -> None:
    transport = Serial(rank=2, size=4)
    assert (transport.rank, transport.size, transport.writer, transport.lead, transport.alone) == (2, 4, 2, 2, True)
    assert transport.divide(3) == [2, 2, 2, 2]
    assert transport.allgather(b"x") == [b"", b"", b"x", b""]
    got: list[tuple[tuple[int, int, int], bytes]] = []
    agreement, answer = transport.meet(
        Report(requests=b"?"),
        [memoryview(b"12345678")],
        lambda data, spans: got.append((spans[0], bytes(data))),
        lambda agreement, error: b"done",
        lambda agreement, said: repr(dict(said)).encode(),
    )
    assert answer == b"{2: b'done'}"
    assert agreement.requests == {2: b"?"}
    assert got == [((2, 0, 8), b"12345678")]
    assert transport.broadcast(b"y", 2) == b"y"
    with pytest.raises(UsageError, match="nothing comes from rank 0"):
        transport.broadcast(b"", 0)
    assert transport.close()


@pytest.mark.usefixtures("no_launcher")
def test_processes_that_no_mpi_joins_keep_their_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "2", "WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "x"}.items():
        monkeypatch.setenv(name, value)
    chosen = choose(writer=3)
    assert isinstance(chosen, Serial)
    assert (chosen.rank, chosen.size, chosen.writer) == (2, 4, 2)
    alone = choose("self")
    assert (alone.rank, alone.size) == (0, 1)
    with pytest.raises(UsageError, match="writer=4 is no rank of a run of 4 processes"):
        choose(writer=4)


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
