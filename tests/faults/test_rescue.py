"""Journals on a node that is wiped when the job ends: who can carries its own, a rescue carries those of the others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import provml_hpc as provml
from provml_hpc.storage.rescue import rescue
from tests.faults import guarantee, killing
from tests.mpi import launch

RANKS = 3
RUN_MODULE = ("-m", "mpi4py")


@pytest.mark.parametrize(
    ("way", "python", "left", "status", "writers"),
    [
        ("exception-all", (), 0, "failed", 1),
        ("exception-all", (), 0, "failed", 2),
        ("exit-all", (), 0, "failed", 1),
        # Under -m mpi4py the first to go ends the job, and the launcher kills who has not carried its own by then.
        ("exit-all", RUN_MODULE, 2, "failed", 1),
        ("exception", RUN_MODULE, 2, "failed", 1),
        ("computing:SIGKILL", (), 3, "recovered", 1),
        ("computing:SIGKILL", (), 3, "recovered", 2),
    ],
)
def test_the_node_is_wiped_and_nothing_is_lost(
    way: str,
    python: tuple[str, ...],
    left: int,
    status: str,
    writers: int,
    mpi_run: Callable[..., launch.Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output, told, node = tmp_path / "job.h5", tmp_path / "told", tmp_path / "node"
    told.mkdir()
    node.mkdir()
    monkeypatch.setenv("TMPDIR", str(node))
    env = {"JOURNAL": "node", killing.WRITERS: str(writers)}
    done = mpi_run("exits.py", RANKS, [way, output, told], python=python, env=env)
    assert done.returncode != 0
    guarantee.wait_until_free(output)
    assert len({path.name.split("-")[2] for path in node.glob("provml-*/*.journal")}) <= left
    if left:
        assert rescue(output).left == []
    assert not list(node.glob("provml-*"))
    shutil.rmtree(node)
    guarantee.recover_and_check(output, told, RANKS)
    with provml.open(output) as run:
        assert run.status == status
