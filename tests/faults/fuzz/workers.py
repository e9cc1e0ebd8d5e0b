"""Workers that face mutants in processes of their own, and what is done about those that do not come back."""

from __future__ import annotations

import functools
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from provml_hpc.storage import careful
from provml_tools import cli
from tests.faults.fuzz import targets
from tests.faults.fuzz.originals import Originals
from tests.mpi import launch

CALL_S = 2.0
"""What HDF5 may take for one stretch of work here; a command gives it five times that."""
WHOLE_S = 10.0
"""What a file may take in all, of processor time: a sound one takes a fiftieth."""
WALL_S = 120.0
"""What a file may take on the clock: nothing sleeps so long, and others may need the machine."""
MEMORY = 1 << 30
"""Bytes of memory that a worker may have."""
TELL_S = 10.0
_COMMAND = f"""
import sys
from provml_tools import cli, shield
shield.CALL_S = {CALL_S}
sys.exit(cli.main())
"""
"""The command with its shield, which gives up as soon as a worker does and not after a user's patience."""
_BATCH = 500
"""Files that a worker faces before the next one takes its place: that costs milliseconds, and no leak adds up."""


@dataclass
class Found:
    """What came of the files of one target."""

    target: str
    files: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    contained: Counter[str] = field(default_factory=Counter)
    """How HDF5 was brought down where the command then still ended cleanly."""
    faults: list[tuple[int, str]] = field(default_factory=list)
    longest: float = 0.0
    seconds: float = 0.0


class Campaign:
    """Mutants of one target, in a folder that only this campaign uses."""

    def __init__(self, originals: Originals, target: str, root: Path, keep: Path | None = None) -> None:
        self.originals, self.target, self.root, self.keep = originals, target, root, keep
        self.found = Found(target)
        self.kept: list[int] = []
        """Seeds of the mutants that brought something down."""
        self.work = root / "work"
        self.work.mkdir(exist_ok=True)

    def run(self, seeds: range, tell: Callable[[Found], object] = lambda found: None) -> Found:
        """Face the mutants of all seeds."""
        began, told, at = time.monotonic() - self.found.seconds, time.monotonic(), seeds.start
        while at < seeds.stop:
            at, ending = self._batch(range(at, min(at + _BATCH, seeds.stop)))
            if ending:
                self._brought_down(at, ending)
                at += 1
            self.found.seconds = time.monotonic() - began
            if time.monotonic() - told > TELL_S or at >= seeds.stop:
                told = time.monotonic()
                tell(self.found)
        return self.found

    def _batch(self, seeds: range) -> tuple[int, str]:
        """Face mutants in a child; return the seed that it did not come back from, and how, or the end and nothing."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _work(self, seeds, writer)
        os.close(writer)
        at, buffer, silent, made = seeds.start, b"", "", False
        with os.fdopen(reader, "rb", 0) as stream:
            while True:
                if not select.select([stream], [], [], WALL_S)[0]:
                    os.kill(child, signal.SIGKILL)
                    silent = "slept"
                    break
                part = stream.read(65536)
                if not part:
                    break
                *lines, buffer = (buffer + part).split(b"\n")
                for line in lines:
                    seed, _, said = line.decode().partition(" ")
                    made = said == "made"
                    at = int(seed) if made else self._take(line.decode()) + 1
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == 0 and at == seeds.stop:
            return at, ""
        ending = silent or (signal.Signals(-code).name if code < 0 else f"exit code {code}")
        return at, ending if made else "not made"

    def _take(self, line: str) -> int:
        seed, took, word = line.split(" ", 2)
        self.found.files += 1
        self.found.longest = max(self.found.longest, float(took))
        if word.startswith("FAULT"):
            self.found.outcomes["fault"] += 1
            self.found.faults.append((int(seed), word))
            self._keep(int(seed))
        else:
            self.found.outcomes[word] += 1
        return int(seed)

    def _brought_down(self, seed: int, ending: str) -> None:
        """A worker was brought down by a mutant: see whether the real command, with its shield, ends cleanly."""
        self.found.files += 1
        for left in self.work.iterdir():
            shutil.rmtree(left, ignore_errors=True)
        if ending == "not made":
            self.found.outcomes[ending] += 1  # HDF5 did not come back from writing it
            return
        self._keep(seed)
        if ending in ("SIGVTALRM", "slept") or self.target == "journal":
            # Not in HDF5: nothing stands between it and the user.
            self.found.outcomes["fault"] += 1
            self.found.faults.append((seed, f"FAULT {ending}"))
            return
        folder = Path(tempfile.mkdtemp(dir=self.work))
        try:
            mutant = targets.spoil(self.originals, folder / "job", self.target, seed)
            command = targets.command(self.target, mutant.output, seed)
            done = subprocess.run(
                [sys.executable, "-c", _COMMAND, *command],
                env=launch.environment(), capture_output=True, text=True, timeout=600, errors="replace",
            )  # fmt: skip
            targets.judge(command[0], done.returncode, done.stderr)
            left = [path.name for path in mutant.output.parent.iterdir() if path.suffix == ".tmp"]
            if left:
                raise targets.FaultError(f"left {left}")
        except (subprocess.TimeoutExpired, AssertionError) as error:
            self.found.outcomes["fault"] += 1
            self.found.faults.append((seed, f"FAULT {ending}: {error}"))
        else:
            self.found.outcomes["contained"] += 1
            self.found.contained["no end" if ending == "SIGPROF" else ending] += 1
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _keep(self, seed: int) -> None:
        self.kept.append(seed)
        if self.keep is not None:
            place = self.keep / f"{self.target}-{seed}"
            shutil.rmtree(place, ignore_errors=True)
            self.keep.mkdir(parents=True, exist_ok=True)
            targets.spoil(self.originals, place, self.target, seed)


def limit() -> None:
    """Give this process the limits of a worker."""
    careful.limit_calls(CALL_S)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)


def face_one(campaign: Campaign, seed: int, folder: Path, made: Callable[[], object] = lambda: None) -> str:
    """Make the mutant of a seed and face it, in this process."""
    signal.setitimer(signal.ITIMER_VIRTUAL, CALL_S)
    mutant = targets.spoil(campaign.originals, folder, campaign.target, seed)
    made()
    signal.setitimer(signal.ITIMER_VIRTUAL, WHOLE_S)
    try:
        word = targets.face(campaign.target, mutant, seed)
    except MemoryError:
        word = "clean error"  # the command says so in a line
    except targets.FaultError as error:
        word = f"FAULT {error}"
    except BaseException as error:
        word = f"FAULT {type(error).__name__}: {error}"
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return " ".join(word.split())[:400]


def _work(campaign: Campaign, seeds: range, writer: int) -> None:
    code = 1
    try:
        limit()
        os.environ["TMPDIR"] = str(campaign.work)
        cli.parser = functools.cache(cli.parser)  # the same for every file
        canary = campaign.root / "canary"
        canary.write_text("still here")
        outside = sorted(os.listdir(campaign.root))  # noqa: PTH208 - names alone
        for seed in seeds:
            folder = campaign.work / f"{seed}"
            began = time.process_time()
            word = face_one(campaign, seed, folder, lambda seed=seed: os.write(writer, f"{seed} made\n".encode()))  # type: ignore[misc]
            took = time.process_time() - began
            if sorted(os.listdir(campaign.root)) != outside or canary.read_text() != "still here":  # noqa: PTH208
                word = "FAULT it touched what is outside its folder"
            if [name for name in os.listdir(campaign.work) if name != str(seed)]:  # noqa: PTH208
                word = "FAULT it left something beside its folder"
            os.write(writer, f"{seed} {took:.3f} {word}\n".encode())
            shutil.rmtree(folder, ignore_errors=True)
        code = 0
    finally:
        os._exit(code)
