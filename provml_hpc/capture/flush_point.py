"""One flush point, as one rank takes part in it: what it brings, what its writer rank makes of it, what comes back.

All ranks tell their state, their bytes go to a writer rank, which commits them, and the answer of the lead goes to all.
Only then is the room in the journals used again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING

from provml_hpc import wire
from provml_hpc.capture.intake import LANE, Intake
from provml_hpc.errors import TransportError
from provml_hpc.transport import Report

if TYPE_CHECKING:
    from provml_hpc.capture.session import Session
    from provml_hpc.journal import Journal, Sealed
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
        What the ranks agreed on, and what kept this rank's writer rank from writing; empty if nothing did.

    Raises
    ------
    TransportError
        The ranks could not meet: one left, or did not come in time.
    """
    if session.broken is not None:
        raise TransportError(session.broken)
    began = perf_counter_ns()
    if session.dropped:
        session.write_dropped()
    # Other threads are kept out only while their journals are read. They log on while this one waits for other ranks,
    # which may wait for what those threads do next.
    lanes: list[tuple[Journal, Sealed]] = []
    parcels: list[memoryview] = []
    with session.side.lock, session.counters.lock:
        for journal in (session.journal, session.side.journal, session.counters.journal):
            if journal is not None:
                sealed = journal.seal()
                if sealed.chunks:
                    lanes.append((journal, sealed))
                    parcels += _parcel(journal, sealed)
    if session.orphans is not None:
        parcels += session.orphans.parcels()
    size = sum(map(len, parcels))
    report = Report(
        finishing=finishing,
        stop_requested=session.stop_signalled or session.stop_requested,
        requests=session.digester.requests(),
    )
    cost = session.cost_ns
    met, appended = perf_counter_ns(), cost["append"]
    if session.is_writer:
        writing = _Writing(session)
        agreement, answer = session.transport.meet(
            report, parcels, writing.take, writing.commit, writing.answer, deadline=deadline
        )
    else:
        agreement, answer = session.transport.meet(report, parcels, deadline=deadline)
    # On the writer rank the time in which it writes is not the gather's.
    cost["gather"] += perf_counter_ns() - met - (cost["append"] - appended)
    trouble, reading = "", {}
    if answer:  # otherwise all is well, as it nearly always is
        troubles, reading = json.loads(answer)
        for writer, text in troubles.items():  # those of other files, too: a strict run ends on all ranks
            session.trouble(
                f"the file could not be written: {text}. What was logged stays in the journals", teller=int(writer)
            )
        trouble = troubles.get(str(session.transport.writer), "")
    if size and not trouble:
        if session.orphans is not None:
            session.orphans.remove()
            session.orphans = None
        with session.side.lock, session.counters.lock:
            for journal, sealed in lanes:
                mark = sealed.mark
                session.last_committed = max(session.last_committed, mark.sequence)
                # What a signal handler or a finaliser logs now may come between any two steps of this thread. So where
                # one did, all stays where it is and is sent once more; readers take each sequence once.
                if journal is session.journal:
                    journal.restart(mark)
                else:
                    journal.keep_later(mark)
    session.stop_requested = agreement.any_stop  # once it was said, every rank says it again
    if agreement.has_requests:
        session.digester.accept(reading.get(str(session.transport.rank), []))
    cost["flush"] += perf_counter_ns() - began
    cost["flush_points"] += 1
    return agreement, trouble


def _parcel(journal: Journal, sealed: Sealed) -> list[memoryview]:
    """Return what goes to the writer rank of one lane: a head, and behind it the frames."""
    source, chunks = journal.source, sealed.chunks
    first = wire.HEADER.unpack_from(chunks[0])[2]
    # The file keeps the checksum, so that it covers the way there too.
    head = LANE.pack(source.rank, source.lane, first, sealed.mark.sequence, sum(map(len, chunks)), sealed.checksum)
    return sealed.behind(head)


class _Writing:
    """What a writer rank does at a flush point, and the lead for all."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._came = False
        storage = session.storage
        self._intake = Intake(storage, session.meta["attempt"]) if storage else None
        if storage is not None:
            storage.forget()  # what a flush point that was cut short had appended comes again

    def take(self, data: memoryview, spans: Sequence[tuple[int, int, int]]) -> None:
        """Append what came, where there is a file."""
        self._came = True
        if self._intake is not None:
            began = perf_counter_ns()
            self._intake.take(data, spans)
            self._session.cost_ns["append"] += perf_counter_ns() - began

    def commit(self, _: Agreement, failed: Exception | None) -> bytes:
        """Commit what came, and return what went wrong."""
        session = self._session
        began = perf_counter_ns()
        if session.storage is None:
            error = "there is no output file"
        else:
            error = _said(failed)
            if self._came and not error:
                try:
                    session.storage.commit()
                except Exception as failure:
                    error = _said(failure)
        session.cost_ns["append"] += perf_counter_ns() - began
        return error.encode("utf-8", "backslashreplace")

    def answer(self, agreement: Agreement, said: Mapping[int, bytes]) -> bytes:
        """Return what is to be told to all ranks: what went wrong at which writer rank, and who reads which files."""
        reading = self._session.digester.assign(agreement.requests)
        troubles = {writer: text.decode() for writer, text in said.items()}
        return json.dumps([troubles, reading]).encode() if troubles or reading else b""


def _said(failure: Exception | None) -> str:
    return "" if failure is None else f"{type(failure).__name__}: {failure}"
