"""Kills jobs at all phases and at random moments, many times, and tells what became of what they had acknowledged.

``python -m tests.faults.campaign --kills 500`` with the interpreter whose MPI is to be tested.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from tests.faults import acknowledged, guarantee, killing, plans
from tests.mpi import launch

SURVIVORS = Path(__file__).resolve().parent / "scenarios" / "survivors.py"
VICTIM = Path(__file__).resolve().parent / "scenarios" / "victim.py"
COLUMNS = ("kills", "survived", "missing", "twice", "wrong", "unreadable", "status", "left", "hangs")


def one_kill(
    plan: killing.Plan, folder: Path, rng: random.Random, timeout: float = 60, *, writers: int = 1
) -> Counter[str]:
    """Run one job that dies as planned, recover it, and return the counts for the table; raises what was broken."""
    output, told = folder / "job.h5", folder / "told"
    told.mkdir()
    env = {killing.VARIABLE: plan.text(), killing.WRITERS: str(writers)}
    done = launch.mpi_run(VICTIM, plans.RANKS, [output, told], cwd=folder, env=env, timeout=timeout)
    died = done.returncode != 0
    assert "tests/faults/killing.py" not in done.stderr, done.stderr  # the plan could not be carried out
    interrupt = plans.recovery_plan(rng) if rng.random() < 0.4 else None
    try:
        guarantee.check(output, told, plans.RANKS, interrupt=interrupt)
    except guarantee.BrokenError as error:
        told_of = f"{plan}, {writers} writers\n{interrupt}\n{done.stderr[-2000:]}"
        raise guarantee.BrokenError(error.kind, f"{error}\n{told_of}") from error
    if not died:
        acks = [acknowledged.read(acknowledged.file_of(told, 1, rank)) for rank in range(plans.RANKS)]
        assert all(a["finished"] for a in acks), f"exit 0, but not all ranks finished: {acks}"
    return Counter(kills=int(died), survived=int(not died), interrupted=int(interrupt is not None))


def one_survival(
    dying: list[killing.Plan], folder: Path, rng: random.Random, timeout: float = 60, *, writers: int = 1
) -> Counter[str]:
    """Run one job that goes on without ranks that die as planned, and return the counts; needs Open MPI's ULFM."""
    output, told = folder / "job.h5", folder / "told"
    told.mkdir()
    options = json.dumps({"plans": [plan.text() for plan in dying]})
    done = launch.mpi_run(
        SURVIVORS, plans.SURVIVORS, [output, told, options], cwd=folder, launcher=("--with-ft", "ulfm"),
        env={killing.WRITERS: str(writers)}, timeout=timeout,
    )  # fmt: skip
    assert "tests/faults/killing.py" not in done.stderr, done.stderr
    try:
        attempt, size = guarantee.last_attempt(told)
        acks = [acknowledged.read(acknowledged.file_of(told, attempt, rank)) for rank in range(size)]
        # Who died before the run had begun is none of its ranks, which are counted anew.
        dead = [rank for rank, counted in enumerate(acks) if not counted["finished"]]
        if plans.SURVIVORS - size + len(dead) > len(dying):
            raise guarantee.BrokenError("hangs", f"ranks {dead} of {size} did not come to their end")
        guarantee.check(output, told, size, attempts=attempt)
    except guarantee.BrokenError as error:
        told_of = f"{dying}, {writers} writers\n{done.stderr[-2000:]}"
        raise guarantee.BrokenError(error.kind, f"{error}\n{told_of}") from error
    died = bool(dead) or size < plans.SURVIVORS
    return Counter(kills=int(died), survived=int(not died))


def main() -> int:
    """Run a campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500, help="jobs to kill (default: 500)")
    parser.add_argument("--writers", type=int, default=1, help="ranks that write, each a file (default: 1)")
    parser.add_argument("--seed", type=int, default=None, help="of the plans (default: the time)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so many seconds at the latest")
    parser.add_argument("--keep", type=Path, default=None, help="folder for what a broken case leaves")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    name = "Open MPI" if launch.is_open_mpi() else "MPICH"
    rng, table = random.Random(seed), defaultdict[str, Counter[str]](Counter)
    began, kills, broken, interrupted = time.monotonic(), 0, 0, 0
    for number, plan in enumerate(plans.job_plans(seed, options.writers), 1):
        folder = Path(tempfile.mkdtemp(prefix="faults-"))
        # Every fifth job of Open MPI's is one that goes on without its dead.
        dying = plans.survivor_plans(rng) if launch.is_open_mpi() and number % 5 == 0 else []
        row = table[dying[-1].phase if dying else plan.phase]
        try:
            if dying:
                counts = one_survival(dying, folder, rng, writers=options.writers)
            else:
                counts = one_kill(plan, folder, rng, writers=options.writers)
            row.update(counts)
            kills += counts["kills"]
            interrupted += counts["interrupted"]
        except Exception as error:
            kind = "hangs" if isinstance(error, launch.HangError) else getattr(error, "kind", "unreadable")
            row.update({"kills": 1, kind: 1})
            kills, broken = kills + 1, broken + 1
            print(f"\n{number}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            if options.keep:
                shutil.copytree(folder, options.keep / f"{seed}-{number}", dirs_exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        if sys.stderr.isatty() or number % 25 == 0:
            took = time.monotonic() - began
            print(f"{kills}/{options.kills} kills, {broken} broken, {took:.0f} s", file=sys.stderr, flush=True)
        if kills >= options.kills or time.monotonic() - began > options.seconds:
            break
    ranks = f"{plans.RANKS} ranks, {options.writers} writing"
    print(f"{name}, seed {seed}, {ranks}, {interrupted} recoveries killed or tried so:\n")
    print("| phase | " + " | ".join(COLUMNS) + " |")
    print("| --- |" + " ---: |" * len(COLUMNS))
    total: Counter[str] = Counter()
    for phase, counts in table.items():
        total.update(counts)
        print(f"| {phase} | " + " | ".join(str(counts[c]) for c in COLUMNS) + " |")
    print("| **all** | " + " | ".join(f"**{total[c]}**" for c in COLUMNS) + " |")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
