"""A run, and how it begins: the ranks agree on the output and the identity, then each opens its journal."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from time import time_ns
from types import TracebackType
from typing import Any
from uuid import uuid4

from provml_hpc import records
from provml_hpc._version import __version__
from provml_hpc.capture import apart, claiming, facts, guard, places, sampling, signals
from provml_hpc.capture.activity import Activity
from provml_hpc.capture.entity import Entity, Named
from provml_hpc.capture.inert import InertSession
from provml_hpc.capture.node import Node
from provml_hpc.capture.session import Session
from provml_hpc.environment import recording, site_authority
from provml_hpc.errors import (
    TransportError,
    UsageError,
)
from provml_hpc.telemetry.rate import parse_rate
from provml_hpc.values import clean_text

PHASES = ("curation", "preparation", "learning")
IF_EXISTS = ("error", "new", "resume")
CLOSE_TIMEOUT = 3600.0


class Run(Activity):
    """A run of a workflow or learning experiment: an activity that holds all others. Made by :func:`init`.

    Use it as a context manager, so that its end is known on every path. Only :func:`init`, :meth:`flush`,
    :meth:`rebind` and the end are collective.
    """

    def __init__(self, session: Session, cls: str, name: str) -> None:
        super().__init__(session, cls, None, 0, own=False, name=name)
        self._flush_warned = False

    @property
    def id(self) -> str:
        """The uuid of the run, the same on all ranks."""
        return str(self._session.meta["run"])

    @property
    def output(self) -> Path:
        """The file that the run writes; with ``if_exists="new"`` not always the one that was asked for."""
        return self._session.output

    @property
    def stop_requested(self) -> bool:
        """Whether a signal asked the job to stop; agreed by all ranks at each flush point."""
        return self._session.stop_requested

    def reference(self, store: str, identifier: str, *, label: str | None = None) -> Entity:
        """Return an entity for data that is no file: a table of a database, an object of a store.

        Parameters
        ----------
        store
            Where it lies, for example ``"postgresql://well-logs"``. No passwords: it is stored as given.
        identifier
            Its name there.
        label
            What to call it; by default the identifier.
        """
        store, identifier = clean_text(str(store)), clean_text(str(identifier))
        found = Named(label or identifier, store=store, identifier=identifier)
        cls = "LearningDataset" if self._session.meta["phase"] == "learning" else "Dataset"
        return self._declare(cls, found)

    def flush(self) -> None:
        """Bring what all ranks logged into the file. *Collective*: a flush point.

        When it returns, what was logged before it on this rank is in the HDF5 file, whatever happens afterwards.
        Ranks that are at their end already take part by themselves. Inside a rank's own activity it warns once and
        does nothing.
        """
        if _inside_own(self):
            if not self._flush_warned:
                self._flush_warned = True
                self._session.trouble(
                    "flush() inside a rank's own activity does nothing, since other ranks may not get there; "
                    "call it outside"
                )
            return
        self._session.flush()

    def rebind(self, comm: Any) -> None:
        """Go on with the ranks that are left, after others died or left the run. *Collective* over `comm`.

        For a job that outlives its ranks (Open MPI's ``mpiexec --with-ft ulfm``), after the communicator was shrunk; or
        with any communicator of ranks that want to go on. It ends with a flush point. Ranks keep the numbers that they
        had in the run. The old communicator is left alone, and ranks that are not in the new one flush no more.

        If a rank that wrote a file is gone, the lowest that is left of those that sent to it goes on with it. What a
        rank had logged before it died and not flushed is brought in where its journal can be read, by a rank that sees
        it. If another rank dies in the middle, the run warns like after any other loss: shrink once more, and call it
        again.

        Parameters
        ----------
        comm
            An mpi4py communicator of the ranks that go on, which is duplicated.

        Raises
        ------
        UsageError
            It is no communicator, joins different runs, or has a rank that ended its run; on all its ranks.

        Examples
        --------
        >>> try:  # doctest: +SKIP
        ...     comm.Allreduce(mine, total)
        ... except MPI.Exception:
        ...     comm.Revoke()
        ...     comm = comm.Shrink()
        ...     run.rebind(comm)
        """
        self._session.rebind(comm)

    def finish(self) -> None:
        """End the run. *Collective*; done by the end of a ``with`` block. What is still open ends with it."""
        self._end(records.COMPLETED)
        self._session.finish()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
            return
        reason, outcome = f"{kind.__name__}: {error}"[:1000], records.FAILED
        if kind is SystemExit and not getattr(error, "code", None):
            reason, outcome = "SystemExit", records.COMPLETED  # sys.exit() is one way to be done
        self._end(outcome, reason)
        self._session.leave(reason, "" if outcome == records.COMPLETED else kind.__name__, outcome)


def _inside_own(activity: Node) -> bool:
    """Whether an activity of this rank alone is open in this one, at any depth."""
    return any(inner._own or _inside_own(inner) for inner in activity._open)


def init(
    name: str,
    *,
    phase: str,
    output: str | os.PathLike[str],
    study: str | None = None,
    comm: Any = None,
    if_exists: str = "error",
    continues: str | os.PathLike[str] | None = None,
    journal: str | os.PathLike[str] = "output",
    buffer: str | int = "64 MiB",
    strict: bool = False,
    persona: Any = None,
    close_timeout: float = CLOSE_TIMEOUT,
    stop_signals: Iterable[str | int] = (),
    writer: int = 0,
    writers: int = 1,
    telemetry: bool | float | None = None,
    record: Iterable[str] = (),
) -> Run:
    """Begin a run. *Collective* over the communicator.

    Parameters
    ----------
    name
        The name of the workflow or experiment; runs of one name follow one plan.
    phase
        ``"curation"``, ``"preparation"`` or ``"learning"``.
    output
        The HDF5 file to write, ``NAME.h5``; while the run goes on it is ``NAME.h5.partial``.
    study
        The study that the experiment belongs to.
    comm
        An mpi4py communicator, which is duplicated. Without one: all processes of the job if an MPI launcher started
        this one, otherwise this process alone. Where a launcher without MPI started several, such as torchrun, each
        writes a file of its own, ``NAME-rank0.h5`` and so on (see :attr:`Run.output`), and ``provml merge`` makes one.
        ``"self"`` means a run of this process alone, whoever started it: a trial of a search, for example.
    if_exists
        What to do if the output is there already: ``"error"``, ``"new"`` (take the next free ``NAME-1.h5``, see
        :attr:`Run.output`) or ``"resume"`` (go on as the next attempt of the run that a dead job left unfinished).
    continues
        The file of an earlier run that this one goes on from.
    journal
        Where each rank buffers: ``"output"`` (a hidden folder beside the output), ``"node"`` (node-local) or a folder.
    buffer
        The bound of that buffer in bytes, per rank, as a number or as text such as ``"64 MiB"``.
    strict
        Raise what would otherwise be a warning.
    persona
        Who runs it: a name, ORCID or user@domain; by default the user at the site's domain.
    close_timeout
        Seconds to wait for the other ranks at the end of the run, before the file is left to ``provml recover``.
    stop_signals
        Signals that set :attr:`Run.stop_requested` instead of ending the process, for example ``["SIGUSR1"]`` with
        Slurm's ``--signal=USR1@300``. A handler that was there before is called too. With journals on the node they
        also have a thread copy these beside the output, at once.
    writer
        The rank that writes the file, and by whose clock times are told; the same on all ranks.
    writers
        How many ranks write, the same on all ranks: more than one where a single writer would keep thousands of ranks
        waiting. Each takes what its share of the ranks logs, into a file of its own: ``NAME.h5``, ``NAME-part1.h5`` and
        so on. Whoever opens ``NAME.h5`` reads them as one; ``provml merge`` makes one of them.
    telemetry
        How often one rank a node samples its GPUs, the node and the ranks' processes, in a thread of its own: turns a
        second up to 10, True for once a second, False or 0 for no thread. By default the variable
        ``PROVML_TELEMETRY`` says so, and without it once a second, where psutil or nvidia-ml-py is installed.
    record
        What is recorded besides, since it may hold secrets: ``"arguments"`` (the words of the command line; by default
        only options, numbers and paths that are there), ``"environment"`` (variables that tune software, from a list),
        ``"diff"`` (how the code differs from its commit; by default a digest). What looks secret in them is hidden.
        The variable ``PROVML_RECORD``, a list with commas, asks too.

    Raises
    ------
    UsageError
        An argument cannot be meant, or the folder of the output is not there.
    OutputExistsError
        The output exists, or a part of it, and `if_exists` is ``"error"``; on all ranks.
    FileBusyError
        The job to be resumed is alive, or being recovered; on all ranks.
    TransportError
        A rank died before all had heard what the run is (Open MPI's ``mpiexec --with-ft ulfm``); on all that are left.
    """
    if phase not in PHASES:
        raise UsageError(f"phase={phase!r}; choose one of {', '.join(PHASES)}")
    if if_exists not in IF_EXISTS:
        raise UsageError(f"if_exists={if_exists!r}; choose one of {', '.join(IF_EXISTS)}")
    size = places.parse_bytes(buffer)
    count = claiming.parse_writers(writers)
    wanted = signals.numbers(stop_signals)
    hz = parse_rate(telemetry)
    asked = recording.parse(record)
    name = clean_text(str(name))
    path = Path(os.path.abspath(output))  # noqa: PTH100 - links stay as the user wrote them
    cls = "LearningExperimentExecution" if phase == "learning" else "WorkflowExecution"
    meta: dict[str, Any] = {"name": name, "phase": phase, "study": clean_text(str(study or "")), "attempt": 1}
    if os.environ.get("PROVML_DISABLE") == "1":
        return Run(InertSession(meta | {"run": str(uuid4())}, path), cls, name)
    from provml_hpc.transport import choose

    transport = choose(comm, writer=writer)
    trouble = ""
    if transport.alone and transport.size > 1:
        mine = apart.begin(path, transport.rank, transport.size, name, phase, if_exists)
        path, trouble = mine.output, mine.trouble
        meta |= {"run": mine.run, "attempt": mine.attempt, "apart": True}
    if transport.rank == transport.lead:
        meta |= {
            "run": meta.get("run", str(uuid4())),
            "authority": site_authority().name,
            "started_ns": time_ns(),
            "writer": f"provml-hpc {__version__}",
            "size": transport.size,
            "journal_folder": "" if journal in ("output", "node") else os.path.abspath(journal),  # noqa: PTH100
        }
    claimed = claiming.claim(transport, path, meta, if_exists, count)
    try:
        session = Session(
            transport,
            claimed,
            strict=strict,
            journal=os.fspath(journal),
            buffer=size,
            close_timeout=close_timeout,
        )
    except BaseException as error:
        # Nobody may wait for a rank that has no run.
        transport.leave(f"{type(error).__name__}: {error}"[:1000])
        if claimed.storage is not None:
            claimed.storage.let_go()
        raise
    run = Run(session, cls, name)
    try:
        if trouble:
            session.trouble(trouble)
        for writer, text in claimed.troubles.items():  # of all files: a strict run ends on all ranks
            session.trouble(
                f"{text} in {session.folder}; later, run: provml recover {session.output} --journals {session.folder}",
                teller=writer,
            )
        try:
            node, neighbours = facts.write(session, persona, asked)
            if hz and neighbours and session.alive:
                sampling.begin(session, node, neighbours, hz)
        except TransportError as error:
            session.give_up(error)
        if continues is not None:
            facts.write_continued(session, continues)
        signals.watch(session, wanted)
    except BaseException as error:
        session.leave(f"{type(error).__name__}: {error}"[:1000], type(error).__name__)
        raise
    guard.watch(run)
    return run
