"""Carries the journals of a node to the hidden folder beside the output, before the cluster wipes the node.

A journal of ``journal="node"`` outlives its process and not its job: the scheduler clears what lies on the node. So a
rank that ends without a closed file carries its own (:func:`carry`), and after a failed step one task a node carries
those that nobody could (:func:`rescue`). A recovery finds them beside the output like all others.

Only what was published of a journal is copied. The copy is synced, read back and compared before it gets its name and
before the journal goes, so whoever is killed in between leaves the journal where it was.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provml_hpc import records, wire
from provml_hpc.errors import FileBusyError, OutputExistsError, ProvMLError, StorageError
from provml_hpc.journal import FIRST, DeadSegment, SegmentHead, node_folders, own_folder, pid_namespace, safe_folder
from provml_hpc.storage.owner import liveness
from provml_hpc.storage.place import RESCUED, hidden_of, output_of, part_in, part_of, partial_of, publish, run_of

_TRIES = 5
WAIT_S = 10.0
"""Seconds that a rescue waits for processes that are still ending."""


@dataclass
class Rescue:
    """What a rescue found on its node, and did."""

    output: Path
    journals: int = 0
    """Journal files that are safe beside the output now."""
    records: int = 0
    """Records that they hold."""
    left: list[str] = field(default_factory=list)
    """What was left where it is, each with its reason."""


def rescue(
    path: str | os.PathLike[str],
    *,
    folders: Iterable[str | os.PathLike[str]] = (),
    keep: bool = False,
    wait: float = WAIT_S,
) -> Rescue:
    """Carry all journals of an output's run that lie on this node to the hidden folder beside it.

    May be repeated, and run on all nodes at once.

    Parameters
    ----------
    path
        ``NAME.h5`` or ``NAME.h5.partial``.
    folders
        Further folders of this node to look into, for example another job's ``$TMPDIR``.
    keep
        Leave the journals on the node as well.
    wait
        Seconds to wait for processes that are still ending.

    Raises
    ------
    FileBusyError
        The job is alive.
    StorageError
        The hidden folder cannot be made or belongs to somebody else.
    """
    output = output_of(path)
    until = time.monotonic() + wait
    while (life := liveness(output)).state == "alive":
        if time.monotonic() > until:
            raise FileBusyError(f"{output} belongs to a job that lives ({life.reason}): wait until its step has ended")
        time.sleep(0.1)
    done = Rescue(output)
    left = dict(_journals(output, list(map(Path, folders))))
    while left:
        busy = {journal: home for journal, home in left.items() if process_of(journal)}
        for journal, home in left.items():
            if journal not in busy:
                _rescue(done, journal, home, keep=keep)
        left = busy
        if left and time.monotonic() > until:
            done.left += [f"{one}: process {process_of(one)} is alive and writes it; end it first" for one in left]
            break
        time.sleep(0.1 if left else 0)
    return done


def _rescue(done: Rescue, journal: Path, home: Path, *, keep: bool) -> None:
    """Carry one journal, or say why not."""
    try:
        found = carry(journal, safe_folder(home), keep=keep or _is_foreign(journal))
    except (OSError, MemoryError, ProvMLError) as error:
        done.left.append(str(error) if str(journal) in str(error) else f"{journal}: {error}")
        return
    done.journals += found > 0
    done.records += found


def carry(journal: Path, hidden: Path, *, keep: bool = False) -> int:
    """Copy one journal into the hidden folder, then remove it; return how many records it holds.

    Parameters
    ----------
    journal
        The file of a segment. With `keep` somebody may still write it: the copy then has what was published.
    hidden
        The hidden folder beside the output.
    keep
        Leave the journal where it is.

    Raises
    ------
    FormatError
        It is no journal.
    StorageError
        The copy could not be written; the journal stays where it is.
    """
    segment = _read(journal)
    _, first, last, _ = segment.frames()
    if first:
        _copy(segment, hidden)
    if not keep:
        journal.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            journal.parent.rmdir()  # unless there are others in it
    return last - first + 1 if first else 0


def _read(journal: Path) -> DeadSegment:
    """Read a journal that may begin anew meanwhile, since a commit covers it: then what was read is a mixture."""
    for _ in range(_TRIES):
        segment = DeadSegment(journal)
        now = DeadSegment(journal)
        if now.published >= segment.published and _goes_on(segment.data, now.data):
            return segment
    raise StorageError(f"{journal} is emptied by flush points faster than it can be read: try again when they are over")


def _copy(segment: DeadSegment, hidden: Path) -> None:
    temporary = hidden / f"{RESCUED}.{secrets.token_hex(6)}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(segment.data)
            file.flush()
            os.fsync(descriptor)
        if DeadSegment(temporary).data != segment.data:
            raise OSError(None, "it reads back differently")
        _name(temporary, hidden / segment.path.name, segment)
    except OSError as error:
        why = error.strerror or error
        raise StorageError(
            f"{segment.path} could not be copied to {hidden} ({why}): make room there, then try again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _goes_on(before: bytes, after: bytes) -> bool:
    """Tell whether a journal has the frames still that it had before. Counts of losses are raised where they lie."""
    if after.startswith(before[FIRST:], FIRST):
        return True
    if len(after) < len(before):
        return False
    end = FIRST
    for at, size, layout, _ in wire.walk(before, FIRST):
        end = at + size
        same = before[at:end] == after[at:end]
        if not same and (layout or not _is_count(before, at) or not _is_count(after, at)):
            return False
    return after.startswith(before[end:], end)


def _is_count(data: bytes, at: int) -> bool:
    try:
        frame = wire.decode(data, at)
    except ValueError:
        return False
    return frame is not None and isinstance(frame.record, records.Dropped)


def _name(temporary: Path, final: Path, segment: DeadSegment) -> None:
    """Give a copy its name. An earlier copy of no more than it has gives way, and one that differs stays beside it."""
    try:
        publish(temporary, final)
    except OutputExistsError:
        there = DeadSegment(final)
        if _replaces(segment, there):
            temporary.replace(final)
        elif not there.data.startswith(segment.data[FIRST:], FIRST):
            publish(temporary, final.with_name(f"{final.stem}.{secrets.token_hex(3)}{final.suffix}"))


def _replaces(segment: DeadSegment, there: DeadSegment) -> bool:
    """Tell whether nothing is lost where one copy takes the place of another.

    A process numbers its frames, and begins a segment anew only after a commit that has all frames before the first one
    that it has then. So a copy needs no other that neither begins nor ends later.
    """
    if segment.data.startswith(there.data[FIRST:], FIRST):
        return True
    if segment.identity != there.identity:
        return False
    _, first, last, _ = segment.frames()
    _, its_first, its_last, _ = there.frames()
    return first >= its_first and last >= its_last


def process_of(journal: Path) -> int:
    """Return the process of this node that has a journal mapped and writes it; 0 if it is gone.

    It is 0, too, where that cannot be seen: for a journal of another container, with process numbers of its own.
    """
    try:
        told: dict[str, Any] = SegmentHead(journal).description
        pid, inode = int(told.get("pid", 0)), journal.lstat().st_ino
        if pid <= 0 or _is_foreign(journal):
            return 0
        for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
            fields = line.split(maxsplit=5)
            # Not the device: it is another one there on file systems in layers.
            if len(fields) == 6 and fields[4] == str(inode) and Path(fields[5]).name == journal.name:
                return pid
    except (OSError, ValueError, TypeError, ProvMLError):
        pass  # It is gone, or no journal, which its rescue will tell.
    return 0


def _is_foreign(journal: Path) -> bool:
    """Tell whether a journal may be one that a process writes which cannot be seen from here: then it has to stay."""
    return bool(SegmentHead(journal).description.get("pid_namespace") != pid_namespace())


def _journals(output: Path, further: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield the journals on this node that are of an output's run, each once, and the hidden folder that each goes to.

    Of a run that several ranks wrote the output stands for all files, and a later part for itself.
    """
    meta = _told(output)
    run, own = str(meta.get("run", "")), part_in(meta)
    chosen = str(meta.get("journal_folder") or "")
    if run:
        folders = [*node_folders(run), *([Path(chosen) / own_folder(run)] if chosen else [])]
    else:  # nothing tells the run, so the journals have to: each knows its output
        folders = [one for base in node_folders("") for one in sorted(base.parent.glob(f"{own_folder('')}*"))]
    seen = {_identity(hidden_of(output))}
    for folder in (*folders, *further, *(one / own_folder(run) for one in further if run)):
        identity = _identity(folder)
        if identity is None or identity in seen:
            continue
        seen.add(identity)
        for path in sorted(folder.glob("*.journal")):
            try:
                head = SegmentHead(path)
            except (OSError, MemoryError, ProvMLError):
                continue  # also what another task of this node has carried away just now
            told, part = head.description, part_in(head.description)
            ours = told.get("run") == run if run else told.get("output") == str(output)
            if head.owner == os.geteuid() and ours and own in (0, part):
                yield path, hidden_of(part_of(output, part - own))


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from others, nothing if it is none of this user's own."""
    try:
        status = folder.lstat()
    except OSError:
        return None
    if folder.is_symlink() or not folder.is_dir() or status.st_uid != os.geteuid():
        return None
    return status.st_dev, status.st_ino


def _told(output: Path) -> Mapping[str, Any]:
    """Return what the files of an output tell of its run; nothing if there are none that can be read."""
    from provml_hpc.storage.log_reader import LogReader
    from provml_hpc.storage.tables import read_attributes

    with contextlib.suppress(OSError, ProvMLError):
        if not partial_of(output).exists():
            meta: Mapping[str, Any] = read_attributes(output)
        else:
            with LogReader(partial_of(output)) as log:
                meta = log.meta
        run_of(meta, output)
        return meta
    return {}
