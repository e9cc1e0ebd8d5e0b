"""One rank of one run: the only place where journal, transport and storage meet."""

from __future__ import annotations

import json
import logging
import os
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provml_hpc import records
from provml_hpc.capture import clocks, ending, flush_point, places, rebinding, sampling, signals, survivor
from provml_hpc.capture.describer import Describer, Job
from provml_hpc.capture.digests import Digester
from provml_hpc.capture.losses import Losses
from provml_hpc.errors import PeerLeftError, ProvMLError, StateError, TransportError, UsageError
from provml_hpc.journal import Journal, SideJournal, file_name
from provml_hpc.records import Source
from provml_hpc.storage.place import hidden_of, parts_in
from provml_hpc.values import clean_text, flatten
from provml_hpc.vocabulary import CLASS

if TYPE_CHECKING:
    from provml_hpc.capture.adoption import Orphans
    from provml_hpc.capture.claiming import Claimed
    from provml_hpc.capture.entity import Entity
    from provml_hpc.capture.survivor import Survivor
    from provml_hpc.telemetry.sampler import Sampler
    from provml_hpc.transport import Transport

log = logging.getLogger("provml_hpc")

SIDE_SHARE = 4
"""The journal of all other threads is so many times smaller than that of the run's own."""


class Session(Losses):
    """What all activities of a run on this rank share.

    No method raises for a failure of the capture itself unless the run is strict: the first failure is warned of, and
    what is lost is counted, in the file if there is still a way into it.
    """

    inert = False
    """Whether it records nothing, as :class:`~provml_hpc.capture.inert.InertSession` does."""

    def __init__(
        self,
        transport: Transport,
        claimed: Claimed,
        *,
        strict: bool,
        journal: str,
        buffer: int,
        close_timeout: float,
    ) -> None:
        super().__init__()
        self.transport = transport
        self.rank, self.size = transport.rank, transport.size
        """The rank of this process in the run, and how many there were at its beginning; they stay as they are."""
        self.members: tuple[int, ...] = tuple(range(transport.size))
        """The ranks of the run that take part in its flush points, in the order of the transport's."""
        self.part_of_rank = claimed.part_of_rank
        """For each rank of the run into which of its files it logs: several ranks may write."""
        self.orphans: Orphans | None = None
        """The journals of ranks that are gone which this rank brings to the next flush point."""
        self.dead: set[int] = set()
        """The ranks that are known to have died before the run was bound to the communicator that it is bound to."""
        self.lost: dict[int, int] = {}
        """On a writer rank: the ranks that it wrote down as lost, and whether somebody brought their journal."""
        self.meta = meta = claimed.meta
        self.output = claimed.output
        self.file = claimed.file
        """The file of this rank's writer rank: the output, or one of several parts of it."""
        self.strict = strict
        self.close_timeout = close_timeout
        self.storage = claimed.storage
        self.ended = False
        self.stop_signalled = False
        """Whether this process was told to stop; set by a signal handler at any moment, also in a flush point."""
        self.stop_requested = False
        """Whether a rank was, as all ranks agreed at their last flush point: no rank may see it before the others."""
        self.failed = False
        """Whether the run ended with an exception on this rank."""
        self.outcome = records.COMPLETED
        self.found_beside: list[threading.Thread] = []
        """Threads that find something out, for which the end of the run waits a little."""
        self.cost_ns: defaultdict[str, int] = defaultdict(int)
        self.last_committed = 0
        self.known: dict[str, Entity] = {}
        """The latest handle of each path that this rank named."""
        self.collections: dict[str, Entity] = {}
        self.layouts = self.layouts_aside = 0
        self._aside: dict[int, records.Layout] = {}
        self.buffer = buffer
        self.broken: str | None = None
        """Why this rank takes part in no flush point any more, if so."""
        self._pid = os.getpid()
        reading = clocks.read()
        self._clock_to_wall = reading.clock_to_wall_ns
        self.clocks = clocks.Clocks(reading)
        self._started = self._started_record()
        self.hidden = hidden_of(self.file)
        self.folder: Path | None = None
        self.journal: Journal | None = None
        self.side = SideJournal(lambda: self._open_beside(records.SIDE_LANE, SIDE_SHARE))
        self.counters = SideJournal(lambda: self._open_beside(records.TELEMETRY_LANE, sampling.SHARE))
        self.survivor: Survivor | None = None
        """Carries the journals of this node away when a signal comes, if they lie on the node."""
        self.sampler: Sampler | None = None
        """Samples the counters of this node, on one of its ranks."""
        self.describer = Describer(self._described, self._not_described)
        self.digester = Digester(
            self.write_aside, leads=transport.rank == transport.lead, describe=self.describer.submit
        )
        try:
            self.journal, self.folder, troubles = places.open_journal(
                places.candidates(journal, self.hidden, meta["run"]),
                lambda folder: self._open(folder, records.RUN_LANE, buffer),
                strict=strict,
            )
            for trouble in troubles:
                log.info("journal: passed over %s", trouble)
            if self.folder is None:
                self.trouble(
                    "no place took the journal, so what is logged is only in memory until the next flush, and dies "
                    f"with the process ({'; '.join(troubles)}); give a place with room by journal=PATH"
                )
            self.journal.write(self._started)
        except ProvMLError as error:
            self.trouble(f"nothing is captured on rank {self.rank}: {error}", error)
        _sessions.add(self)

    @property
    def journal_prefix(self) -> str:
        """What the names of all journals of this rank begin with."""
        return file_name(self.meta["run"], Source(self.meta["attempt"], self.rank, 0), 0).partition("-l")[0]

    @property
    def is_writer(self) -> bool:
        """Whether this rank writes a file."""
        return self.transport.rank == self.transport.writer

    @property
    def leads(self) -> bool:
        """Whether this rank speaks for the run: it is the writer rank, or one of them."""
        return self.transport.rank == self.transport.lead

    @property
    def alive(self) -> bool:
        """Whether calls still record: the run goes on and this is the process that opened it."""
        return not self.ended and self.journal is not None and os.getpid() == self._pid

    def _started_record(self) -> records.Started:
        import socket

        parts = parts_in(self.meta)
        return records.Started(self._clock_to_wall, self.size, os.getpid(), socket.gethostname(), parts)

    def _open(self, folder: Path | None, lane: int, bound: int) -> Journal:
        source = Source(self.meta["attempt"], self.rank, lane)
        description = {k: v[:500] if isinstance(v, str) else v for k, v in self.meta.items()}
        description["output"] = str(self.output)[:1500]
        return Journal(folder, source, self.meta["run"], description, bound)

    def _open_beside(self, lane: int, share: int) -> Journal:
        if self.journal is None:
            raise StateError("the run has no journal")
        journal = self._open(self.folder, lane, max(self.buffer // share, places.SMALLEST))
        journal.write(self._started)
        return journal

    def write(self, record: records.Record) -> int:
        """Append a record and return its handle; 0 if it could not be kept."""
        journal = self.journal
        if journal is None or self.ended:
            return 0
        if journal.state[2] != threading.get_ident():
            self.write_aside(record)
            return 0
        try:
            return journal.write(record)
        except (OSError, OverflowError, ProvMLError) as error:
            self.drop(0, "unwritable", type(record).__name__)
            self.trouble(f"a record was lost: {error}", error)
            return 0

    def write_aside(self, record: records.Record) -> int:
        """Append a record from another thread than the run's own."""
        if not self.alive:
            return 0
        if isinstance(record, records.Layout):
            self._aside[record.number] = record
        try:
            return self.side.write(record)
        except (OSError, OverflowError, ProvMLError) as error:
            log.warning("a record was lost: %s", error)
            self.count_lost((0, "unwritable", type(record).__name__), 1)
            return 0

    def beside(self, work: Callable[[], object], name: str) -> None:
        """Do something in a thread of its own that the end of the run waits for, a little."""
        thread = threading.Thread(target=work, name=name, daemon=True)
        self.found_beside.append(thread)
        thread.start()

    def sample_aside(self, layout: int, step: int, section: int, values: tuple[float, ...]) -> None:
        """Append a sample from another thread than the run's own, or count it where there is no room."""
        with self.side.lock:
            side = self.side.journal
            if side is not None and side.write_sample(layout, step, section, values):
                return
        told = self._aside.get(layout)
        if told is not None and self.alive:
            self.drop(
                told.activity,
                "buffer full",
                ", ".join(json.loads(told.measures)),
                "the journal of the other threads is full, so their samples are thinned and counted; flush more often, "
                f"or raise buffer= (now {self.buffer} bytes, of which they have one part in {SIDE_SHARE})",
            )

    def _described(self, job: Job, facts: Mapping[str, Any]) -> None:
        """Write down what a reader found in a file; in the describer's thread."""
        code = CLASS["DatasetCharacteristic"].code
        for name, kind, text in flatten(facts, refuse=lambda name, error: None):
            self.write_aside(records.Named(code, job.activity, job.entity, 0, clean_text(name), kind, text))

    def _not_described(self, job: Job, reason: str) -> None:
        """Count a file that no reader could describe: it may be broken, and that is no failure of the run.

        So a strict run goes on too; it is in the describer's thread, where nobody would hear an error.
        """
        reason = clean_text(reason)[:200]
        self.drop(job.activity, "not described", f"{job.label}: {reason}")
        message = f"{job.label} is recorded without what is in it: {reason}"
        if self.strict:
            log.warning("provml: %s", message)
        else:
            self.trouble(message)

    # What concerns the other ranks: see `flush_point` and `ending`.

    def flush(self) -> None:
        """Bring all ranks' records into the file; *collective*."""
        if self.ended or os.getpid() != self._pid:
            return
        self._meet("a flush point failed", partial(flush_point.take_part, self, finishing=False))

    def finish(self, deadline: float | None = None) -> None:
        """End the run on all ranks: last records, last commit, the closed file; *collective*."""
        if self.ended or os.getpid() != self._pid:
            return
        try:
            seconds = self.close_timeout if deadline is None else deadline
            self._meet("the end of the run failed", partial(ending.finish, self, seconds))
        finally:
            self.let_go()

    def rebind(self, comm: Any) -> None:
        """Go on with the ranks of another communicator; *collective* over it, also where the run has ended."""
        if os.getpid() != self._pid:
            return
        refusals: list[ProvMLError] = []

        def bind() -> None:
            try:
                rebinding.rebind(self, comm)
            except (UsageError, StateError) as error:  # on all ranks, and only the user can mend it
                refusals.append(error)

        self._meet("the run could not be bound to the communicator", bind)
        if refusals:
            raise refusals[0]

    def leave(self, reason: str, error: str, outcome: str = records.FAILED) -> None:
        """End this rank's part without the others: an exception is on its way, so nothing collective may happen."""
        self.outcome = outcome
        if self.ended or os.getpid() != self._pid:
            return
        try:
            ending.leave(self, reason, error)
        except Exception as failure:  # the user's own exception must get through
            log.warning("provml: the capture could not be ended: %s", failure)
        finally:
            self.let_go()

    def _meet(self, failed: str, work: Callable[[], object]) -> None:
        """See that what goes wrong while the ranks meet stops no training, and leaves no rank waiting for this one."""
        try:
            work()
        except TransportError as error:
            self.give_up(error)
        except ProvMLError as error:  # all ranks were told, and a strict run raises it on all
            self.trouble(f"{failed}: {error}", error)
        except Exception as error:  # a reason that only this rank knows
            reason = f"{type(error).__name__}: {error}"[:1000]
            self.transport.leave(reason)
            self.give_up(TransportError(f"the capture failed on rank {self.rank} ({reason}): see the rank's log"))

    def give_up(self, error: Exception) -> None:
        """Take part in no flush point any more: what is logged goes to the journal alone."""
        if self.broken is None:
            self.broken = str(error)
            if self.journal is not None:
                self.journal.seal()
            left = isinstance(error, PeerLeftError)
            # The lead relays who left, so all know that it knows; of anything else nobody knows who knows.
            told = left and self.transport.lead not in {notice.rank for notice in self.transport.notices()}
            self.trouble(
                f"no further flush points: {error}. What was logged lies in {self.folder} and is kept; "
                f"after the job ends, run: provml recover {self.output}",
                None if left else error,
                teller=self.transport.lead if told else None,
            )

    def remove_journals(self) -> bool:
        """Remove the journals of this rank, since all that they held is in the closed file.

        What other threads logged as it was closed is not: that stays, and the answer is then True.
        """
        if self.journal is not None:
            self.journal.close(remove=True)
        late = self.side.close(remove=True, spare=True)
        self.counters.close(remove=True)
        if self.survivor is not None:
            self.survivor.remove_copies()
        if self.folder is not None:
            with suppress(OSError):
                self.folder.rmdir()
        return late

    def let_go(self) -> None:
        """Close what is open; nothing is recorded any more."""
        self.ended = True
        signals.release(self)
        sampling.end(self)
        self.digester.close(0)
        self.describer.close()
        if self.journal is not None:
            self.journal.state[2] = 0  # recorders see a stranger from now on
            self.journal.close(remove=False)
        self.side.close(remove=False)
        self.counters.close(remove=False)
        if self.storage is not None:
            self.storage.let_go()
        survivor.carry_home(self)
        _sessions.discard(self)

    def abandon_in_child(self) -> None:
        """After a fork, in the child: write nothing, talk to nobody, run no exit hooks."""
        self.ended = True
        if self.survivor is not None:
            self.survivor.abandon_in_child()
        if self.journal is not None:
            self.journal.state[2] = 0
        if self.storage is not None:
            self.storage.abandon_in_child()


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for session in list(_sessions):
        session.abandon_in_child()


_hooked = False


def hook_fork() -> None:
    """Make forked children inert; done once, at the first run and not at import."""
    global _hooked
    if not _hooked:
        _hooked = True
        os.register_at_fork(after_in_child=_after_fork_in_child)
