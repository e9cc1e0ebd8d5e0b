"""Tests that run on every rank of a job, inside pytest: what each rank sees of a run as it goes.

They are started by ``tests/mpi/test_inside_pytest.py``, or by hand::

    mpiexec -n 2 python -m pytest -o addopts= --import-mode=importlib --with-mpi tests/mpi/inside/inside_capture.py
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
from mpi4py import MPI

import provml_hpc as provml
from provml_hpc.storage.output import Output
from tests.mpi.reading import File

pytestmark = [pytest.mark.mpi(min_size=2), pytest.mark.timeout(100)]

comm = MPI.COMM_WORLD
rank = comm.rank


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return one folder that all ranks share."""
    return comm.bcast(tmp_path)


def test_all_ranks_know_one_run(folder: Path) -> None:
    with provml.init("inside", phase="learning", output=folder / "inside.h5", comm=comm) as run:
        assert len(set(comm.allgather(run.id))) == 1
        assert set(comm.allgather(run.output)) == {folder / "inside.h5"}
        with run.training() as training:
            for epoch in training.sections("epoch", 2):
                training.log(epoch.index, loss=float(rank))
                run.flush()
        assert repr(training) == f"<TrainingExecution 'training', closed, rank {rank}>"
    # When the end of the run returns, the file is there on every rank.
    file = File(folder / "inside.h5")
    assert not file.faults
    assert file.run.uuid == run.id
    assert sorted(file.tables["training", ("loss",)]["rank"].tolist()) == sorted(list(range(comm.size)) * 2)


def test_refusals_are_raised_on_all_ranks(folder: Path) -> None:
    provml.init("first", phase="learning", output=folder / "a.h5", comm=comm).finish()
    with pytest.raises(provml.OutputExistsError, match="choose another output"):
        provml.init("second", phase="learning", output=folder / "a.h5", comm=comm)
    with pytest.raises(provml.UsageError, match="phase"):
        provml.init("third", phase="dreaming", output=folder / "b.h5", comm=comm)
    assert not (folder / "b.h5").exists()


def test_a_stop_asked_of_one_rank_is_known_to_all_after_a_flush(folder: Path) -> None:
    with provml.init("stop", phase="learning", output=folder / "stop.h5", comm=comm) as run:
        run.flush()
        assert not run.stop_requested
        run._session.stop_requested = rank == comm.size - 1
        run.flush()
        assert run.stop_requested


def test_the_users_communicator_is_left_alone(folder: Path) -> None:
    mine = comm.Dup()
    stray = mine.Irecv(bytearray(1 << 16), MPI.ANY_SOURCE, MPI.ANY_TAG)
    with provml.init("alone", phase="learning", output=folder / "alone.h5", comm=mine) as run:
        run.log(0, loss=1.0)
        run.flush()
    assert not stray.Test()
    stray.Cancel()
    stray.Wait()
    mine.Free()


def test_a_failure_of_the_writer_is_told_to_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the output cannot be written, every rank goes on; one says so, and where what was logged is kept."""

    def claim(*_: object) -> None:
        raise RuntimeError("a fault that nobody thought of")

    monkeypatch.setattr(Output, "claim", claim)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = provml.init("nowhere", phase="learning", output=folder / "such.h5", comm=comm)
    assert len(caught) == (comm.rank == 0)
    for one in caught:
        assert re.search(r"a fault that nobody .* recover .* --journals", str(one.message))
    with run:
        run.log(0, loss=1.0)
        run.flush()
    assert not (folder / "such.h5").exists()


def test_an_output_in_no_folder_is_refused_on_all_ranks(folder: Path) -> None:
    with pytest.raises(provml.UsageError, match="there is no folder"):
        provml.init("nowhere", phase="learning", output=folder / "no" / "such.h5", comm=comm)
    assert not (folder / "no").exists()


def test_a_strict_run_raises_on_all_ranks_what_they_disagree_about(folder: Path) -> None:
    run = provml.init("strict", phase="learning", output=folder / "strict.h5", comm=comm, strict=True)
    with run.training(params={"lr": rank}) as training:
        training.log(0, loss=1.0)
    with pytest.raises(provml.ProvMLError, match="disagree in the parameters of 'training'"):
        run.finish()
    # The file is whole all the same.
    assert File(folder / "strict.h5").run.status == "finished"
