"""Whose journals a recovery takes: its own user's, wherever others could have put some of theirs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import provml_hpc as provml
from provml_hpc import records
from provml_hpc.capture.adoption import Orphans
from provml_hpc.errors import StorageError
from provml_hpc.journal import Journal, own_folder
from provml_hpc.records import Source
from provml_hpc.storage.leftovers import find_segments
from provml_hpc.storage.place import hidden_of, partial_of
from provml_hpc.storage.recover import recover
from tests.mpi.launch import environment

NOBODY = 65534
JOB = """
import os, signal, sys
import provml_hpc as provml
run = provml.init("job", phase="learning", output=sys.argv[1])
run.log(0, loss=1.0)
run.flush()
run.log(1, loss=1.0)
print(run.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user: run it as root")


@pytest.fixture
def dead(tmp_path: Path) -> tuple[Path, str]:
    """Return the output of a job that was killed, and its run."""
    done = subprocess.run(
        [sys.executable, "-c", JOB, str(tmp_path / "job.h5")], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return tmp_path / "job.h5", done.stdout.strip()


def plant(folder: Path, run: str) -> Path:
    """Put a journal of that run into a folder, as somebody else would, who says that another rank had failed."""
    journal = Journal(folder, Source(1, 7, 0), run, {"run": run}, 1 << 16)
    journal.write(records.Ended(records.FAILED, "planted", "Planted"))
    path = journal.first.path
    journal.close(remove=False)
    assert path is not None
    os.chown(path, NOBODY, NOBODY)
    return path


def steps(output: Path) -> list[int]:
    with provml.open(output) as file:
        return file.samples(measure="loss")["step"].tolist()


@root_only
def test_what_others_put_into_a_folder_that_was_open_to_them_is_not_taken(dead: tuple[Path, str]) -> None:
    output, run = dead
    hidden_of(output).chmod(0o777)
    planted = plant(hidden_of(output), run)
    with provml.open(partial_of(output)) as live:
        assert live.status != "failed"
    result = recover(output)
    assert [found.source.rank for found in result.sources if found.source.rank == 7] == []
    (said,) = result.damage
    assert str(planted) in said
    assert "belongs to somebody else" in said
    assert (result.status, steps(output)) == ("recovered", [0, 1])
    assert planted.exists(), "it is not ours to remove"
    assert recover(output).status == "recovered"


@root_only
def test_a_folder_of_somebody_else_is_not_looked_into(dead: tuple[Path, str]) -> None:
    output, run = dead
    os.chown(hidden_of(output), NOBODY, NOBODY)
    before = sorted(path.name for path in output.parent.rglob("*"))
    segments, troubles = find_segments([hidden_of(output)], run, 0)
    assert segments == []
    (said,) = troubles
    assert "belongs to somebody else" in said
    with pytest.raises(StorageError, match="belongs to somebody else"):
        recover(output)
    assert sorted(path.name for path in output.parent.rglob("*")) == before
    os.chown(hidden_of(output), os.geteuid(), os.getegid())
    recover(output)
    assert steps(output) == [0, 1]


@root_only
def test_copies_that_the_user_names_are_taken_whoever_made_them(dead: tuple[Path, str], tmp_path: Path) -> None:
    output, _ = dead
    copies = tmp_path / "copies"
    copies.mkdir(mode=0o775)
    for path in hidden_of(output).glob("*.journal"):
        path.rename(copies / path.name)
        os.chown(copies / path.name, NOBODY, NOBODY)
    os.chown(copies, NOBODY, NOBODY)
    assert recover(output, journals=[copies]).taken
    assert steps(output) == [0, 1]


@root_only
def test_a_dead_rank_s_journal_is_adopted_from_its_own_user_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_TMPDIR", str(tmp_path))
    with provml.init("job", phase="learning", output=tmp_path / "job.h5") as run:
        session = run._session
        node = tmp_path / own_folder(run.id)
        node.mkdir(mode=0o700)
        planted = plant(node, run.id)
        assert Orphans(session, [7], [7]).seen() == []
        os.chown(planted, os.geteuid(), os.getegid())
        assert [rank for rank, _ in Orphans(session, [7], [7]).seen()] == [7]
        node.chmod(0o777)
        assert Orphans(session, [7], [7]).seen() == []
