"""How the ranks of a run that begins agree on what it is called, where its files lie and who writes them."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterable
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from provml_hpc.errors import (
    FileBusyError,
    FileMissingError,
    FormatError,
    OutputExistsError,
    ProvMLError,
    TransportError,
    UsageError,
)
from provml_hpc.storage.place import part_of

if TYPE_CHECKING:
    from provml_hpc.storage.output import Output
    from provml_hpc.transport import Transport

log = logging.getLogger("provml_hpc")

REFUSALS = {
    error.__name__: error for error in (OutputExistsError, FileBusyError, FormatError, FileMissingError, UsageError)
}
"""What the user has to decide: raised on all ranks, strict or not, because going on would hide it."""

_T = TypeVar("_T")


class Claimed(NamedTuple):
    """What one rank begins its part of the run with."""

    output: Path
    """The output, the same on all ranks: with several writer ranks the file of the lead."""
    file: Path
    """The file of this rank's writer rank."""
    meta: dict[str, Any]
    """What is known of the run."""
    storage: Output | None
    """On a writer rank: that file."""
    troubles: dict[int, str]
    """Why writer ranks have no file: those that do not."""
    part_of_rank: tuple[int, ...]
    """For each rank into which of the files of the run it logs, as they are numbered."""


def parse_writers(writers: int) -> int:
    """Return how many ranks are to write.

    Raises
    ------
    UsageError
        It is no such number.
    """
    try:
        count = index(writers)
    except TypeError:
        count = 0
    if count < 1 or isinstance(writers, bool):
        raise UsageError(f"writers={writers!r}; give how many ranks shall write, 1 or more")
    return count


def claim(transport: Transport, path: Path, meta: dict[str, Any], if_exists: str, writers: int) -> Claimed:
    """Take the output: the lead for all, then further writer ranks each a file of its own. *Collective*.

    Parameters
    ----------
    transport
        That of the run. If the output is refused it is closed.
    path
        The output that the user named.
    meta
        On the lead: what is known of the run.
    if_exists
        As given to `init`.
    writers
        How many ranks shall write: never more than there are. A run that is resumed goes on in all of its files, as far
        as there are ranks for it.

    Raises
    ------
    UsageError, OutputExistsError, FileBusyError, FormatError, FileMissingError
        The output cannot be had; on all ranks.
    TransportError
        A rank died before all had heard.
    """
    claiming = _Claiming(transport)
    try:
        return claiming.claim(path, meta, if_exists, writers)
    except ProvMLError:
        raise  # on all ranks, and the file was given up
    except BaseException as error:
        # Nobody may wait for a rank that has no run, nor find what it took in the way.
        transport.leave(f"{type(error).__name__}: {error}"[:1000])
        claiming.withdraw()
        raise


class _Claiming:
    """The part of one rank."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._storage: Output | None = None

    def claim(self, path: Path, meta: dict[str, Any], if_exists: str, writers: int) -> Claimed:
        """Take the output, as :func:`claim` does."""
        transport = self._transport
        offer: dict[str, Any] = {}
        if transport.rank == transport.lead:
            offer = self._take_first(path, meta, if_exists, writers)

        def hear() -> dict[str, Any]:
            return dict(json.loads(transport.broadcast(json.dumps(offer).encode(), transport.lead)))

        # Where a job outlives a rank, the lead knows its offer all the same, and goes on with those that heard it.
        offer = self._all_or_none(hear, offer or None)
        self._refuse([offer])
        if offer["writers"] == 1:
            output = Path(offer["output"])
            troubles = {transport.lead: offer["trouble"]} if "trouble" in offer else {}
            return Claimed(output, output, offer["meta"], self._storage, troubles, (0,) * transport.size)
        return self._share(offer, if_exists)

    def _take_first(self, path: Path, meta: dict[str, Any], if_exists: str, writers: int) -> dict[str, Any]:
        """On the lead: take its file, which has the name of the output, and return what all are to hear of it."""
        most, there = 1 if self._transport.alone else self._transport.size, 1

        def take() -> Output:
            nonlocal there
            from provml_hpc.storage.output import Output
            from provml_hpc.storage.run_file import parts_to_resume

            if if_exists == "resume":
                there = parts_to_resume(path)
            count = min(max(writers, there), most)
            if count > 1:
                meta.update(part=0, parts=count, apart=True)
            return Output.claim(path, meta, if_exists)

        offer = self._take(path, meta, take)
        if self._storage is not None:
            _finish_others(self._storage.path, range(min(max(writers, there), most), there))
        return {**offer, "writers": min(max(writers, there), most)}

    def _share(self, offer: dict[str, Any], if_exists: str) -> Claimed:
        """Take the files of further writer ranks."""
        transport, output = self._transport, Path(offer["output"])
        lead, divided = transport.lead, transport.divide(offer["writers"])
        transport.appoint(lead, divided, range(transport.size))
        numbers = {writer: part for part, writer in enumerate([lead, *sorted(set(divided) - {lead})])}
        part = numbers[transport.writer]
        file, meta = part_of(output, part), {**offer["meta"], "part": part}
        mine: dict[str, Any] = {}
        if transport.rank == lead:
            mine = {key: offer[key] for key in ("trouble",) if key in offer} | {"attempt": meta["attempt"]}
        elif transport.rank == transport.writer:

            def take() -> Output:
                from provml_hpc.storage.output import Output

                return Output.claim(file, meta, "resume" if if_exists == "resume" else "error")

            told = self._take(file, meta, take)
            mine = {key: told[key] for key in ("refused", "reason", "trouble") if key in told}
            mine["attempt"] = told.get("meta", meta)["attempt"]

        def hear() -> list[dict[str, Any]]:
            return [json.loads(one) for one in transport.allgather(json.dumps(mine).encode())]

        heard = self._all_or_none(hear, None)
        self._refuse(heard)
        # A file that lay still while others went on is behind; the attempt that begins is the same in all.
        meta["attempt"] = max(one["attempt"] for one in heard if one)
        if self._storage is not None and self._storage.meta["attempt"] < meta["attempt"]:
            with contextlib.suppress(ProvMLError):  # the next flush point tells that its log takes nothing
                self._storage.begin(meta["attempt"])
        troubles = {rank: one["trouble"] for rank, one in enumerate(heard) if "trouble" in one}
        return Claimed(output, file, meta, self._storage, troubles, tuple(numbers[writer] for writer in divided))

    def _take(self, path: Path, meta: dict[str, Any], take: Callable[[], Output]) -> dict[str, Any]:
        """On a writer rank: take a file. What goes wrong is told to the others, not raised here."""
        try:
            if not path.parent.is_dir():
                raise UsageError(f"output={str(path)!r}: there is no folder {path.parent}; make it, or mend the path")
            self._storage = take()
            return {"output": str(self._storage.path), "meta": self._storage.meta}
        except tuple(REFUSALS.values()) as error:
            return {"refused": type(error).__name__, "reason": str(error)}
        except Exception as error:  # whatever it is, the other ranks wait for an answer
            trouble = f"{path} cannot be written: {error}. What is logged goes to the journals only"
            return {"output": str(path), "meta": meta, "trouble": trouble}

    def withdraw(self) -> None:
        """Give up what this rank took."""
        if self._storage is not None:
            with contextlib.suppress(Exception):
                self._storage.withdraw()

    def _refuse(self, told: Iterable[dict[str, Any]]) -> None:
        """Raise what a writer rank was refused, on all ranks."""
        for one in told:
            if "refused" in one:
                self.withdraw()
                self._transport.close()
                raise REFUSALS[one["refused"]](one["reason"])

    def _all_or_none(self, hear: Callable[[], _T], known: _T | None) -> _T:
        """Return what all ranks hear. *Collective*: where a job outlives a rank, either all hear it or none.

        Parameters
        ----------
        hear
            The exchange.
        known
            What this rank knows without it; None if it has to hear.
        """
        failure: TransportError | None = None
        try:
            known = hear()
        except TransportError as error:
            failure = error
        if self._transport.agree(known is not None) and known is not None:
            return known
        self.withdraw()
        raise failure or TransportError(
            "a rank died before all had heard of the run, so it has not begun: begin it anew on the ranks that are left"
        )


def _finish_others(output: Path, parts: Iterable[int]) -> None:
    """Finish the files of earlier attempts that nobody goes on in, since there are fewer ranks now."""
    from provml_hpc.storage.recover import recover

    for file in (part_of(output, number) for number in parts):
        try:
            recover(file)
        except Exception as error:
            log.warning("provml: %s stays as it is (%s); after the job, run: provml recover %s", file, error, output)
