"""The moments at which processes are killed, by name."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.faults.killing import Plan

RANKS = 3
WRITER = 0
ANY, NOT_WRITER = -1, -2

_SESSION, _JOURNAL = "provml_hpc.capture.session", "provml_hpc.journal"
_OUTPUT, _LOG = "provml_hpc.storage.output", "provml_hpc.storage.log"
_CLOSING, _TABLES = "provml_hpc.storage.closing", "provml_hpc.storage.tables"

JOB: dict[str, list[tuple[str, int, int]]] = {
    # phase: [(target, rank, most calls that a whole job makes)]
    "capture": [(f"{_JOURNAL}:Journal.write", ANY, 40), (f"{_JOURNAL}:Journal._open_segment", ANY, 3)],
    "seal": [(f"{_JOURNAL}:Segment.seal", ANY, 6), (f"{_JOURNAL}:Journal.seal", ANY, 6)],
    "gather": [
        ("provml_hpc.transport.mpi:Parallel.meet", ANY, 6),
        ("provml_hpc.transport.steps:Steps.send", ANY, 12),
        ("provml_hpc.transport.steps:Steps.wait", ANY, 18),
        ("provml_hpc.transport.meeting:Meeting._deliver", WRITER, 18),
    ],
    "before append": [(f"{_OUTPUT}:Output.append", WRITER, 18), (f"{_LOG}:LogWriter._write_frames", WRITER, 12)],
    "append to commit": [(f"{_OUTPUT}:Output.commit", WRITER, 6), (f"{_LOG}:LogWriter._sync", WRITER, 6)],
    "after commit": [
        ("provml_hpc.transport.meeting:Meeting._tell", WRITER, 6),
        (f"{_JOURNAL}:Journal.restart", ANY, 6),
        ("provml_hpc.transport.meeting:_understand", NOT_WRITER, 6),
        ("provml_hpc.storage.owner:Ownership.beat", WRITER, 6),
    ],
    "close": [
        (f"{_OUTPUT}:Output.close", WRITER, 1),
        (f"{_CLOSING}:close", WRITER, 1),
        (f"{_CLOSING}:assemble", WRITER, 1),
        (f"{_CLOSING}:write_file", WRITER, 1),
        (f"{_TABLES}:write_table", WRITER, 20),
        (f"{_TABLES}:write_samples", WRITER, 1),
        (f"{_CLOSING}:keep_records", WRITER, 1),
    ],
    "publish": [(f"{_CLOSING}:publish", WRITER, 1), ("os:link", WRITER, 2), ("os:fsync", WRITER, 2)],
    "log removal": [(f"{_CLOSING}:remove_log", WRITER, 1)],
    "journal removal": [
        (f"{_JOURNAL}:Segment.close", ANY, 3),
        (f"{_SESSION}:Session.remove_journals", ANY, 1),
        ("provml_hpc.transport.mpi:Parallel.close", ANY, 1),
        ("provml_hpc.storage.owner:Ownership.release", WRITER, 1),
    ],
    "begin": [
        (f"{_OUTPUT}:Output.claim", WRITER, 1),
        (f"{_LOG}:LogWriter.create", WRITER, 1),
        (f"{_JOURNAL}:Journal._open_segment", ANY, 1),
    ],
}

SURVIVORS = 4
"""Ranks of a job that goes on without those that die."""

_REBINDING = "provml_hpc.capture.rebinding"
DYING: list[tuple[str, int, int]] = [
    (f"{_JOURNAL}:Journal.write", ANY, 60),
    (f"{_JOURNAL}:Segment.seal", ANY, 8),
    ("provml_hpc.transport.mpi:Parallel.meet", ANY, 5),
    ("provml_hpc.transport.steps:Steps.send", ANY, 12),
    (f"{_OUTPUT}:Output.append", WRITER, 4),
    (f"{_OUTPUT}:Output.commit", WRITER, 4),
    ("provml_hpc.transport.meeting:Meeting._tell", WRITER, 4),
    ("provml_hpc.transport.meeting:_understand", NOT_WRITER, 4),
    (f"{_JOURNAL}:Journal.restart", ANY, 4),
]
"""What a rank dies in first, while the others could go on."""
REBIND: list[tuple[str, int]] = [
    (f"{_REBINDING}:_connect", 1),
    (f"{_REBINDING}:_problem", 1),
    (f"{_REBINDING}:_take_output", 1),
    (f"{_OUTPUT}:recovering", 1),
    (f"{_OUTPUT}:Ownership.take", 1),
    (f"{_OUTPUT}:LogWriter.reopen", 1),
    (f"{_LOG}:LogWriter._copy", 1),
    (f"{_REBINDING}:adoption.Orphans", 1),
    (f"{_REBINDING}:adoption.choose", 1),
    (f"{_REBINDING}:adoption.Orphans.parcels", 1),
    (f"{_REBINDING}:adoption.Orphans.remove", 1),
    ("provml_hpc.capture.digests:Digester.rebind", 1),
]
"""What a second one dies in: those that only one rank calls, the successor, need that to be the one."""

RECOVERY: dict[str, list[tuple[str, int]]] = {
    "read": [("provml_hpc.storage.recover:_gather", 1), ("provml_hpc.storage.recover:Leftovers", 1)],
    "close": [(f"{_CLOSING}:assemble", 1), (f"{_CLOSING}:write_file", 1), (f"{_TABLES}:write_table", 12)],
    "publish": [(f"{_CLOSING}:publish", 1), ("os:link", 1), ("os:fsync", 2)],
    "log removal": [(f"{_CLOSING}:remove_log", 1)],
    "journal removal": [("pathlib:Path.unlink", 6), ("provml_hpc.storage.owner:_tidy", 2)],
}


def job_plans(seed: int, writers: int = 1) -> Iterator[Plan]:
    """Yield plans for jobs without end, one phase after the other and random moments between them.

    Where several ranks write, any of the first ones may be the one whose writing ends.
    """
    rng = random.Random(seed)
    while True:
        for phase, targets in JOB.items():
            target, rank, most = rng.choice(targets)
            victim = rng.randrange(writers) if rank == WRITER and writers > 1 else who(rng, rank, RANKS)
            yield Plan(phase, target, rng.randint(1, most), rng.random() < 0.5, victim)
            if rng.random() < 0.5:
                yield Plan("random moment", rank=rng.choice([*range(RANKS), -2]), delay_s=rng.uniform(0.0, 0.9))


def who(rng: random.Random, rank: int, ranks: int) -> int:
    """Return the rank that dies, of so many."""
    return rank if rank >= 0 else rng.randrange(ranks) if rank == ANY else rng.randrange(1, ranks)


def survivor_plans(rng: random.Random) -> list[Plan]:
    """Return plans for a job that goes on: for one rank that dies, and now and then for one more in the rebinding."""
    target, rank, most = rng.choice(DYING)
    first = who(rng, rank, SURVIVORS)
    found = [Plan("survivors", target, rng.randint(1, most), rng.random() < 0.5, first)]
    if rng.random() < 0.6:
        target, most = rng.choice(REBIND)
        others = [other for other in range(SURVIVORS) if other != first]
        second = others[0] if rng.random() < 0.6 else rng.choice(others)  # the lowest is the successor
        found.append(Plan("rebind", target, rng.randint(1, most), rng.random() < 0.5, second))
    return found


def recovery_plan(rng: random.Random) -> Plan:
    """Return a plan for a recovery."""
    if rng.random() < 0.3:
        return Plan("random moment", delay_s=rng.uniform(0.0, 0.15))
    phase = rng.choice(list(RECOVERY))
    target, most = rng.choice(RECOVERY[phase])
    return Plan(phase, target, rng.randint(1, most), rng.random() < 0.5)
