"""Which rank reads which file, so that a file is digested and described once, and not once per rank.

A declaration is local and costs one look at the file. The lead digests what it declares at once, and every rank what
its own activities generated. All else waits for the next flush point, where the lead gives each file that nobody reads
yet to one of the ranks that declared it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from provml_hpc import records
from provml_hpc.capture.describer import Job
from provml_hpc.capture.entity import state_of
from provml_hpc.content import Digest, Hasher, Member, StatKey, TreeDigest, digest_file
from provml_hpc.content.worker import Result
from provml_hpc.errors import ProvMLError
from provml_hpc.values import clean_text

SMALL = 1 << 18
"""Up to so many bytes a file is digested at once, in well under a millisecond."""

Wanted = tuple[StatKey, bool, str]
"""A file; whether all its bytes are to be digested; or the reader that is to describe it, and then no digest."""
_Id = tuple[str, int, int, int]

_One = tuple[_Id, bool, str]
"""What is read once: a file in a state, and how."""


def _id(key: StatKey) -> _Id:
    return key.path, key.inode, key.size, key.mtime_ns  # nodes number a shared device differently


class Digester:
    """The digests that one rank wants, reads and writes down.

    Parameters
    ----------
    write
        Takes the records, from any thread.
    leads
        Whether this is the rank that says who reads what.
    """

    def __init__(
        self,
        write: Callable[[records.Record], object],
        *,
        leads: bool,
        describe: Callable[[Job], object] = lambda job: None,
    ) -> None:
        self._write = write
        self._leads = leads
        self._hasher = Hasher(self._deliver)
        self._describe = describe
        self._open: dict[tuple[_Id, str], Wanted] = {}
        self._known: set[_One] = set()
        self._mine: set[_One] = set()
        """What this rank reads, or has read."""
        self._elsewhere: dict[tuple[_Id, str], Wanted] = {}
        """What this rank wanted and another was to read."""
        self._given: dict[_One, int] = {}
        """On the lead: who was to read what it does not read itself."""
        self._jobs: dict[tuple[_Id, str], Job] = {}
        """Where what this rank wants described belongs."""

    def want(self, key: StatKey, *, whole: bool = False, at_once: bool = False) -> None:
        """Ask that somebody digests a file; `at_once` where no other rank can have declared it."""
        one = _id(key), whole, ""
        if one in self._known:
            return
        self._known.add(one)
        if one in self._given:  # on the lead: another rank reads it
            self._elsewhere[_id(key), ""] = key, whole, ""
            return
        if not (at_once or self._leads):
            self._open[_id(key), ""] = key, whole, ""
            return
        self._mine.add(one)
        if key.size <= SMALL and not key.is_directory:
            # Reading it here takes less time than its owner needs to write over it.
            try:
                self._deliver(key, digest_file(key.path, expected=key))
            except (OSError, ProvMLError) as error:
                self._deliver(key, error)
        else:
            self._hasher.submit(key, whole)

    def want_description(self, job: Job, *, at_once: bool = False) -> None:
        """Ask that somebody describes a file, likewise."""
        one = _id(job.key), False, job.reader
        if one in self._known or one in self._given:
            return
        self._known.add(one)
        if at_once or self._leads:
            self._mine.add(one)
            self._describe(job)
        else:
            self._jobs[one[0], job.reader] = job
            self._open[one[0], job.reader] = job.key, False, job.reader

    def requests(self) -> bytes:
        """Return what this rank wants and nobody reads yet; empty if nothing."""
        if not self._open:
            return b""
        return json.dumps([[*key, *how] for key, *how in self._open.values()]).encode()

    def assign(self, requests: Mapping[int, bytes]) -> dict[int, list[int]]:
        """On the lead: choose for each rank which of its requests it shall read, by their position."""
        chosen: dict[int, list[int]] = {}
        for rank, text in sorted(requests.items()):
            for position, (path, device, inode, size, mtime, directory, whole, reader) in enumerate(json.loads(text)):
                one = _id(StatKey(path, device, inode, size, mtime, directory)), whole, reader
                # Who asks again for what was given to it never heard so: a flush point was cut short.
                if one not in self._mine and self._given.get(one, rank) == rank:
                    self._given[one] = rank
                    chosen.setdefault(rank, []).append(position)
        return chosen

    def accept(self, positions: list[int]) -> None:
        """Take the answer to :meth:`requests`: read these, somebody else has the others."""
        wanted = list(self._open.values())
        self._elsewhere |= self._open
        self._open.clear()
        for position in positions:
            key, whole, reader = wanted[position]
            del self._elsewhere[_id(key), reader]
            self._mine.add((_id(key), whole, reader))
            if reader:
                self._describe(self._jobs[_id(key), reader])
            else:
                self._hasher.submit(key, whole)

    def rebind(self, places: Mapping[int, int], *, leads: bool) -> None:
        """Ask again for what ranks that are gone may not have read.

        Parameters
        ----------
        places
            For each rank of the old communicator that is in the new one its rank there.
        leads
            Whether this rank says now who reads what.
        """
        # A new lead does not know who read what: the files that nobody here read are read once more.
        self._open |= self._elsewhere
        self._elsewhere.clear()
        self._given = {one: places[rank] for one, rank in self._given.items() if rank in places}
        self._leads = leads

    def wait(self, seconds: float | None) -> bool:
        """Wait until all that this rank reads is written down; False if the time was not enough."""
        return self._hasher.wait(seconds)

    def close(self, seconds: float) -> int:
        """End the thread and return how many files were given up."""
        return len(self._hasher.close(seconds))

    def _deliver(self, key: StatKey, result: Result) -> None:
        """Write down what came out of a file; called in the hasher's thread, or at once for a small one."""
        if isinstance(result, TreeDigest):
            if result.digest.changed or _has_changed(key):
                result = result.digest._replace(changed=True)
            else:
                for member in result.members:
                    self._write(_contained(key, member))
                result = result.digest
        if isinstance(result, Digest):
            state = "changed" if result.changed else "sampled" if result.weak else "whole"
            digest = "" if result.changed else result.hexdigest
            self._write(_digested(key, state, result.size or 0, result.algorithm, digest))
            return
        state = "missing" if isinstance(result, FileNotFoundError) else "failed"
        self._write(_digested(key, state, reason=str(result)))


def _has_changed(key: StatKey) -> bool:
    """Tell whether a directory is another than the one that was declared, by now that it has been read."""
    try:
        return state_of(key.path) != key
    except OSError:
        return True


def _digested(
    key: StatKey, state: str, content_size: int = 0, algorithm: str = "", digest: str = "", reason: str = ""
) -> records.Digested:
    return records.Digested(
        inode=key.inode,
        modified_ns=key.mtime_ns,
        size=key.size,
        content_size=content_size,
        state=state,
        path=clean_text(key.path),
        algorithm=algorithm,
        digest=digest,
        reason=clean_text(reason),
    )


def _contained(key: StatKey, member: Member) -> records.Contained:
    return records.Contained(
        inode=key.inode,
        modified_ns=key.mtime_ns,
        size=member.digest.size or 0,
        path=clean_text(key.path),
        relative=clean_text(member.path),
        algorithm=member.digest.algorithm,
        digest="" if member.digest.changed else member.digest.hexdigest,
    )
