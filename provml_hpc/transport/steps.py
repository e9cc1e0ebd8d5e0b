"""Steps that all ranks take together over MPI, without spinning and without waiting for one that has left.

Every step is made of non-blocking messages or collectives that are polled, with sleeps that grow with the time already
waited; where nobody needs this rank meanwhile, they begin with a good part of what it waited before.
Every few polls a rank looks for notices. A rank that leaves sends one to the lead, which relays it to all
others when it next looks. A notice says how many steps its sender had completed: a rank that waits in one of those goes
on (its end needs nothing more of the leaver), a rank in a later one gives up. So all ranks agree on the last step that
counts, whatever message overtook another.

Where the MPI library lets a job outlive a rank (ULFM), a death is an error of the step under way on the ranks that wait
for that very rank. They revoke our communicator, so that those who wait for a living one hear of it too.

Requests that were given up, their buffers and their communicator are kept to the end of the process: the MPI library
may still write to them, and Open MPI refuses to free a communicator with collectives under way.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn, TypeVar

from provml_hpc.errors import PeerLeftError, TransportError
from provml_hpc.transport.base import Notice, clip

if TYPE_CHECKING:
    from mpi4py import MPI

_T = TypeVar("_T")
_TAG = 7  # of notices
_NOTICE = struct.Struct("<iqq")  # rank, time, completed steps; then the reason
_REASON_BYTES = 400  # so that a notice fits what every MPI sends without waiting for the receiver

_SPIN = 200e-6  # seconds of polling before the first sleep: a step that all take together is over within them
_PATIENT = 10  # times as long where an answer to a question is waited for
# Between polls a rank yields the core to another that it may be waiting for. Where a yield takes so many seconds, the
# core is shared with work that is not ours and comes back after its time slices: then ranks sleep instead, for so many
# steps, since who wakes from a sleep is let in at once.
_CROWDED, _CROWDED_STEPS = 200e-6, 64
_SHORTEST, _LONGEST = 20e-6, 1e-3  # seconds of a sleep
_SLEEP_SHARE = 1 / 8  # of the time waited so far: a late wake-up costs at most this share of the wait
_USUAL_SHARE, _USUAL_LONGEST = 1 / 2, 20e-3  # of what the step took before, and at most: the first sleep
_HEARING = 2e-3  # seconds between two looks for notices: each is another call of the MPI library
_EVER = 1 << 62  # a step that nobody completes
_GRACE = 10.0  # seconds for a step that a leaver had completed: its last bytes may have died with it
_OUTLIVES = "OMPI_MCA_mpi_ft_enable"
_FAREWELL = 5e-3  # seconds given to the MPI library to send off a notice

# All that were not closed, with their requests and buffers. What breaks stays here for good.
_OPEN: set[Steps] = set()


class Steps:
    """The steps of one run on a duplicate of the user's communicator. Its construction is *Collective*.

    Parameters
    ----------
    comm
        The user's communicator.
    lead
        Rank that relays notices.

    Raises
    ------
    TransportError
        Where the communicator cannot be used, since a rank has died for example.
    """

    def __init__(self, comm: MPI.Intracomm, lead: int) -> None:
        from mpi4py import MPI

        self._mpi = MPI
        # Without the user's hints: one that rules out wildcards would rule out our probes.
        try:
            self.comm = comm.Dup(MPI.INFO_NULL)
        except MPI.Exception as error:
            raise TransportError(
                f"the communicator cannot be duplicated ({error}): if a rank has died, shrink it, and begin anew"
            ) from error
        self.comm.Set_errhandler(MPI.ERRORS_RETURN)
        self._rank, self._size, self._lead = comm.Get_rank(), comm.Get_size(), lead
        self._names: Sequence[int] = range(self._size)
        self._pid = os.getpid()
        self._status = MPI.Status()
        self._completed = 0
        self._under_way: list[MPI.Request] = []
        self._inside = False  # a step, which was interrupted if it is found so from outside
        self._crowded = 0
        self._waits: dict[str, tuple[float, float]] = {}
        self._farewells: list[MPI.Request] = []
        self._notices: dict[int, tuple[Notice, int]] = {}
        self._closed = False
        # Of several requests the error is in their statuses.
        self._deaths = (MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING, MPI.ERR_IN_STATUS)
        self.failure: TransportError | None = None
        _OPEN.add(self)

    def appoint(self, lead: int, names: Sequence[int]) -> None:
        """Have another rank relay notices, and call ranks by these numbers in messages."""
        self._lead, self._names = lead, names

    def agree(self, mine: bool) -> bool:
        """Return whether all ranks that live say yes, as in `Transport.agree`. *Collective*, also after a failure."""
        if not _outlives() or self._out_of_reach() is not None:
            return mine
        said = array("i", [mine])
        try:
            request = self.comm.Iagree(said)
        except NotImplementedError:  # no ULFM in this mpi4py
            return mine
        with contextlib.suppress(self._mpi.Exception):  # that a rank died; what the others say counts all the same
            while not request.Test():
                time.sleep(_LONGEST)
        return bool(said[0])

    def lost(self) -> list[int]:
        """Return the ranks whose processes the MPI library knows to have died. Not collective."""
        if self._closed or self._out_of_reach() is not None:
            return []
        try:
            return list(self.comm.Get_failed().Translate_ranks(None, self.comm.Get_group()))
        except (self._mpi.Exception, NotImplementedError):  # no ULFM
            return []

    def take(self, what: str, until: float | None, *posts: Callable[[], MPI.Request]) -> None:
        """Take a step that is made of collectives: post them and wait for them. *Collective*.

        Parameters
        ----------
        what
            The step, in words that fit "waiting for ..." and "... cannot complete".
        until
            Monotonic time in seconds at which to give up.
        posts
            Each starts a non-blocking collective on `comm`.
        """

        def work() -> None:
            self._under_way += [post() for post in posts]
            self.wait(list(self._under_way), what, until)

        self.together(what, work)

    def together(self, what: str, work: Callable[[], _T]) -> _T:
        """Take a step whose part on this rank is `work`, which calls `send`, `receive` and `wait`. *Collective*."""
        self.check(what)
        self._inside = True
        try:
            result = work()
        except self._mpi.Exception as error:
            self._fail(error)
        except TransportError as failure:
            self.give_up(failure)
        except BaseException as interrupt:
            self.leave(f"interrupted by {type(interrupt).__name__}")
            raise
        self._inside, self._under_way = False, []
        self._completed += 1
        return result

    def send(self, data: bytes | bytearray | memoryview, rank: int, tag: int) -> MPI.Request:
        """Start to send bytes to a rank, within a step."""
        request = self.comm.Isend([data, self._mpi.BYTE], rank, tag)
        self._under_way.append(request)  # kept, with its buffer, until the step has ended
        return request

    def receive(self, data: bytearray | memoryview, rank: int, tag: int) -> MPI.Request:
        """Start to receive bytes from a rank, within a step; as many as there is room for."""
        request = self.comm.Irecv([data, self._mpi.BYTE], rank, tag)
        self._under_way.append(request)
        return request

    def wait(
        self,
        requests: list[MPI.Request],
        what: str,
        until: float | None,
        *,
        alone: bool = False,
        quick: bool = False,
    ) -> None:
        """Wait within a step, asleep most of the time.

        Parameters
        ----------
        requests
            What to wait for.
        what
            As for `take`.
        until
            As for `take`.
        alone
            Whether no other rank needs this one to poll before that, so that it may sleep as long as it waited before.
        quick
            Whether the time that it takes is measured, so that it is better polled for longer than slept over.
        """
        if not requests or self._mpi.Request.Testall(requests):
            return  # what came while this rank was at something else is not slept over
        rest = self._usual(what) if alone else 0.0
        spin = _SPIN * _PATIENT if quick else _SPIN
        if rest > spin or not self._comes_at_once(requests, spin):
            took = self._await(requests, what, until, rest)
            if alone:  # how long bytes take to leave says nothing of how long an answer takes
                self._waits[what] = took, self._waits.get(what, (0.0,))[0]

    def _usual(self, what: str) -> float:
        """Return the seconds that a wait in which nobody needs this rank may begin with asleep."""
        # The shorter of two, so that one late rank does not make the next flush point late.
        return min(min(self._waits.get(what, (0.0, 0.0))) * _USUAL_SHARE, _USUAL_LONGEST)

    def _comes_at_once(self, requests: list[MPI.Request], spin: float) -> bool:
        """Return whether requests are done within a short while of polling."""
        done, clock = self._mpi.Request.Testall, time.monotonic
        began = now = clock()
        while now - began < spin:
            if done(requests):
                return True
            before = now
            if self._crowded == 0:
                os.sched_yield()
            now = clock()
            if now - before > _CROWDED:
                self._crowded = _CROWDED_STEPS
        self._crowded = max(self._crowded - 1, 0)
        return False

    def _await(self, requests: list[MPI.Request], what: str, until: float | None, rest: float) -> float:
        """Sleep and poll until requests are done; the first sleep takes at least `rest` seconds.

        Returns the seconds after which they were last seen not to be: nothing, where the first sleep was too long.
        """
        done, started = self._mpi.Request.Testall, time.monotonic()
        heard, patience = started, 0.0
        while True:
            now = time.monotonic()
            if now - heard >= _HEARING:
                heard = now
                self._listen()
                if self._notices:
                    self._heed(self._completed + 1, what)
                    patience = patience or now + _GRACE
                    if now >= patience:
                        self._heed(_EVER, what)
            if until is not None and now >= until:
                raise TransportError(
                    f"gave up waiting for {what}, since not all ranks came in time: "
                    "see what keeps them, or give a longer deadline"
                )
            time.sleep(max(rest, min((now - started) * _SLEEP_SHARE, _LONGEST), _SHORTEST))
            rest = 0.0
            if done(requests):
                return now - started

    def check(self, what: str) -> None:
        """Raise what keeps this rank from its next step, if anything does."""
        if self.failure is not None:
            raise type(self.failure)(*self.failure.args)
        reason = self._out_of_reach()
        if reason is None and self._inside:
            reason = "a step was interrupted before its end: start no further flush point"
        if reason is not None:
            self.give_up(TransportError(reason))
        if self._notices:  # what has come since the last one is heard while this rank waits
            try:
                self._heed(self._completed + 1, what)
            except PeerLeftError as failure:
                self.give_up(failure)

    def give_up(self, failure: TransportError) -> NoReturn:
        """Break for good, tell those who would wait, and raise the failure."""
        self.failure = failure
        # Of a leaver all ranks are told by the lead. Of our own giving up they must hear from us: what happened,
        # without the remedy that ends the message.
        self._abandon(None if isinstance(failure, PeerLeftError) else str(failure).rpartition(": ")[0])
        raise failure

    def _fail(self, error: MPI.Exception) -> NoReturn:
        """Break for good since the MPI library failed. Of a death those must hear too who wait for others."""
        if error.Get_error_class() in self._deaths:
            with contextlib.suppress(self._mpi.Exception, NotImplementedError):
                self.comm.Revoke()
        self.give_up(
            TransportError(
                f"the MPI library failed ({error}): end the run, or go on with the ranks that are left by "
                "run.rebind(comm)"
            )
        )

    def leave(self, reason: str) -> None:
        """Enter no step any more, and tell those who would wait. Not collective."""
        if self.failure is None:
            self.failure = TransportError(f"this rank left the run early ({reason}): start no further flush point")
            self._abandon(reason)

    def notices(self) -> list[Notice]:
        """Return what is known of ranks that left early, in the order in which it became known. Not collective."""
        if not self._closed and self._out_of_reach() is None:
            with contextlib.suppress(self._mpi.Exception):
                self._listen()
        return [notice for notice, _ in self._notices.values()]

    def close(self, until: float | None) -> bool:
        """Free the communicator once all ranks are here, and return whether that was so. *Collective*."""
        if self.failure is not None:
            return False
        try:
            # Nobody is gone before all are here: only the lead tells of a leaver, so it must outlast all steps.
            self.take("the end of the run", until, self.comm.Ibarrier)
            self.comm.Free()
        except (TransportError, self._mpi.Exception):
            return False
        self._closed = True
        _OPEN.discard(self)
        self.failure = TransportError("the transport is closed: start a new run")
        return True

    def _out_of_reach(self) -> str | None:
        """Return why MPI must not be called here, if so."""
        if os.getpid() != self._pid:
            return "a forked process has no part in its parent's run: record in the parent alone"
        if self._mpi.Is_finalized():
            return "MPI was finalised before the run ended: end the run before MPI.Finalize()"
        return None

    def _heed(self, step: int, what: str) -> None:
        """Raise where a rank is known to have left before it completed the step."""
        for notice, completed in self._notices.values():
            if completed < step:
                raise PeerLeftError(
                    f"rank {self._names[notice.rank]} left the run early ({notice.reason}), so {what} cannot complete: "
                    "end the run, or go on with the ranks that are left by run.rebind(comm)"
                )

    def _abandon(self, reason: str | None) -> None:
        """Leave what is under way as it is, tell the reason, if any, to those who would wait, and send off relays."""
        if self._out_of_reach() is not None:
            return
        with contextlib.suppress(self._mpi.Exception):
            if reason is not None:
                self._listen()
                text, now = clip(reason, _REASON_BYTES), time.time_ns()
                self._notices[self._rank] = Notice(self._rank, text.decode(), now), self._completed
                self._tell(_NOTICE.pack(self._rank, now, self._completed) + text, self._rank)
            until = time.monotonic() + _FAREWELL
            while not self._mpi.Request.Testall(self._farewells) and time.monotonic() < until:
                time.sleep(_SHORTEST)

    def _listen(self) -> None:
        """Take the notices that have come. The lead relays them."""
        status = self._status
        while self.comm.Iprobe(self._mpi.ANY_SOURCE, _TAG, status):
            raw = bytearray(status.Get_count(self._mpi.BYTE))
            self.comm.Recv([raw, self._mpi.BYTE], status.Get_source(), _TAG)
            rank, time_ns, completed = _NOTICE.unpack_from(raw)
            if rank not in self._notices:
                self._notices[rank] = Notice(rank, raw[_NOTICE.size :].decode(), time_ns), completed
                if self._rank == self._lead:
                    self._tell(bytes(raw), rank)

    def _tell(self, message: bytes, leaver: int) -> None:
        """Send a notice on its way: the lead to all others, any other rank to the lead."""
        for rank in range(self._size) if self._rank == self._lead else (self._lead,):
            if rank not in (self._rank, leaver):
                self._farewells.append(self.comm.Isend([message, self._mpi.BYTE], rank, _TAG))


def _outlives() -> bool:
    """Tell whether this job may outlive a rank: ``mpiexec --with-ft ulfm`` says so to all its processes."""
    return os.environ.get(_OUTLIVES, "").lower() in ("1", "true", "yes", "ulfm")
