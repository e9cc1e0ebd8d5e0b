"""One flush point, as one rank takes part in it: what it brings, what the writer rank makes of it, what comes back.

All ranks tell their state, their bytes go to the writer rank, it commits them, and its answer goes to all. Only then is
the room in the journals used again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING

from provml_hpc import wire
from provml_hpc.capture.intake import LANE, Intake
from provml_hpc.errors import TransportError

if TYPE_CHECKING:
    from provml_hpc.capture.session import Session
    from provml_hpc.journal import Journal
    from provml_hpc.transport import Agreement


def take_part(session: Session, *, finishing: bool, deadline: float | None = None) -> tuple[Agreement, str]:
    """Take part in one flush point. *Collective*.

    Parameters
    ----------
    session
        This rank's.
    finishing
        Whether this rank is at its end and comes so that the others can flush.
    deadline
        Seconds after which to give up waiting for the other ranks, in each of its steps.

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
    # Other threads are kept out only while their journals are read. They log on while this one waits for other ranks,
    # which may wait for what those threads do next.
    with session.side.held() as side, session.counters.held() as counters:
        journals = [j for j in (session.journal, side, counters) if j is not None]
        marks = [journal.mark() for journal in journals]
        parcels = _parcels(journals)
    if session.orphans is not None:
        parcels += session.orphans.parcels()
    size = sum(map(len, parcels))
    report = Report(
        trouble=None if session.journal else "has no journal",
        finishing=finishing,
        stop_requested=session.stop_signalled or session.stop_requested,
        requests=session.digester.requests(),
    )
    writing = _Writing(session)
    met, appended = perf_counter_ns(), session.cost_ns["append"]
    agreement, answer = session.transport.meet(report, parcels, writing.take, writing.answer, deadline=deadline)
    # On the writer rank the time in which it writes is not the gather's.
    session.cost_ns["gather"] += perf_counter_ns() - met - (session.cost_ns["append"] - appended)
    # No answer means that all is well, as it nearly always is.
    trouble, reading = json.loads(answer) if answer else ("", {})
    if trouble:
        session.trouble(
            f"the file could not be written: {trouble}. What was logged stays in the journals",
            teller=session.transport.writer,
        )
    elif size:
        if session.orphans is not None:
            session.orphans.remove()
            session.orphans = None
        with session.side.held(), session.counters.held():
            for journal, mark in zip(journals, marks, strict=True):
                session.last_committed = max(session.last_committed, mark.sequence)
                # What a signal handler or a finaliser logs now may come between any two steps of this thread. So where
                # one did, all stays where it is and is sent once more; readers take each sequence once.
                if journal.sequence == mark.sequence or journal is not session.journal:
                    journal.keep_later(mark)
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
            first = wire.HEADER.unpack_from(chunks[0])[2]
            size = sum(map(len, chunks))
            source = journal.source
            head = LANE.pack(source.rank, source.lane, first, journal.sequence, size, checksum)
            parcels += [memoryview(head), *chunks]
    return parcels


class _Writing:
    """What the writer rank does at a flush point; on the others it is not called."""

    def __init__(self, session: Session) -> None:
        self._session = session
        storage = session.storage
        self._intake = Intake(storage, session.meta["attempt"]) if session.is_writer and storage else None

    def take(self, data: memoryview, spans: Sequence[tuple[int, int, int]]) -> None:
        """Append what came, where there is a file."""
        if self._intake is not None:
            began = perf_counter_ns()
            self._intake.take(data, spans)
            self._session.cost_ns["append"] += perf_counter_ns() - began

    def answer(self, agreement: Agreement, failed: Exception | None) -> bytes:
        """Commit, and return what is to be told to all ranks: what went wrong, and who is to read which files."""
        session = self._session
        began = perf_counter_ns()
        reading = session.digester.assign(list(agreement.requests))
        if session.storage is None:
            error = "there is no output file"
        else:
            error = _said(failed)
            if agreement.largest and not error:
                try:
                    session.storage.commit()
                except Exception as failure:
                    error = _said(failure)
        session.cost_ns["append"] += perf_counter_ns() - began
        return json.dumps([error, reading]).encode() if error or reading else b""


def _said(failure: Exception | None) -> str:
    return "" if failure is None else f"{type(failure).__name__}: {failure}"
