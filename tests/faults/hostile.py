"""Mutated and truncated files, given to a recovery and to the reader: only clean errors, bounded time and memory.

``python -m tests.faults.hostile --files 1000`` mutates that many files of each kind, in child processes with limits.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.mpi import launch

KINDS = ("journal", "partial", "closed")
SECONDS = 4
"""What one file may take, of processor time: others may need the machine too."""
MEMORY = 2 << 30
"""Address space of a child, in bytes; a plain recovery takes a tenth of that."""

_WORDS = (0, 1, 7, 8, 24, 4096, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFF8, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


def make(folder: Path) -> None:
    """Make what is mutated: the leftovers of a killed job in ``left``, its closed file in ``closed``."""
    code = """
import os, signal, sys
import provml_hpc as provml
run = provml.init("hostile", phase="learning", output=sys.argv[1], buffer="64 KiB")
data = os.path.join(os.path.dirname(sys.argv[1]), "data")
open(data, "w").write("1")
training = run.training(use=[data], params={"lr": 0.1, "deep": {"a": [1, 2]}})
for epoch in training.sections("epoch", 3):
    for step in range(60):
        training.log(step, loss=step * 0.5, lr=0.1)
    epoch.evaluate(accuracy=0.5)
    if epoch.index < 2:
        run.flush()
training.log_model(data, params={"layers": 3})
if sys.argv[2] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
run.finish()
"""
    for name, end in (("left", "die"), ("closed", "well")):
        (folder / name).mkdir(parents=True)
        subprocess.run(
            [sys.executable, "-c", code, str(folder / name / "job.h5"), end], env=launch.environment(), timeout=60
        )


def mutate(data: bytes, rng: random.Random, start: int = 0) -> bytes:
    """Return the bytes with some of them changed, cut off, moved or put in."""
    mutant = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        size = len(mutant)
        if size < 16:
            break
        at = rng.randrange(min(start, size - 1), size) if rng.random() < 0.7 else rng.randrange(min(size, 6144))
        way = rng.randrange(6)
        if way == 0:
            mutant[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            mutant[at] = rng.randrange(256)
        elif way == 2:
            at = min(at & ~7, size - 8)
            mutant[at : at + 8] = rng.choice(_WORDS).to_bytes(8, "little")
        elif way == 3:
            del mutant[at : at + rng.randrange(1, 64)]
        elif way == 4:
            other = rng.randrange(size)
            mutant[at : at + 64] = mutant[other : other + 64]
        else:
            del mutant[at:]
    return bytes(mutant)


def spoil(origin: Path, folder: Path, kind: str, seed: int) -> Path:
    """Copy the originals into a folder, one of them mutated, and return the output."""
    rng = random.Random(f"{kind} {seed}")
    shutil.copytree(origin / ("closed" if kind == "closed" else "left"), folder)
    output = folder / "job.h5"
    if kind == "closed":
        path = output
    elif kind == "partial":
        path = folder / "job.h5.partial"
    else:
        journals = sorted(folder.glob(".*.provml/*.journal"))
        path = rng.choice(journals)
        if rng.random() < 0.3:
            (folder / "job.h5.partial").unlink()
    path.write_bytes(mutate(path.read_bytes().rstrip(b"\0") if kind == "journal" else path.read_bytes(), rng))
    return output


def face(output: Path) -> str:
    """Recover a file and read it whole; return what came of it. Any other error than one of ours comes through."""
    import provml_hpc as provml
    from provml_hpc.storage.recover import recover

    try:
        recover(output, force=True)
    except provml.ProvMLError as error:
        return type(error).__name__
    try:
        with provml.open(output) as file:
            list(file.activities)
            list(file.entities)
            file.params  # noqa: B018
            file.samples()
            file.status  # noqa: B018
            file.commits  # noqa: B018
    except provml.ProvMLError as error:
        return f"read: {type(error).__name__}"
    return "fine"


def face_limited(output: Path) -> str:
    """Face one file in a child with limits."""
    code = f"""
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
from tests.faults.hostile import face
print(face(Path(sys.argv[1])))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(output)], env=launch.environment(), capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip() or done.stderr


def batch(origin: Path, kind: str, seeds: range) -> None:
    """In a child: face one file after the other, and print a line for each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    outside = sorted(os.listdir(origin.parent))  # noqa: PTH208 - names alone
    for seed in seeds:
        folder = Path(tempfile.mkdtemp(prefix="hostile-", dir=origin.parent / "work")) / "job"
        output = spoil(origin, folder, kind, seed)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its default action ends this child
        began = time.process_time()
        try:
            said = face(output)
        except BaseException as error:
            said = f"FAULT {type(error).__name__}: {error}"[:300].replace("\n", " ")
            traceback.print_exc()
        if sorted(os.listdir(origin.parent)) != outside:  # noqa: PTH208
            said = "FAULT: it touched what is outside its folder"
        print(seed, f"{time.process_time() - began:.3f}", said, flush=True)
        shutil.rmtree(folder.parent, ignore_errors=True)


def face_all(origin: Path, kind: str, files: int, first: int = 0) -> tuple[Counter[str], list[str], float]:
    """Face many mutants in children that are ended when one takes too long.

    Returns
    -------
    tuple
        How often what came out, the faults in words, and the longest time in seconds that one file took.
    """
    (origin.parent / "work").mkdir(exist_ok=True)
    outcomes, faults, longest, seed, last = Counter[str](), list[str](), 0.0, first, first + files
    while seed < last:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.hostile", "--child", str(origin), kind, str(seed), str(last)],
            env=launch.environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        with child:
            assert child.stdout is not None
            for line in child.stdout:
                number, took, said = line.strip().split(" ", 2)
                seed, longest = int(number) + 1, max(longest, float(took))
                outcomes[said.partition(":")[0] if said.startswith("FAULT") else said] += 1
                if said.startswith("FAULT"):
                    faults.append(f"{kind} {number}: {said}")
        if child.returncode != 0 or seed < last:
            fault = "took too long" if child.returncode == -signal.SIGPROF else f"died of {child.returncode}"
            faults.append(f"{kind} {seed}: {fault}")
            outcomes[fault] += 1
            seed += 1
    return outcomes, faults, longest


def main() -> int:
    """Face many mutants and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--child", nargs=4, metavar=("ORIGIN", "KIND", "FIRST", "LAST"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        origin, kind, first, last = options.child
        batch(Path(origin), kind, range(int(first), int(last)))
        return 0
    bad = 0
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hostile-")))
        make(root / "origin")
        for kind in options.kinds:
            outcomes, faults, longest = face_all(root / "origin", kind, options.files, options.first)
            bad += len(faults)
            print(f"{kind}: {dict(outcomes)}, the slowest {longest:.2f} s", flush=True)
            for fault in faults[:20]:
                print("  ", fault, flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
