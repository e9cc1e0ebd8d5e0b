"""How the ranks of a run that begins agree on what it is called, where its files lie and who writes them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from provml_hpc.errors import (
    FileBusyError,
    FileMissingError,
    FormatError,
    OutputExistsError,
    ProvMLError,
    TransportError,
    UsageError,
)
from provml_hpc.storage.place import part_of, parts_of

if TYPE_CHECKING:
    from provml_hpc.storage.output import Output
    from provml_hpc.transport import Transport

REFUSALS = {
    error.__name__: error for error in (OutputExistsError, FileBusyError, FormatError, FileMissingError, UsageError)
}
"""What the user has to decide: raised on all ranks, strict or not, because going on would hide it."""


class Claimed(NamedTuple):
    """What one rank begins its part of the run with."""

    output: Path
    """The output, the same on all ranks: with several writer ranks the file of the lead."""
    meta: dict[str, Any]
    """What is known of the run."""
    storage: Output | None
    """On a writer rank: its file."""
    trouble: str = ""
    """Why this rank's writer rank has no file, if so."""
    parts: tuple[int, ...] = ()
    """For each rank in which file lies what it logs, where there are several."""


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
        How many ranks shall write: never more than there are. A run that is resumed with fewer goes on in all of its
        files all the same, as far as there are ranks for it.

    Raises
    ------
    UsageError, OutputExistsError, FileBusyError, FormatError, FileMissingError
        The output cannot be had; on all ranks.
    TransportError
        A rank died before all had heard.
    """
    storage: Output | None = None
    offer: dict[str, Any] = {}
    if transport.rank == transport.lead:
        there = 1 + len(parts_of(path)) if if_exists == "resume" else 1
        count = min(max(writers, there), 1 if transport.alone else transport.size)
        if count > 1:
            meta |= {"part": 0, "parts": count, "apart": True}
        offer, storage = _take(path, meta, if_exists)
        offer["writers"] = count

    def hear() -> dict[str, Any]:
        return dict(json.loads(transport.broadcast(json.dumps(offer).encode(), transport.lead)))

    # Where a job outlives a rank, the lead knows its offer all the same, and goes on with those that heard it.
    offer = _all_or_none(transport, storage, hear, offer)
    _refuse(transport, storage, [offer])
    if offer["writers"] == 1:
        return Claimed(Path(offer["output"]), offer["meta"], storage, offer.get("trouble", ""))
    return _share(transport, offer, storage, if_exists)


def _share(transport: Transport, offer: dict[str, Any], storage: Output | None, if_exists: str) -> Claimed:
    """Take the files of further writer ranks."""
    output, lead = Path(offer["output"]), transport.lead
    divided = transport.divide(offer["writers"])
    transport.appoint(lead, divided, range(transport.size))
    every = [lead, *sorted(set(divided) - {lead})]
    part = every.index(transport.writer)
    meta = {**offer["meta"], "part": part}
    mine: dict[str, Any] = {}
    if transport.rank == lead:
        mine = {"attempt": meta["attempt"], "trouble": offer.get("trouble", "")}
    elif transport.rank == transport.writer:
        resume = "resume" if if_exists == "resume" else "error"
        told, storage = _take(part_of(output, part), meta, resume)
        mine = {**told, "attempt": told.get("meta", meta)["attempt"]}

    def hear() -> list[dict[str, Any]]:
        return [json.loads(one) for one in transport.allgather(json.dumps(mine).encode())]

    heard = _all_or_none(transport, storage, hear, [])
    _refuse(transport, storage, heard)
    # A file that lay still while others went on is behind; the attempt that begins is the same in all.
    meta["attempt"] = max(one["attempt"] for one in heard if one)
    if storage is not None and meta["attempt"] > 1 and storage.meta["attempt"] != meta["attempt"]:
        with contextlib.suppress(ProvMLError):  # the next flush point tells that its log takes nothing
            storage.begin(meta["attempt"])
    parts = tuple(every.index(writer) for writer in divided)
    return Claimed(output, meta, storage, heard[transport.writer].get("trouble", ""), parts)


def _take(path: Path, meta: dict[str, Any], if_exists: str) -> tuple[dict[str, Any], Output | None]:
    """On a writer rank: take a file. What goes wrong is told to the others, not raised here."""
    from provml_hpc.storage.output import Output

    try:
        if not path.parent.is_dir():
            raise UsageError(f"output={str(path)!r}: there is no folder {path.parent}; make it, or mend the path")
        storage = Output.claim(path, meta, if_exists)
        return {"output": str(storage.path), "meta": storage.meta}, storage
    except tuple(REFUSALS.values()) as error:
        return {"refused": type(error).__name__, "reason": str(error)}, None
    except Exception as error:  # whatever it is, the other ranks wait for an answer
        trouble = f"{path} cannot be written: {error}. What is logged goes to the journals only"
        return {"output": str(path), "meta": meta, "trouble": trouble}, None


def _refuse(transport: Transport, storage: Output | None, told: list[dict[str, Any]]) -> None:
    """Raise what a writer rank was refused, on all ranks."""
    for one in told:
        if "refused" in one:
            if storage is not None:
                storage.withdraw()
            transport.close()
            raise REFUSALS[one["refused"]](one["reason"])


def _all_or_none(transport: Transport, storage: Output | None, hear: Callable[[], Any], known: Any) -> Any:
    """Return what all ranks hear. *Collective*: where a job outlives a rank, either all hear it or none.

    Parameters
    ----------
    transport
        That of the run.
    storage
        On a writer rank: its file, which is given up if not all hear.
    hear
        The exchange.
    known
        What this rank knows without it; nothing if it has to hear.
    """
    failure: TransportError | None = None
    try:
        known = hear()
    except TransportError as error:
        failure = error
    if transport.agree(bool(known)):
        return known
    if storage is not None:
        storage.withdraw()
    raise failure or TransportError(
        "a rank died before all had heard of the run, so it has not begun: begin it anew on the ranks that are left"
    )
