"""One flush point, as one rank takes part in it: what it brings, what the writer rank makes of it, what comes back.

All ranks tell their state, their bytes go to the writer rank, it commits them, and its answer goes to all. Only then is
the room in the journals used again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING

from provml_hpc import records
from provml_hpc.capture.intake import LANE, Intake, swallow
from provml_hpc.errors import TransportError

if TYPE_CHECKING:
    from provml_hpc.capture.session import Session
    from provml_hpc.journal import Journal
    from provml_hpc.transport import Agreement


def take_part(
    session: Session, *, finishing: bool, deadline: float | None = None, adopted: Sequence[memoryview] = ()
) -> tuple[Agreement, str]:
    """Take part in one flush point. *Collective*.

    Parameters
    ----------
    session
        This rank's.
    finishing
        Whether this rank is at its end and comes so that the others can flush.
    deadline
        Seconds after which to give up waiting for the other ranks, in each of its steps.
    adopted
        Parcels of ranks that are gone, which this rank brings too.

    Returns
    -------
    tuple
        What the ranks agreed on, and what kept the writer rank from writing; empty if nothing did.

    Raises
    ------
    TransportError
        The ranks could not meet: one left, or did not come in time.
    """
    from provml_hpc.transport import Report

    if session.broken is not None:
        raise TransportError(session.broken)
    began = perf_counter_ns()
    session.write_dropped()
    with session.side.held() as side, session.counters.held() as counters:
        journals = [j for j in (session.journal, side, counters) if j is not None]
        ends = [journal.sequence for journal in journals]
        parcels = [*_parcels(journals), *adopted]
        size = sum(map(len, parcels))
        report = Report(
            size=size,
            trouble=None if session.journal else "has no journal",
            finishing=finishing,
            stop_requested=session.stop_signalled or session.stop_requested,
            requests=session.digester.requests(),
        )
        agreement = session.transport.flush_point(report, deadline=deadline)
        wishes = session.transport.exchange(report.requests, deadline=deadline) if agreement.has_requests else []
        trouble, reading = _gather(session, parcels, agreement, wishes, deadline)
        if trouble:
            session.trouble(
                f"the file could not be written: {trouble}. What was logged stays in the journals",
                teller=session.transport.writer,
            )
        elif size:
            for journal, sent in zip(journals, ends, strict=True):
                session.last_committed = max(session.last_committed, sent)
                # What a signal handler or a finaliser logged meanwhile is not committed, so all stays where it is
                # and is sent once more; readers take each sequence once.
                if journal.sequence == sent:
                    journal.restart()
        session.stop_requested = agreement.any_stop  # once it was said, every rank says it again
        if agreement.has_requests:
            session.digester.accept(reading.get(str(session.transport.rank), []))
    session.cost_ns["flush"] += perf_counter_ns() - began
    session.cost_ns["flush_points"] += 1
    return agreement, trouble


def _parcels(journals: list[Journal]) -> list[memoryview]:
    """Return what goes to the writer rank: for each lane a head and its frames."""
    parcels: list[memoryview] = []
    for journal in journals:
        chunks = journal.chunks()
        if chunks:
            checksum = journal.seal()  # the file keeps it, so that it covers the way there too
            first = records.HEADER.unpack_from(chunks[0])[2]
            size = sum(map(len, chunks))
            source = journal.source
            head = LANE.pack(source.rank, source.lane, first, journal.sequence, size, checksum)
            parcels += [memoryview(head), *chunks]
    return parcels


def _gather(
    session: Session, parcels: list[memoryview], agreement: Agreement, wishes: list[bytes], deadline: float | None
) -> tuple[str, dict[str, list[int]]]:
    """Move the parcels to the writer rank, let it commit, and return what went wrong and who is to read which files."""
    transport, storage = session.transport, session.storage
    intake = Intake(storage, session.meta["attempt"]) if session.is_writer and storage else None
    error, reading = "", dict[int, list[int]]()
    began = perf_counter_ns()
    if agreement.largest:
        try:
            transport.gather(parcels, intake.take if intake else swallow, agreement, deadline=deadline)
        except (TransportError, MemoryError):
            raise
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
    session.cost_ns["gather"] += perf_counter_ns() - began
    if session.is_writer:
        began = perf_counter_ns()
        if wishes:
            reading = session.digester.assign(wishes)
        if storage is None:
            error = error or "there is no output file"
        elif agreement.largest and not error:
            try:
                storage.commit()
            except Exception as failure:
                error = f"{type(failure).__name__}: {failure}"
        session.cost_ns["append"] += perf_counter_ns() - began
    # Nothing to say means that all is well, as it nearly always is.
    told = json.dumps([error, reading]).encode() if error or reading else b""
    answer = transport.settle(told, deadline=deadline)
    return tuple(json.loads(answer)) if answer else ("", {})
