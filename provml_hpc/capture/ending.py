"""How a rank's part of a run ends: together with the others and with a closed file, or without them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from provml_hpc import records
from provml_hpc.capture import disagreements, flush_point, own_cost, sampling

if TYPE_CHECKING:
    from provml_hpc.capture.session import Session
    from provml_hpc.transport import Agreement

log = logging.getLogger("provml_hpc")

BESIDE_TIMEOUT = 10.0
"""Seconds that the end of a run waits for what is found out beside it."""


def finish(session: Session, limit: float) -> None:
    """End the run on all ranks: last records, last commit, the closed file. *Collective*.

    Parameters
    ----------
    session
        This rank's.
    limit
        Seconds to wait for the other ranks in each step, and for the closed file to be written.

    Raises
    ------
    TransportError
        The ranks could not meet; the journals stay.
    """
    sampling.last_turn(session)
    _write_end(session, "", "")
    _together(session, limit)


def leave(session: Session, reason: str, error: str) -> None:
    """End this rank's part without the others. Not collective, unless there are no others.

    Parameters
    ----------
    session
        This rank's; its `outcome` is written down.
    reason
        Why, in words that the other ranks are told.
    error
        The type of the exception that is on its way; empty if there is none.
    """
    sampling.last_turn(session)
    session.write_dropped()
    _write_end(session, reason, error)
    if session.transport.alone:
        _together(session, session.close_timeout)
        return
    session.digester.close(0)
    if session.journal is not None:
        session.journal.seal()
    session.transport.leave(reason)
    log.warning(
        "provml: rank %d left the run early; after the job ends, run: provml recover %s", session.rank, session.output
    )


def _write_end(session: Session, reason: str, error: str) -> None:
    if session.journal is None:
        return
    # Should the run not end together with the others, this is what there is; else the last flush points come in, too.
    for name, value in own_cost.of(session).items():
        session.write(records.Fact("capture", name, "integer", str(value)))
    session.write(records.Ended(session.outcome, reason, error))


def _together(session: Session, limit: float) -> None:
    from provml_hpc.transport import Report

    # Whoever reads files has to hear who else does, and what was read has to get into the file: so the last flush
    # points repeat until every rank has nothing more to say.
    for thread in session.found_beside:
        thread.join(BESIDE_TIMEOUT)
    first = True
    while True:
        session.digester.wait(limit)
        session.describer.wait(limit)
        quiet = not session.digester.requests()
        if not first:
            sampling.last_turn(session)  # others trained on, perhaps on the node that this rank samples
        first = False
        agreement, trouble = flush_point.take_part(session, finishing=quiet, deadline=limit)
        # Which step comes next depends on nothing that one rank alone knows: the file of another may take all.
        if agreement.all_finishing:
            break
    if session.clocks.apart:
        for clock in session.clocks.end(session.transport, limit):
            session.write(clock)
        _, trouble = flush_point.take_part(session, finishing=True, deadline=limit)

    def close(agreement: Agreement, failed: Exception | None) -> bytes:
        costs = {session.members[rank]: json.loads(told) for rank, told in agreement.requests.items()}
        return json.dumps([trouble, ""] if trouble else _close_file(session, limit, costs)).encode()

    def answer(agreement: Agreement, said: Mapping[int, bytes]) -> bytes:
        return json.dumps({writer: json.loads(text) for writer, text in said.items()}).encode()

    told = json.dumps(own_cost.of(session)).encode()
    writing = (close, answer) if session.is_writer else (None, None)
    _, answered = session.transport.meet(Report(requests=told), [], None, *writing, deadline=limit)
    closed = json.loads(answered)
    for writer, (problem, _) in closed.items():
        if problem:
            session.trouble(f"the file was not closed: {problem}", teller=int(writer))
    problem, remark = closed[str(session.transport.writer)]
    remarks = [one for _, one in closed.values() if one]
    late = False
    if not problem and session.journal is not None:
        late = session.remove_journals()
    session.transport.close(deadline=limit)
    if late:
        session.trouble(
            "a thread logged while the file was closed, so that is in its journal alone; end the threads that log "
            f"before the run. After the job ends, run: provml recover {session.output}"
        )
    if remarks and session.strict:
        session.trouble(remarks[0])
    elif remark and session.is_writer:
        session.warn(remark)  # no failure of the capture, so it does not count as its one warning


def _close_file(session: Session, limit: float, costs: dict[int, dict[str, int]]) -> list[str]:
    """Close the file, with what the capture cost by rank, and return what went wrong and what there is to remark."""
    if session.storage is None:
        return ["there is no output file", ""]
    try:
        return ["", disagreements.sentence(session.storage.close(limit, costs, session.rank))]
    except Exception as error:
        return [f"{error}; run: provml recover {session.output}", ""]
