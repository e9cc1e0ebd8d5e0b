"""A thread that hears of signals, and carries journals away while its process goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import provml_hpc as provml
from provml_hpc.capture.watcher import Watcher
from provml_hpc.journal import DeadSegment, own_folder
from provml_hpc.storage.place import hidden_of
from provml_hpc.storage.recover import recover
from tests.faults import guarantee
from tests.mpi.launch import environment
from tests.unit.storage.test_rescue import killed

# The main thread is in a call that does not come back to Python: its handlers never run.
BLOCKED = """
import ctypes, os, signal, sys
import provml_hpc as provml
run = provml.init("blocked", phase="learning", output=sys.argv[1], journal="node", stop_signals=["SIGTERM"])
training = run.training()
for step in range(100):
    training.log(step, loss=float(step))
print("ready", flush=True)
libc = ctypes.CDLL(None)
while True:
    libc.usleep(60_000_000)
"""

# Does what it is told, a line each, while its handlers run.
GOES_ON = """
import sys
import provml_hpc as provml
run = provml.init("goes on", phase="learning", output=sys.argv[1], journal="node", stop_signals=["SIGTERM"],
                  buffer=sys.argv[2])
training = run.training()
step = 0
for line in sys.stdin:
    if line == "flush\\n":
        run.flush()
    else:
        for step in range(step, step + int(line)):
            training.log(step, loss=float(step))
        step += 1
    print("done", flush=True)
"""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "node"
    folder.mkdir()
    monkeypatch.setenv("SLURM_TMPDIR", str(folder))
    return folder


@pytest.fixture
def usual() -> Iterator[None]:
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    yield
    signal.signal(signal.SIGUSR2, before)
    assert signal.set_wakeup_fd(-1) == -1


def until(ready: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.usefixtures("usual")
def test_a_descriptor_that_was_there_still_hears_and_comes_back() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    heard: list[int] = []
    watcher = Watcher(heard.append)
    os.kill(os.getpid(), signal.SIGUSR2)
    until(lambda: heard)
    watcher.close(10)
    assert heard == [signal.SIGUSR2]
    assert os.read(reader, 10) == bytes([signal.SIGUSR2])
    assert signal.set_wakeup_fd(-1) == writer
    os.close(reader)
    os.close(writer)


@pytest.mark.usefixtures("usual")
def test_two_that_end_in_the_order_in_which_they_began() -> None:
    first: list[int] = []
    second: list[int] = []
    one, two = Watcher(first.append), Watcher(second.append)
    os.kill(os.getpid(), signal.SIGUSR2)
    until(lambda: first and second)
    one.close(10)
    os.kill(os.getpid(), signal.SIGUSR2)
    until(lambda: len(second) == 2)
    assert len(first) == 1
    two.close(10)
    signal.set_wakeup_fd(-1)


def test_a_blocked_process_carries_its_journal_and_those_of_the_dead(tmp_path: Path, node: Path) -> None:
    output = tmp_path / "job.h5"
    env = environment({"SLURM_TMPDIR": str(node)})
    command = [sys.executable, "-c", BLOCKED, str(output)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (folder,) = node.iterdir()
        run = next(folder.glob("*-l0-*.journal")).name[:8]
        dead = killed(folder, rank=7, run=f"{run}-1111-4222-8333-0123456789ab", output=str(output))
        assert not list(hidden_of(output).glob("*.journal"))
        process.send_signal(signal.SIGTERM)
        until(
            lambda: list(hidden_of(output).glob("*-r00000-l0-*.journal")) and (hidden_of(output) / dead.name).exists()
        )
        assert process.poll() is None
        process.kill()
    assert dead.exists(), "it is a copy, so that a rescue that comes later is sure of all"


class GoesOn:
    """A process that logs what it is told, with its journal on a node."""

    def __init__(self, output: Path, node: Path, buffer: str = "1 MiB") -> None:
        self.output, self.node = output, node
        self.process = subprocess.Popen(
            [sys.executable, "-c", GOES_ON, str(output), buffer],
            env=environment({"SLURM_TMPDIR": str(node)}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> DeadSegment:
        """Have it log or flush, and return its journal as it is then."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"
        (path,) = self.node.glob("*/*-l0-*.journal")
        return DeadSegment(path)

    def until_carried(self, journal: DeadSegment) -> None:
        """Wait until this is what lies beside the output, and nothing more of it."""
        hidden = hidden_of(self.output)
        until(lambda: [DeadSegment(path).data for path in hidden.glob("*-l0-*.journal")] == [journal.data])

    def die(self) -> None:
        """Be killed, and its node wiped."""
        self.process.kill()
        self.process.communicate()
        shutil.rmtree(self.node)


def test_what_is_logged_after_the_signal_is_carried_too(tmp_path: Path, node: Path) -> None:
    """A rank that was told to stop logs on until it waits for others, or for its end; then its node is wiped."""
    output = tmp_path / "job.h5"
    job = GoesOn(output, node)
    journal = job.tell("100")
    job.process.send_signal(signal.SIGTERM)
    job.until_carried(journal)
    job.until_carried(job.tell("20"))
    before = job.tell("flush")
    journal = job.tell("120")
    assert journal.frames()[1] > before.frames()[2], "a flush point begins the journal anew"
    job.until_carried(journal)
    job.die()
    recover(output)
    with provml.open(output) as file:
        assert file.samples(measure="loss")["step"].tolist() == list(range(240))
    assert [path.name for path in tmp_path.iterdir()] == ["job.h5"]


def test_what_is_only_counted_after_the_signal_is_carried_too(tmp_path: Path, node: Path) -> None:
    output = tmp_path / "job.h5"
    job = GoesOn(output, node, "64 KiB")
    journal = job.tell("5000")
    job.process.send_signal(signal.SIGTERM)
    job.until_carried(journal)
    more = job.tell("7")
    assert (more.state, more.data != journal.data) == (journal.state, True)
    job.until_carried(more)
    job.die()
    recover(output)
    with provml.open(output) as file:
        kept = len(file.samples(measure="loss"))
    assert kept + guarantee.thinned(output)[1, 0] == 5007


def test_a_run_that_ends_well_leaves_no_copy(tmp_path: Path, node: Path) -> None:
    output = tmp_path / "job.h5"
    before = signal.getsignal(signal.SIGUSR2)
    with provml.init("well", phase="learning", output=output, journal="node", stop_signals=["SIGUSR2"]) as run:
        training = run.training()
        for step in range(10):
            training.log(step, loss=float(step))
        os.kill(os.getpid(), signal.SIGUSR2)
        until(lambda: list(hidden_of(output).glob("*.journal")))
        run.flush()
        assert run.stop_requested
        os.kill(os.getpid(), signal.SIGUSR2)
        training.log(10, loss=10.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.h5", "node"]
    assert not list(node.glob(f"{own_folder('')}*"))
    assert (signal.getsignal(signal.SIGUSR2), signal.set_wakeup_fd(-1)) == (before, -1)
    with provml.open(output) as file:
        assert file.samples(measure="loss")["step"].tolist() == list(range(11))


def test_a_child_does_not_wake_its_parent(tmp_path: Path, node: Path) -> None:
    output = tmp_path / "job.h5"
    with provml.init("child", phase="learning", output=output, journal="node", stop_signals=["SIGUSR2"]) as run:
        run.training().log(0, loss=0.0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*use of fork", DeprecationWarning)  # from Python 3.12 on
            child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGUSR2)
            time.sleep(0.05)
            os._exit(0)
        os.waitpid(child, 0)
        time.sleep(0.2)
        assert not list(hidden_of(output).glob("*.journal"))


def test_where_journals_lie_beside_the_output_nothing_is_installed(tmp_path: Path) -> None:
    with provml.init("beside", phase="learning", output=tmp_path / "job.h5", stop_signals=["SIGUSR2"]):
        assert signal.set_wakeup_fd(-1) == -1
