"""Fuzzing that is guided by coverage: ``python -m tests.faults.fuzz.guided --target frames --seconds 300``.

Atheris (extra ``fuzz``) instruments what decodes and assembles, and keeps what reaches a new line; mutators are those
of the campaign. A mutant that brings HDF5 down ends the fuzzer's process: it is then given to the command itself, which
has to end cleanly, and the fuzzer goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_INSTRUMENTED = [
    "provml_hpc.wire", "provml_hpc.journal", "provml_hpc.assembly", "provml_hpc.storage", "provml_hpc.values",
    "provml_tools.info", "provml_tools.validate",
]  # fmt: skip
TARGETS = ("frames", "journal", "log", "closed")


class _Memory:
    """Bytes as the frames of one source."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def sources(self) -> list[tuple[int, int, int]]:
        return [(1, 0, 0)]

    def blocks(self, source: tuple[int, int, int]) -> Iterator[bytes]:
        yield self._data


def _fuzzed(target: str, folder: Path, made: Any) -> tuple[Callable[[bytes], None], Callable[..., bytes]]:
    """Return what is called with each mutant, and what makes one out of another."""
    import provml_hpc as provml
    from provml_hpc import wire
    from provml_hpc.assembly import assemble
    from provml_hpc.assembly.graph import RunInfo
    from tests.faults.fuzz import frames, hdf5, targets

    run = "00000000-0000-4000-8000-000000000000"
    path = folder / "job.h5"

    def whole_frames(data: bytes) -> None:
        walked = list(wire.walk(data))
        end = walked[-1][0] + walked[-1][1] if walked else 0
        with contextlib.suppress(provml.ProvMLError):
            graph = assemble(_Memory(data[:end]), RunInfo(run, "fuzz", "learning"))
            for table in graph.samples:
                table.read(0, table.count)

    def journal(data: bytes) -> None:
        hidden = folder / ".job.h5.provml"
        hidden.mkdir(mode=0o700, exist_ok=True)
        (hidden / "x.journal").write_bytes(data)
        targets.face("journal", targets.Mutant(path, "journal"), 0)

    def log(data: bytes) -> None:
        path.with_name("job.h5.partial").write_bytes(data)
        targets.face("log", targets.Mutant(path, "log"), 0)

    def closed(data: bytes) -> None:
        path.write_bytes(data)
        targets.face("info", targets.Mutant(path, "closed"), 0)
        targets.face("validate", targets.Mutant(path, "closed"), 0)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if target == "frames":
            held = frames.frames_of(data)
            for _ in range(rng.choice((1, 1, 3))):
                frames.shuffle(held, rng)
            frames.number(held)
            mutant = b"".join(held)
        elif target == "journal":
            mutant = frames.journal(bytes(data), rng) if len(data) > 4096 else bytes(data)
        else:
            mutant = hdf5.any_bytes(bytes(data), rng, made.log)
            if rng.random() < 0.7:
                original = made.log if target == "log" else made.small
                if target == "log":
                    mutant = hdf5.log(original, rng, made.cache)
                elif rng.random() < 0.5:
                    mutant = hdf5.metadata(original, rng, made.cache, "small")
                else:
                    mutant = hdf5.tables(original, rng, folder)
        return mutant[:most]

    return {"frames": whole_frames, "journal": journal, "log": log, "closed": closed}[target], mutate


def _seed(target: str, corpus: Path, made: Any) -> None:
    """Put what real runs wrote into the corpus."""
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = {
        "frames": [data[4096 : int.from_bytes(data[8:16], "little")] for data in made.journals.values()],
        "journal": [data.rstrip(b"\0") for data in made.journals.values()],
        "log": [made.log],
        "closed": [made.small, made.old],
    }[target]
    for number, data in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(data)


def child(target: str, corpus: Path, originals_at: Path, rest: list[str]) -> None:
    """Fuzz in this process until something is found or the time is up."""
    import atheris

    with atheris.instrument_imports(include=_INSTRUMENTED, enable_loader_override=False):
        import provml_tools.cli
        import provml_tools.info
        import provml_tools.validate  # noqa: F401
    from tests.faults.fuzz import originals

    made = originals.make(originals_at)
    with tempfile.TemporaryDirectory(prefix="guided-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:  # noqa: PTH112
        call, mutate = _fuzzed(target, Path(name), made)
        atheris.Setup([sys.argv[0], *rest, str(corpus)], call, custom_mutator=mutate)
        atheris.Fuzz()


def main() -> int:
    """Fuzz one target after the other, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--corpus", type=Path, help="a folder that keeps what was reached, for the next time")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"), help="where to put what was found")
    parser.add_argument("--child", nargs=3, metavar=("TARGET", "CORPUS", "ORIGINALS"), help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.child:
        child(options.child[0], Path(options.child[1]), Path(options.child[2]), rest)
        return 0
    from tests.faults.fuzz import originals

    faults = 0
    with tempfile.TemporaryDirectory(prefix="guided-") as name:
        root = Path(name)
        made = originals.make(root / "originals")
        print("| target | runs | lines and edges reached | contained | fault |\n| --- | ---: | ---: | ---: | ---: |")
        for target in options.target:
            corpus = (options.corpus or root / "corpus") / target
            _seed(target, corpus, made)
            runs, covered, contained, bad = _guide(target, corpus, root, options.seconds, options.keep)
            faults += bad
            print(f"| {target} | {runs:,} | {covered:,} | {contained} | {bad} |", flush=True)
    return 1 if faults else 0


def _guide(target: str, corpus: Path, root: Path, seconds: int, keep: Path) -> tuple[int, int, int, int]:
    until = time.monotonic() + seconds
    runs = covered = contained = bad = 0
    while (left := int(until - time.monotonic())) > 0:
        found = root / "found"
        shutil.rmtree(found, ignore_errors=True)
        found.mkdir()
        command = [
            sys.executable, "-m", "tests.faults.fuzz.guided", "--child", target, str(corpus), str(root / "originals"),
            f"-max_total_time={left}", "-max_len=400000", "-timeout=30", "-rss_limit_mb=2048",
            f"-artifact_prefix={found}/", "-print_final_stats=1",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        runs += max([int(one) for one in re.findall(r"^#(\d+)", done.stderr, re.M)], default=0)
        covered = max([covered, *(int(one) for one in re.findall(r"cov: (\d+)", done.stderr))])
        for path in found.iterdir():
            if _is_contained(target, path, root):
                contained += 1
                continue
            bad += 1
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, keep / f"{target}-{path.name}")
            (keep / f"{target}-{path.name}.txt").write_text(done.stderr[-20_000:])
            print(f"   {target}: {path.name}: {_said(done.stderr)}", file=sys.stderr, flush=True)
        if done.returncode and not any(found.iterdir()):
            raise SystemExit(f"the fuzzer ended by itself:\n{done.stderr[-2000:]}")
    return runs, covered, contained, bad


def _said(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if re.match(r"^\S*(Error|Exception|Interrupt)\b", line)]
    return lines[-1][:300] if lines else "see the text beside it"


def _is_contained(target: str, found: Path, root: Path) -> bool:
    """Tell whether HDF5 was brought down, and the commands end cleanly all the same."""
    from tests.faults.fuzz import targets

    if target != "closed":
        return False
    folder = root / "given"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(found, folder / "job.h5")
    for command in ("info", "validate"):
        done = subprocess.run(
            [sys.executable, "-m", "provml_tools.cli", *targets.command(command, folder / "job.h5", 0)],
            capture_output=True, text=True, errors="replace", timeout=600,
        )  # fmt: skip
        try:
            targets.judge(command, done.returncode, done.stderr)
        except targets.FaultError:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
