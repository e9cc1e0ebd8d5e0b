"""Making what brought something down as small as it can be, for a test that keeps it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.faults.fuzz import targets, workers
from tests.faults.fuzz.workers import Campaign

_MOST = 150
"""Mutants that are tried for one."""


def least(campaign: Campaign, seed: int, folder: Path) -> str:
    """Shrink what differs from the originals in the mutant of a seed, put the file into a folder, and say what is left.

    Mutants that are shorter or longer than their originals are left as they are.
    """
    made = campaign.originals
    known = [made.closed, made.small, made.old, made.log, *made.journals.values()]
    place = Path(tempfile.mkdtemp(dir=campaign.work))
    mutant = targets.spoil(made, place / "job", campaign.target, seed)
    said = []
    for path in sorted(path for path in mutant.output.parent.rglob("*") if path.is_file()):
        data = path.read_bytes()
        alike = [one for one in known if len(one) == len(data) and one != data]
        if not alike or data in known:
            continue
        origin = min(alike, key=lambda one: len(_spans(one, data)))
        name = path.relative_to(mutant.output.parent)
        small = shrink(_is_bad(campaign, seed, name), origin, data)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{campaign.target}-{seed}-{path.name}").write_bytes(small)
        spans = [f"{start}: {small[start:end].hex()}" for start, end in _spans(origin, small)]
        said.append(f"{name}, where it differs: {', '.join(spans[:8])}{' ...' if len(spans) > 8 else ''}")
    shutil.rmtree(place, ignore_errors=True)
    return "; ".join(said) or "of another length than its original, so left as it is"


def shrink(bad: Callable[[bytes], bool], origin: bytes, mutant: bytes) -> bytes:
    """Make the difference between a mutant and its origin, of one length, as small as it can be while it stays bad.

    Spans that differ are put back by halves, then one by one (delta debugging).
    """
    spans, parts, tried = _spans(origin, mutant), 2, 0
    while len(spans) > 1 and tried < _MOST:
        step = -(-len(spans) // parts)
        for start in range(0, len(spans), step):
            fewer = spans[:start] + spans[start + step :]
            tried += 1
            if fewer and bad(_with(origin, mutant, fewer)):
                spans, parts = fewer, max(parts - 1, 2)
                break
        else:
            if step == 1:
                break
            parts = min(parts * 2, len(spans))
    return _with(origin, mutant, spans)


def _spans(one: bytes, other: bytes) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for at in (at for at in range(len(one)) if one[at] != other[at]):
        if spans and spans[-1][1] == at and at - spans[-1][0] < 8:
            spans[-1] = spans[-1][0], at + 1
        else:
            spans.append((at, at + 1))
    return spans


def _with(origin: bytes, mutant: bytes, spans: list[tuple[int, int]]) -> bytes:
    made = bytearray(origin)
    for start, end in spans:
        made[start:end] = mutant[start:end]
    return bytes(made)


def _is_bad(campaign: Campaign, seed: int, place: Path) -> Callable[[bytes], bool]:
    """Return a function that tells whether the target fails on some bytes, in the place of what was spoiled."""

    def bad(data: bytes) -> bool:
        folder = Path(tempfile.mkdtemp(dir=campaign.work))
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                workers.limit()
                mutant = targets.spoil(campaign.originals, folder / "job", campaign.target, seed)
                (mutant.output.parent / place).write_bytes(data)
                signal.setitimer(signal.ITIMER_VIRTUAL, workers.WHOLE_S)
                targets.face(campaign.target, mutant, seed)
                code = 0
            os._exit(code)
        status = os.waitpid(child, 0)[1]
        shutil.rmtree(folder, ignore_errors=True)
        return status != 0

    return bad
