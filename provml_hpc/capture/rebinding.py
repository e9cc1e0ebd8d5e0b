"""Going on without ranks that are gone: a run on another communicator, and a successor where the writer rank went.

The attempt stays the same, since nobody starts anew: those who are left have their activities open, and refer to them
by sequences of their own journals. So every rank keeps its number, too, however the new communicator counts. A writer
rank that is gone left a log that HDF5 does not write to again, and a lock; its successor makes a copy of what was
committed, as a resumed run does, and goes on with that. What those who are gone had not flushed is brought by a rank
that can read their journals. Where several ranks write, all of this is so for each of their files.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from provml_hpc import records
from provml_hpc.capture import adoption, flush_point
from provml_hpc.errors import ProvMLError, TransportError, UsageError

if TYPE_CHECKING:
    from provml_hpc.capture.session import Session
    from provml_hpc.transport import Transport

log = logging.getLogger("provml_hpc")


def rebind(session: Session, comm: Any) -> None:
    """Go on with the ranks of a communicator. *Collective* over it, and ends with a flush point.

    Parameters
    ----------
    session
        This rank's.
    comm
        An mpi4py communicator, which is duplicated. The old one is left alone: there may be steps under way on it.

    Raises
    ------
    UsageError
        The communicator cannot be used, or joins ranks that cannot go on together; on all its ranks.
    TransportError
        A rank was lost meanwhile.
    """
    transport = _connect(comm)
    members = [json.loads(one) for one in transport.allgather(json.dumps(_state(session)).encode())]
    problem = _problem(members)
    if problem:
        transport.close()
        raise UsageError(problem)
    before, session.transport = session.transport, transport
    before.leave("it goes on with other ranks")  # so that those who are not with us do not wait for us
    old, session.members, session.broken = session.members, tuple(one["rank"] for one in members), None
    writers = _writers(members)
    transport.appoint(writers[min(writers)], [writers[one["part"]] for one in members], session.members)
    if session.storage is not None and not (session.is_writer and members[transport.rank]["writes"]):
        session.storage.let_go()  # it takes nothing more, and its successor needs the lock
        session.storage = None
    places = {old.index(rank): place for place, rank in enumerate(session.members)}
    session.digester.rebind(places, leads=session.leads)
    session.clocks.leave_it()
    gone = [rank for rank in range(session.size) if rank not in session.members]
    dead = session.dead = {rank for one in members for rank in one["dead"]}.difference(session.members)
    part = session.part_of_rank[session.rank]
    orphans = adoption.Orphans(session, [rank for rank in gone if session.part_of_rank[rank] == part], dead)
    seen = [json.loads(one) for one in transport.allgather(json.dumps(orphans.seen()).encode())]
    chosen = adoption.choose(seen)
    orphans.keep(chosen[transport.rank])
    trouble = ""
    if session.is_writer:
        trouble = _take_output(session, old[before.writer] in dead)
        told = {rank: reason for one in members for rank, reason in one["told"]}
        # Of a file whose ranks are all gone the lead tells.
        for rank in (one for one in gone if writers.get(session.part_of_rank[one], transport.lead) == transport.rank):
            reason = "its process died" if rank in dead else told.get(rank, "it is not in the communicator any more")
            _say_lost(session, rank, any(rank in brought for brought in chosen), reason)
    for writer, text in enumerate(transport.allgather(trouble.encode())):
        if text:
            session.trouble(text.decode(), teller=writer)
    session.orphans = orphans if chosen[transport.rank] else None
    flush_point.take_part(session, finishing=False)


def _connect(comm: Any) -> Transport:
    from provml_hpc.transport import choose

    if comm is None:
        raise UsageError("comm=None: give rebind() the communicator of the ranks that are left")
    try:
        return choose(comm)
    except ProvMLError:
        raise
    except Exception as error:  # mpi4py's own: a rank of the new communicator has died already
        raise TransportError(f"the communicator cannot be used ({error}): shrink it once more, and rebind") from error


def _state(session: Session) -> dict[str, Any]:
    """Return what the others have to know of this rank."""
    transport = session.transport
    return {
        "run": session.meta["run"],
        "attempt": session.meta["attempt"],
        "rank": session.rank,
        "part": session.part_of_rank[session.rank],
        "ended": session.ended,
        "writes": session.storage is not None and not session.storage.broken,
        "dead": [*session.dead, *(session.members[place] for place in transport.lost())],
        "told": [(session.members[notice.rank], notice.reason) for notice in transport.notices()],
    }


def _writers(members: list[dict[str, Any]]) -> dict[int, int]:
    """Return for each file of the run who writes it: who does already, or else the lowest rank."""
    chosen: dict[int, int] = {}
    for part in {one["part"] for one in members}:
        there = [place for place, one in enumerate(members) if one["part"] == part]
        writing = [place for place in there if members[place]["writes"]]
        chosen[part] = writing[0] if writing else min(there, key=lambda place: members[place]["rank"])
    return chosen


def _problem(members: list[dict[str, Any]]) -> str:
    """Return why these ranks cannot go on together, the same on all of them; empty if they can."""
    if len({(one["run"], one["attempt"]) for one in members}) > 1:
        return "rebind(): the communicator joins ranks of different runs; give each run one of its own"
    ended = sorted(one["rank"] for one in members if one["ended"])
    if ended:
        shown = ", ".join(map(str, ended[:8]))
        return f"rebind(): the run has ended on rank {shown}; give a communicator without ranks that ended it"
    return ""


def _take_output(session: Session, dead: bool) -> str:
    """On a writer rank: have its file, its own or that of the writer rank before it. Return what went wrong."""
    from provml_hpc.storage.output import Output

    try:
        if session.storage is None:
            session.storage = Output.take_over(session.file, session.meta, dead=dead)
            log.info("rank %d writes %s from now on", session.rank, session.file)
        else:
            session.storage.forget()  # what a flush point that was cut short had brought: it comes again
    except Exception as error:  # whatever it is, the others wait for an answer
        return (
            f"{session.file} could not be taken over from the rank that wrote it: {error}. What is logged stays in "
            f"the journals; after the job ends, run: provml recover {session.output}"
        )
    return ""


def _say_lost(session: Session, rank: int, adopted: bool, reason: str) -> None:
    """Write down that the run goes on without a rank: once, and once more if its journal is found later."""
    if session.lost.get(rank, -1) < adopted:
        session.lost[rank] = int(adopted)
        session.write(records.Lost(rank, int(adopted), reason[:1000]))
