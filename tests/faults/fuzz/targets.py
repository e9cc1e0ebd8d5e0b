"""What a spoiled file is given to, and what may come of it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import provml_hpc as provml
from provml_hpc import wire
from provml_hpc.assembly.frames import samples, split
from provml_hpc.journal import DeadSegment
from provml_hpc.storage.log_reader import LogReader
from provml_tools import cli
from tests.faults.fuzz import frames, hdf5
from tests.faults.fuzz.originals import Originals


class FaultError(AssertionError):
    """What must not come of any file."""


class Mutant(NamedTuple):
    """A spoiled file in a folder of its own, with what belongs beside it."""

    output: Path
    kind: str


def spoil(originals: Originals, folder: Path, target: str, seed: int) -> Mutant:
    """Make the mutant of a seed in a new folder."""
    rng = random.Random(f"{target} {seed}")
    if originals.short is not None and rng.random() < _SHORT:
        originals = originals.short
    folder.mkdir()
    output = folder / "job.h5"
    kind = rng.choice(_KINDS[target])
    if kind in ("closed", "old"):
        output.write_bytes(_closed(originals, kind, rng, folder))
    elif kind == "parts":
        spoiled = rng.choice((("first",), ("part",), ("first", "part")))
        for name, path in (("first", output), ("part", output.with_name("job-part1.h5"))):
            path.write_bytes(_closed(originals, name, rng, folder) if name in spoiled else getattr(originals, name))
    else:
        _leftovers(originals, kind, rng, output)
    return Mutant(output, kind)


_SHORT = 0.9
"""The share of mutants that are made of the files of the short run."""

_READ = (*["closed"] * 5, "old", "log", "journal", "parts")
_KINDS = {
    "journal": ("journal",),
    "log": ("log",),
    "recover": ("journal", "journal", "journals alone", "log", "log", "closed and journals"),
    "info": _READ,
    "convert": _READ,
    "validate": _READ,
    "query": _READ,
    "export": _READ,
    "load": _READ,
    "merge": _READ,
}


def _closed(originals: Originals, kind: str, rng: random.Random, folder: Path) -> bytes:
    if kind == "closed" and rng.random() < 0.9:
        kind = "small"
    data: bytes = getattr(originals, kind)
    way = rng.random()
    if way < 0.45:
        return hdf5.tables(data, rng, folder)
    if way < 0.75:
        return hdf5.metadata(data, rng, originals.cache, kind)
    return hdf5.any_bytes(data, rng, originals.log)


def _leftovers(originals: Originals, kind: str, rng: random.Random, output: Path) -> None:
    hidden = output.with_name(".job.h5.provml")
    hidden.mkdir(mode=0o700)
    journals = dict(originals.journals)
    log: bytes | None = originals.log
    if kind == "log":
        way = rng.random()
        if way < 0.6:
            log = hdf5.log(originals.log, rng, originals.cache)
        elif way < 0.8:
            log = hdf5.metadata(originals.log, rng, originals.cache, "partial")
        else:
            log = hdf5.any_bytes(originals.log, rng, originals.closed)
        if rng.random() < 0.5:
            journals = {}
    else:
        for name in rng.sample(sorted(journals), rng.choice((1, 1, 2))):
            journals[name] = frames.journal(journals[name], rng)
        if rng.random() < 0.1:
            journals[rng.choice(("x.journal", ".journal", "a" * 200 + ".journal"))] = rng.choice(
                list(journals.values())
            )
    if kind == "journals alone":
        log = None
    if kind == "closed and journals":
        log = None
        output.write_bytes(
            originals.closed if rng.random() < 0.5 else hdf5.tables(originals.closed, rng, output.parent)
        )
        # A run of the same uuid, so that the two are brought together.
        journals = {name: data.replace(*_uuids(originals)) for name, data in journals.items()}
    if log is not None:
        output.with_name("job.h5.partial").write_bytes(log)
    for name, data in journals.items():
        (hidden / name).write_bytes(data)
        (hidden / name).chmod(0o600)
    beat = bytearray(originals.heartbeat)
    if rng.random() < 0.1:
        beat = bytearray(hdf5.any_bytes(bytes(beat), rng, b""))
    (hidden / "heartbeat").write_bytes(beat)
    (hidden / "lock").touch()


def _uuids(originals: Originals) -> tuple[bytes, bytes]:
    if "uuids" not in originals.cache:
        import h5py

        first = next(iter(originals.journals.values()))
        with h5py.File(io.BytesIO(originals.closed)) as file:
            mine = bytes(file.attrs["run"])
        at = first.index(b'"run": "') + 8
        originals.cache["uuids"] = first[at : at + 36], mine
    found: tuple[bytes, bytes] = originals.cache["uuids"]
    return found


def face(target: str, mutant: Mutant, seed: int) -> str:
    """Give a mutant to a target, and return what came of it in a word.

    Raises
    ------
    FaultError
        It was no clean end.
    """
    return _TARGETS[target](mutant.output, seed)


def command(target: str, output: Path, seed: int) -> list[str]:
    """Return the command line that a target stands for, with the options that a seed has it."""
    path = str(output)
    target = "info" if target == "log" else target  # which is how a person comes to read one
    if target == "recover":
        return ["recover", path, "--force"]
    if target == "info":
        return ["info", path, *(["--json"] if seed % 2 else [])]
    if target == "convert":
        form = ("nquads", "turtle", "trig", "jsonld", "ntriples")[seed % 5]
        return ["convert", path, "--to", form, "-o", f"{path}.rdf", *(["--samples"] if seed % 3 == 0 else [])]
    if target == "query":
        return ["query", path, ("compare-trainings", "model-lineage", "stragglers", "who", "reproduce")[seed % 5]]
    if target == "export":
        form = ("prov-json", "parquet", "prov-n", "crate")[seed % 4]
        return ["export", path, "--to", form, "-o", f"{path}.out"]
    if target == "load":
        return ["load", str(output.parent / "runs.store"), path]
    if target == "merge":
        return ["merge", path, "-o", f"{path}.out.h5"]
    levels = ((), ("prov",), ("shapes",), ("format",), ("format",), ("prov", "format"))[seed % 6]
    return ["validate", path, *(f"--level={one}" for one in levels), *(["--format", "json"] if seed % 4 == 1 else [])]


_OF_LIBC = (
    "free(): ",
    "malloc(",
    "malloc_",
    "realloc(",
    "munmap_chunk",
    "double free",
    "corrupted ",
    "Fatal glibc error",
)
"""How the C library's last words begin before it aborts, which nobody can keep it from saying."""


def judge(target: str, code: int, errors: str) -> str:
    """Return what a command's end was, in a word.

    Raises
    ------
    FaultError
        It was no clean end: another code, more than a line, or an error that nobody thought of.
    """
    lines = [line for line in errors.splitlines() if not line.startswith(("provml: ", *_OF_LIBC))]
    if code not in (0, 1) or len(lines) > 1 or "should not happen" in errors or "Traceback" in errors:
        raise FaultError(f"{target}: exit code {code}, {errors[:300]!r}")
    if code == 1 and not lines and target != "validate":
        raise FaultError(f"{target}: exit code 1 without a word")
    if code == 0 and lines:
        raise FaultError(f"{target}: exit code 0, but {errors[:300]!r}")
    return "done" if code == 0 else "clean error" if lines else "found invalid"


def _run(target: str, output: Path, seed: int) -> str:
    said, errors = io.StringIO(), io.StringIO()
    before = _digests(output.parent)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        code = cli.main(command(target, output, seed))
    if target != "recover" and (
        changed := {name for name, one in before.items() if _digests(output.parent).get(name) != one}
    ):
        raise FaultError(f"{target} changed {', '.join(sorted(changed))}")
    word = judge(target, code, errors.getvalue())
    if target == "recover" and code == 0 and seed % 4 == 0:  # which takes as long as the recovery itself
        with contextlib.suppress(provml.ProvMLError), provml.open(output) as file:
            file.samples()
            for table in (file.activities, file.entities, file.params, file.evaluations, file.attributes):
                list(table)
    return word


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("job.h5.rdf") and "job.h5.out" not in str(path):
            found[str(path.relative_to(folder))] = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return found


def _journal(output: Path, seed: int) -> str:
    """Read a journal as recovery does: its frames, in bulk and one by one."""
    hidden = output.with_name(".job.h5.provml")
    word = "done"
    for name in os.listdir(hidden):  # noqa: PTH208 - any name
        if not name.endswith(".journal"):
            continue
        try:
            segment = DeadSegment(hidden / name)
        except provml.ProvMLError:
            word = "clean error"
            continue
        view, first, last, lost = segment.frames()
        if lost < 0 or (first and not first <= last):
            raise FaultError(f"frames {first} to {last}, {lost} lost")
        parts = split(view)  # what was walked over can always be split
        for offset in parts.records:
            with contextlib.suppress(ValueError):
                wire.decode(view, offset)
        for rows in parts.samples.values():
            samples(rows)
        if len(parts.records) + sum(map(len, parts.samples.values())) != (last - first + 1 if first else 0):
            raise FaultError("the bulk form sees other frames than the walk")
        segment.seal_holds  # noqa: B018
    return word


def _log(output: Path, seed: int) -> str:
    """Read a log: what is committed, by source, and the run as a whole."""
    try:
        with LogReader(output.with_name("job.h5.partial")) as log:
            for source in log.sources():
                for block in log.blocks(source):
                    for at, _, layout, _ in wire.walk(block):
                        if not layout:
                            with contextlib.suppress(ValueError):
                                wire.decode(block, at)
            log.summary()
        with provml.open(output) as file:
            file.samples()
            list(file.activities)
            if not file.status:
                raise FaultError("no status")
    except provml.ProvMLError:
        return "clean error"
    return "done"


_TARGETS: dict[str, Callable[[Path, int], str]] = {
    "journal": _journal,
    "log": _log,
    **{
        name: (lambda output, seed, name=name: _run(name, output, seed))
        for name in _KINDS
        if name not in ("journal", "log")
    },  # type: ignore[misc]
}
TARGETS = tuple(_TARGETS)
"""What files can be given to."""
