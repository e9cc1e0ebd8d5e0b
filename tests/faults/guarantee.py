"""What is checked after every kill: what was acknowledged is there, once, in order, and the status is true."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from provml_hpc import records, wire
from provml_hpc.assembly.frames import samples, split
from provml_hpc.errors import FileBusyError, FileMissingError
from provml_hpc.records import Source
from provml_hpc.storage import reader
from provml_hpc.storage.kept import FRAMES
from provml_hpc.storage.log_reader import LogReader
from provml_hpc.storage.owner import liveness
from provml_hpc.storage.place import hidden_of, partial_of
from provml_hpc.storage.recover import Recovery, outputs_of, recover
from provml_hpc.storage.tables import TablesFile
from provml_hpc.wire import decode
from tests.faults import acknowledged, killing
from tests.mpi.launch import environment

RECOVER = Path(__file__).resolve().parent / "scenarios" / "recovery.py"


class BrokenError(AssertionError):
    """The guarantee was broken; `kind` is a column of the campaign's table."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


Steps = dict[tuple[int, int], "np.ndarray[Any, np.dtype[np.int64]]"]
"""The steps in a file, in its order, by (attempt, rank)."""
Names = dict[tuple[int, int], list[str]]


def in_closed(path: Path) -> tuple[Steps, Names]:
    """Return the samples and the logged values that the closed files of a run hold, each rank's in one of them."""
    found: tuple[Steps, Names] = {}, {}
    for one in outputs_of(path):
        for whole, part in zip(found, _in_one(one), strict=True):
            if whole.keys() & part.keys():
                raise BrokenError("twice", f"{sorted(whole.keys() & part.keys())} are in two files")
            whole.update(part)  # type: ignore[arg-type] # each with its own
    return found


def _in_one(path: Path) -> tuple[Steps, Names]:
    steps: dict[tuple[int, int], list[Any]] = defaultdict(list)
    names: Names = defaultdict(list)
    with TablesFile(path) as file:
        for table in file.samples():
            if "loss" not in table.measures:
                continue
            rows = table.read(0, table.count)
            for key in sorted(set(zip(rows["attempt"].tolist(), rows["rank"].tolist(), strict=True))):
                mine = (rows["attempt"] == key[0]) & (rows["rank"] == key[1])
                own, loss = rows["step"][mine], rows["loss"][mine]
                if not np.array_equal(loss, float(key[0] * 10**9 + key[1] * 10**6) + own):
                    raise BrokenError("wrong", f"{path}: the values of {key} are not those that were logged")
                steps[key].append(own)
        if "AttributeValue" in file.names("records"):
            for label in file.table("records", "AttributeValue").columns["label"]:
                if str(label).startswith("told-"):
                    _, attempt, rank, _ = str(label).split("-")
                    names[int(attempt), int(rank)].append(str(label))
        _check_kept(path, file)
    return {key: np.concatenate(parts) for key, parts in steps.items()}, names


def _check_kept(path: Path, file: TablesFile) -> None:
    """No record of a source may be kept twice."""
    group = file.file[FRAMES]
    for extent in group["extents"][:]:
        block = group["bytes"][int(extent["offset"]) : int(extent["offset"] + extent["size"])].tobytes()
        sequences = [sequence for _, _, _, sequence in wire.walk(block)]
        if any(later <= earlier for earlier, later in pairwise(sequences)):
            raise BrokenError("twice", f"{path}: a record of {extent} is there twice")


def in_log(path: Path) -> tuple[Steps, Names]:
    """Return the samples and the logged values that the commits of a log cover."""
    steps: dict[tuple[int, int], list[Any]] = defaultdict(list)
    names: Names = defaultdict(list)
    with LogReader(path) as log:
        for place in log.sources():
            source = Source(*place)
            layouts = set()
            for block in log.blocks(source):
                parts = split(block)
                for at in parts.records:
                    frame = decode(block, at)
                    record = frame.record if frame is not None else None
                    if isinstance(record, records.Layout) and "loss" in json.loads(record.measures):
                        layouts.add(record.number)
                    elif isinstance(record, records.Named) and record.name.startswith("told-"):
                        names[source.attempt, source.rank].append(record.name)
                for layout in layouts & set(parts.samples):
                    steps[source.attempt, source.rank].append(samples(parts.samples[layout]).step)
    return {key: np.concatenate(parts) for key, parts in steps.items()}, names


def thinned(path: Path) -> dict[tuple[int, int], int]:
    """Return how many samples each rank counted as thinned: ranks that can flush no more fill their buffers."""
    counts: dict[tuple[int, int], int] = defaultdict(int)
    for output in outputs_of(path):
        with TablesFile(output) as file:
            for one in file.attributes["details"].get("dropped", ()):
                if one["reason"] == "buffer full" and "loss" in one["name"]:
                    counts[one["attempt"], one["rank"]] += one["count"]
    return counts


def check_content(
    found: tuple[Steps, Names],
    told: Path,
    ranks: Iterable[tuple[int, int]],
    *,
    flushed: bool,
    without: Mapping[tuple[int, int], int] | None = None,
) -> None:
    """Hold what is in a file to what was acknowledged.

    Parameters
    ----------
    found
        Of :func:`in_closed` or :func:`in_log`.
    told
        The folder of the side channel.
    ranks
        Whose to look at.
    flushed
        Look only at what a flush acknowledged.
    without
        Of :func:`thinned`.
    """
    prefix = "flushed_" if flushed else ""
    for key in ranks:
        acks = acknowledged.read(acknowledged.file_of(told, *key))
        steps = found[0].get(key, np.empty(0, np.int64))
        if len(np.unique(steps)) != len(steps):
            raise BrokenError("twice", f"samples of {key} are there twice")
        lost = (without or {}).get(key, 0)
        if not (np.diff(steps) > 0).all() or (not lost and not np.array_equal(steps, np.arange(len(steps)))):
            raise BrokenError("missing", f"the samples of {key} are no prefix in order: {steps}")
        if len(steps) + lost < acks[prefix + "samples"]:
            counted = f"{len(steps)} samples of {key} and {lost} thinned"
            raise BrokenError("missing", f"{counted}, and {acks[prefix + 'samples']} acknowledged")
        if lost and len(steps) + lost > acks["samples"] + 1:
            raise BrokenError("wrong", f"{len(steps)} samples of {key} and {lost} thinned, of {acks['samples']}")
        names = found[1].get(key, [])
        if sorted(names) != sorted(f"told-{key[0]}-{key[1]}-{n}" for n in range(len(names))):
            raise BrokenError("missing", f"the values of {key} are no prefix, or are there twice: {names}")
        if len(names) < acks[prefix + "values"]:
            raise BrokenError("missing", f"{len(names)} values of {key}, and {acks[prefix + 'values']} acknowledged")


def check_status(output: Path, told: Path, attempt: int, size: int) -> str:
    """Hold the status in a file to what the ranks of the last attempt came to."""
    with reader.open(output) as file:
        status = file.status
    files = [acknowledged.file_of(told, attempt, rank) for rank in range(size)]
    acks = [acknowledged.read(file) for file in files]
    if status == "incomplete" and not all(file.exists() for file in files):
        return status  # a rank died in init, before it had a journal: nobody can tell that nothing of it is missing
    if status not in ("finished", "recovered"):
        raise BrokenError("status", f"the status is {status}")
    if status == "finished" and not all(a["finishing"] for a in acks):
        raise BrokenError("status", "finished, and not all ranks came to their end")
    if status != "finished" and all(a["finished"] for a in acks):
        raise BrokenError("status", f"{status}, and all ranks ended well")
    return status


def without_journals(output: Path, folder: Path) -> Path:
    """Copy the files of a run alone, as if all journals were lost, and bring them to their end there."""
    folder.mkdir()
    for one in outputs_of(output):
        for path in (one, partial_of(one)):
            if path.exists():
                shutil.copy(path, folder / path.name)
    alone = folder / output.name
    for one in outputs_of(alone):
        recover(one, force=True)
    return alone


def last_attempt(told: Path) -> tuple[int, int]:
    """Return the last attempt of a job that goes on without its dead, and its number of ranks."""
    sizes = {int(path.name.rpartition("-")[2]): int(path.read_text()) for path in told.glob("size-*")}
    if not sizes:
        raise BrokenError("hangs", "no rank had a run")
    return max(sizes), sizes[max(sizes)]


def check(
    output: Path,
    told: Path,
    size: int,
    *,
    attempts: int = 1,
    interrupt: killing.Plan | None = None,
    deep: bool = True,
) -> Recovery | None:
    """Recover an output and check everything that is promised of it; returns None where nothing was acknowledged.

    Parameters
    ----------
    output
        ``NAME.h5``.
    told
        The folder of the side channel.
    size
        Number of ranks.
    attempts
        How many attempts there were.
    interrupt
        A recovery is killed like this first.
    deep
        Also look at the file as it would be if all journals were lost, and recover a second time.
    """
    ranks = [(attempt, rank) for attempt in range(1, attempts + 1) for rank in range(size)]
    acks = [acknowledged.read(acknowledged.file_of(told, *key)) for key in ranks]
    there = any(one.exists() or partial_of(one).exists() for one in outputs_of(output))
    if not there and any(a["flushed_samples"] for a in acks):
        raise BrokenError("missing", "something was flushed, and there is no file")
    if there and deep:
        alone = without_journals(output, told / "alone")
        check_content(in_closed(alone), told, ranks, flushed=True, without=thinned(alone))
        shutil.rmtree(told / "alone")
    if interrupt is not None:
        wait_until_free(output)
        recover_in_child(output, interrupt)
    try:
        result = recover_when_free(output)
    except FileMissingError:
        if any(a["samples"] or a["values"] for a in acks):
            raise BrokenError("missing", "something was acknowledged, and nothing is there") from None
        return None
    first = in_closed(output)
    check_content(first, told, ranks, flushed=False, without=thinned(output))
    status = check_status(output, told, attempts, size)
    if result.status != status and len(outputs_of(output)) == 1:
        raise BrokenError("status", f"the recovery says {result.status}, the file {status}")
    if deep:
        again = [recover(one) for one in outputs_of(output)]
        second = in_closed(output)
        kept = second[1] == first[1] and second[0].keys() == first[0].keys()
        if any(one.done for one in again) or not kept or check_status(output, told, attempts, size) != status:
            raise BrokenError("missing", "a second recovery changed the file")
    for one in outputs_of(output):
        if partial_of(one).exists() or hidden_of(one).exists():
            left = [path.name for path in hidden_of(one).iterdir()] if hidden_of(one).exists() else []
            raise BrokenError("left", f"the recovery left the log of {one.name} or {left}")
    return result


def recover_when_free(output: Path, seconds: float = 90) -> Recovery:
    """Recover an output as soon as its job is gone: a launcher may end a moment before the last of its ranks.

    Of several files of one run the report on the first is returned.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            first, *_ = [recover(one) for one in outputs_of(output)]
            return first
        except FileBusyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def wait_until_free(output: Path, seconds: float = 90) -> None:
    """Wait until the job of an output is gone."""
    until = time.monotonic() + seconds
    while liveness(output).state == "alive":
        assert time.monotonic() < until, f"{output} is still held"
        time.sleep(0.05)


def recover_in_child(output: Path, plan: killing.Plan | None = None) -> subprocess.CompletedProcess[str]:
    """Recover in a process of its own, which a plan may kill."""
    return subprocess.run(
        [sys.executable, str(RECOVER), str(output)],
        env=environment({killing.VARIABLE: plan.text() if plan else ""}),
        capture_output=True,
        text=True,
        timeout=150,
    )


def recover_and_check(output: Path, told: Path, size: int) -> Recovery:
    """Recover an output and hold it to what was acknowledged; the status is the caller's to judge."""
    result = recover_when_free(output)
    check_content(in_closed(output), told, [(1, rank) for rank in range(size)], flushed=False)
    assert not hidden_of(output).exists(), [path.name for path in hidden_of(output).iterdir()]
    return result
