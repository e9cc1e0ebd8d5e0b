"""Journals carried from a node to beside the output: whole or not at all, and never from under a process that lives."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import provml_hpc as provml
from provml_hpc import records
from provml_hpc.errors import FileBusyError, FormatError, StorageError
from provml_hpc.journal import DeadSegment, Journal, own_folder
from provml_hpc.records import Source
from provml_hpc.storage import rescue as rescue_module
from provml_hpc.storage.place import hidden_of, partial_of
from provml_hpc.storage.recover import recover
from provml_hpc.storage.rescue import carry, process_of, rescue
from tests.mpi.launch import environment

RUN = "3f0d2a44-1111-4222-8333-0123456789ab"
STEPS = 500
JOB = """
import os, signal, sys
import provml_hpc as provml
run = provml.init("node", phase="learning", output=sys.argv[1], journal="node")
training = run.training()
for step in range({steps}):
    training.log(step, loss=float(step))
    if step == {steps} // 2:
        run.flush()
print(run.id, flush=True)
{end}
"""
KILLED = "os.kill(os.getpid(), signal.SIGKILL)"
WAITS = "sys.stdin.read()"


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    path = tmp_path / ".job.h5.provml"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the node-local folder of this process and of those that it starts."""
    folder = tmp_path / "node"
    folder.mkdir()
    monkeypatch.setenv("SLURM_TMPDIR", str(folder))
    return folder


def journal(folder: Path, rank: int = 0, count: int = 3, run: str = RUN, output: str = "") -> Journal:
    """Return an open journal with some records."""
    folder.mkdir(exist_ok=True, mode=0o700)
    made = Journal(folder, Source(1, rank, 0), run, {"run": run, "output": output}, 1 << 20)
    for number in range(count):
        made.write(records.Fact("run", f"fact {number}", "integer", str(number)))
    return made


def killed(folder: Path, **more: object) -> Path:
    """Return the file of a journal that nobody writes any more."""
    made = journal(folder, **more)  # type: ignore[arg-type]
    path = made.first.path
    made.close(remove=False)
    return path


def job(output: Path, end: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", JOB.format(steps=STEPS, end=end), str(output)],
        env=environment({"SLURM_TMPDIR": os.environ["SLURM_TMPDIR"]}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_copy_has_what_was_published_and_no_more(tmp_path: Path, hidden: Path) -> None:
    path = killed(tmp_path / "node")
    before = DeadSegment(path).data
    assert carry(path, hidden) == 3
    assert not path.exists()
    assert not path.parent.exists()
    (copy,) = hidden.iterdir()
    assert copy.name == path.name
    assert DeadSegment(copy).data == before
    assert copy.stat().st_size == len(before) < 1 << 20
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_an_empty_journal_leaves_nothing(tmp_path: Path, hidden: Path) -> None:
    path = killed(tmp_path / "node", count=0)
    assert carry(path, hidden) == 0
    assert not path.exists()
    assert list(hidden.iterdir()) == []


def test_what_is_no_journal_stays(tmp_path: Path, hidden: Path) -> None:
    path = tmp_path / "x.journal"
    path.write_text("not a journal")
    with pytest.raises(FormatError):
        carry(path, hidden)
    assert path.exists()
    assert list(hidden.iterdir()) == []


def test_carried_again_the_longer_one_stays(tmp_path: Path, hidden: Path) -> None:
    made = journal(tmp_path / "node")
    assert carry(made.first.path, hidden, keep=True) == 3
    made.write(records.Fact("run", "later", "text", "later"))
    assert carry(made.first.path, hidden, keep=True) == 4
    shorter = killed(tmp_path / "other", count=2)
    longer = DeadSegment(made.first.path).data
    made.close(remove=False)
    assert [DeadSegment(path).data for path in hidden.iterdir()] == [longer]
    # The same source with other content, as after a flush point: both are kept, and the sequences tell.
    carry(shorter, hidden)
    assert len(list(hidden.glob("*.journal"))) == 2


def test_carried_again_after_a_flush_point_there_is_one_copy(tmp_path: Path, hidden: Path) -> None:
    """A segment begins anew only when all that was in it is in the file."""
    made = journal(tmp_path / "node")
    carry(made.first.path, hidden, keep=True)
    for number in range(2):
        made.seal()
        made.restart(made.seal().mark)
        assert carry(made.first.path, hidden, keep=True) == 0, "what is committed is no more of the journal's"
        # As long as before, so that its published length does not tell.
        for fact in range(3):
            made.write(records.Fact("run", f"fact {fact}", "integer", str(number)))
        assert carry(made.first.path, hidden, keep=True) == 3
    (copy,) = hidden.iterdir()
    assert DeadSegment(copy).frames()[1:3] == (7, 9)
    made.close(remove=True)


def test_counts_that_are_raised_neither_hinder_a_copy_nor_make_a_second(
    tmp_path: Path, hidden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The buffer of a training that goes on is full: it raises a count where it lies with each sample it refuses."""
    made = journal(tmp_path / "node")

    class Raised(DeadSegment):
        def __init__(self, of: Path) -> None:
            made.count(1, "buffer full", "loss", 1)
            super().__init__(of)

    monkeypatch.setattr(rescue_module, "DeadSegment", Raised)
    carry(made.first.path, hidden, keep=True)
    carry(made.first.path, hidden, keep=True)
    monkeypatch.undo()
    carry(made.first.path, hidden, keep=True)
    (copy,) = hidden.iterdir()
    assert DeadSegment(copy).data == DeadSegment(made.first.path).data
    made.close(remove=True)


@pytest.mark.parametrize("restarts", [False, True])
def test_what_was_read_while_a_journal_began_anew_is_read_again(
    restarts: bool, tmp_path: Path, hidden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = journal(tmp_path / "node")
    reads = []

    class Changing(DeadSegment):
        def __init__(self, of: Path) -> None:
            super().__init__(of)
            if of.parent != hidden:
                reads.append(of)
            if len(reads) % 2 and (restarts or len(reads) == 1):
                made.restart(made.seal().mark)
                for number in range(4):
                    made.write(records.Fact("run", f"anew {number}", "integer", "0"))

    monkeypatch.setattr(rescue_module, "DeadSegment", Changing)
    if restarts:
        with pytest.raises(StorageError, match="flush points faster"):
            carry(made.first.path, hidden, keep=True)
        assert list(hidden.iterdir()) == []
    else:
        assert carry(made.first.path, hidden, keep=True) == 4
        (copy,) = hidden.iterdir()
        assert DeadSegment(copy).frames()[1:3] == (4, 7)
    made.close(remove=True)


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_no_room_leaves_the_journal_where_it_is(
    call: str, tmp_path: Path, hidden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = killed(tmp_path / "node")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(StorageError, match="No space left"):
        carry(path, hidden)
    assert DeadSegment(path).frames()[2] == 3
    assert list(hidden.iterdir()) == []


def test_a_copy_that_reads_back_differently_is_none(
    tmp_path: Path, hidden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = killed(tmp_path / "node")

    class Torn(DeadSegment):
        def __init__(self, of: Path) -> None:
            super().__init__(of)
            if of.parent == hidden:
                self.data = self.data[:-1]

    monkeypatch.setattr(rescue_module, "DeadSegment", Torn)
    with pytest.raises(StorageError, match="differently"):
        carry(path, hidden)
    assert path.exists()
    assert list(hidden.iterdir()) == []


def test_a_killed_job_is_rescued_and_recovered_after_the_node_was_wiped(tmp_path: Path, node: Path) -> None:
    output = tmp_path / "job.h5"
    with job(output, KILLED) as process:
        assert process.stdout is not None
        run = process.stdout.read().strip()
    assert process.returncode == -signal.SIGKILL
    assert list((node / own_folder(run)).glob("*.journal"))
    done = rescue(partial_of(output))
    assert done.journals
    assert done.left == []
    assert list(node.iterdir()) == []
    assert rescue(output).journals == 0
    assert recover(output).status == "recovered"
    with provml.open(output) as file:
        assert file.samples(measure="loss")["step"].tolist() == list(range(STEPS))
    assert not hidden_of(output).exists()


def test_a_rescue_after_the_recovery_is_merged(tmp_path: Path, node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "job.h5"
    with job(output, KILLED) as process:
        process.communicate()
    monkeypatch.setenv("SLURM_TMPDIR", str(tmp_path))  # as on a machine that is not the node
    recover(output)
    with provml.open(output) as file:
        assert len(file.samples(measure="loss")) == STEPS // 2 + 1
    assert rescue(output, folders=[node]).journals
    recover(output)
    with provml.open(output) as file:
        assert file.samples(measure="loss")["step"].tolist() == list(range(STEPS))


def test_a_job_that_lives_is_left_alone(tmp_path: Path, node: Path) -> None:
    output = tmp_path / "job.h5"
    with job(output, WAITS) as process:
        assert process.stdout is not None
        run = process.stdout.readline().strip()
        (path,) = (node / own_folder(run)).glob("*-l0-*.journal")
        assert process_of(path) == process.pid
        with pytest.raises(FileBusyError, match="lives"):
            rescue(output, wait=0)
        assert path.exists()
        process.communicate("")


def test_a_journal_whose_process_lives_stays(tmp_path: Path, node: Path, hidden: Path) -> None:
    """The writer rank may be gone while another rank of the node still ends."""
    output = tmp_path / "job.h5"
    living = journal(node / own_folder(RUN), rank=1, output=str(output))
    dead = killed(node / own_folder(RUN), rank=0, output=str(output))
    assert process_of(living.first.path) == os.getpid()
    assert process_of(dead) == 0
    done = rescue(output, wait=0.3)
    assert done.journals == 1
    (left,) = done.left
    assert f"process {os.getpid()} is alive" in left
    assert living.first.path.exists()
    living.close(remove=False)
    assert rescue(output).journals == 1
    assert len(list(hidden.glob("*.journal"))) == 2


def test_a_journal_of_another_container_is_copied_and_stays(
    tmp_path: Path, node: Path, hidden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its process is gone cannot be seen."""
    output = tmp_path / "job.h5"
    living = journal(node / own_folder(RUN), output=str(output))
    monkeypatch.setattr(rescue_module, "pid_namespace", lambda: "pid:[1]")
    done = rescue(output)
    assert (done.journals, done.left) == (1, [])
    assert living.first.path.exists()
    assert DeadSegment(hidden / living.first.path.name).data == DeadSegment(living.first.path).data
    living.close(remove=True)


def test_journals_of_other_outputs_and_runs_stay(tmp_path: Path, node: Path, hidden: Path) -> None:
    output = tmp_path / "job.h5"
    killed(node / own_folder(RUN), output=str(output))
    other = killed(node / own_folder("ffff"), rank=7, run="ffff", output=str(tmp_path / "other.h5"))
    link = node / own_folder("aaaa")
    link.symlink_to(other.parent)
    assert rescue(output).journals == 1
    assert other.exists()
    assert [path.name for path in hidden.iterdir()] == ["3f0d2a44-a001-r00000-l0-s000.journal"]


def test_a_copy_that_was_cut_short_is_cleared_away(tmp_path: Path, hidden: Path) -> None:
    (hidden / "rescued.0123456789ab").write_bytes(b"half")
    carry(killed(tmp_path / "node", output=str(tmp_path / "job.h5")), hidden)
    recover(tmp_path / "job.h5", force=True)
    assert not hidden.exists()
