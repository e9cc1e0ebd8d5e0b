"""What a dead job left: the frames of its log together with those of its journals, each once."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provml_hpc.assembly.frames import split
from provml_hpc.errors import FileBusyError, ProvMLError
from provml_hpc.journal import FIRST, DeadSegment, node_folders, own_folder
from provml_hpc.records import FAILED, Ended, Source
from provml_hpc.storage.log_reader import LogReader
from provml_hpc.storage.owner import HEARTBEAT
from provml_hpc.storage.place import RESCUED, hidden_of, part_in, partial_of, run_of
from provml_hpc.wire import decode, walk


def says_failed(output: Path, log: LogReader) -> bool:
    """Tell whether a rank of the last attempt wrote into its journal that it failed, before anybody recovers it."""
    segments, _ = find_segments(journal_folders(output, log.meta), run_of(log.meta, log.path), part_in(log.meta))
    last = max((segment.source.attempt for segment in segments), default=0)
    for segment in segments:
        if segment.source.attempt != last:
            continue
        frames = segment.frames()[0]
        for offset in split(frames).records:
            frame = decode(frames, offset)
            if frame is not None and isinstance(frame.record, Ended) and frame.record.outcome == FAILED:
                return True
    return False


@dataclass
class Found:
    """What was found of one source."""

    source: Source
    committed: int = 0
    """Records that the log has."""
    journal: int = 0
    """Records in its journal."""
    taken: int = 0
    """Records that only the journal has."""
    damage: list[str] = field(default_factory=list)


def journal_folders(output: Path, meta: Mapping[str, Any]) -> list[Path]:
    """Return where journals of a run may lie: beside the output, where the user said, and on this node.

    In the places that others may write to, a folder counts only if it is this user's: anybody could plant one there.
    """
    chosen = str(meta.get("journal_folder") or "")
    run = run_of(meta, output)
    places = [*([Path(chosen) / own_folder(run)] if chosen else []), *node_folders(run)]
    return [hidden_of(output), *(place for place in places if _is_own(place))]


def _is_own(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def is_closed(output: Path) -> bool:
    """Tell whether nobody can be writing an output, because its closed file is there and no log: a job has one."""
    return output.exists() and not os.path.lexists(partial_of(output))


_UNFINISHED = re.compile(r"\.[0-9a-f]{12}")


def remove_unfinished(output: Path) -> None:
    """Remove the files that somebody who died had not finished, from the hidden folder that nobody else uses now."""
    known = {output.name, partial_of(output).name, HEARTBEAT, RESCUED}
    with contextlib.suppress(OSError):
        for path in hidden_of(output).iterdir():
            # A journal without its head belongs to a process that was killed as it made it: it never held a frame.
            headless = path.suffix == ".journal" and path.lstat().st_size < FIRST
            if headless or (path.stem in known and _UNFINISHED.fullmatch(path.suffix)):
                path.unlink(missing_ok=True)


def find_segments(
    folders: Iterable[Path], run: str | None, part: int | None, *, given: Iterable[Path] = ()
) -> tuple[list[DeadSegment], list[str]]:
    """Read all journal segments of a run in some folders; also say what could not be read.

    A link is not followed and nothing outside of the folders is opened. Neither a folder nor a journal of somebody else
    is believed: beside an output that several people share anybody could put one.

    Parameters
    ----------
    folders
        Where journals may lie.
    run
        The run; None for whatever is there.
    part
        To which of the files of the run they belong, where several ranks wrote: journals of all may lie in one folder.
        None for whatever is there.
    given
        Further folders that the user named, who vouches for what is in them.
    """
    vouched = list(given)
    segments: list[DeadSegment] = []
    troubles: list[str] = []
    for folder in dict.fromkeys([*vouched, *folders]):
        if folder.is_symlink() or not folder.is_dir():
            continue
        if folder not in vouched and folder.lstat().st_uid != os.geteuid():
            troubles.append(f"{folder}: belongs to somebody else, so what is in it is not believed; see who made it")
            continue
        for path in sorted(folder.glob("*.journal")):
            try:
                segment = DeadSegment(path)
            except (OSError, MemoryError, ProvMLError) as error:
                troubles.append(f"{path}: {error}")
                continue
            if folder not in vouched and segment.owner != os.geteuid():
                troubles.append(f"{path}: belongs to somebody else, so it is not believed; remove it")
                continue
            told = segment.description
            if (run is None or told.get("run") == run) and part in (None, part_in(told)):
                segments.append(segment)
    return segments, troubles


def refuse_the_living(output: Path, segments: list[DeadSegment]) -> None:
    """See that nobody writes these journals: ranks may outlive the one that wrote the file, and its lock.

    Raises
    ------
    FileBusyError
        A process of this node has one mapped, and has not written its end into it.
    """
    from provml_hpc.storage.rescue import process_of

    ended = {segment.source[:2] for segment in segments if segment.ended}
    for segment in segments:
        if segment.source[:2] not in ended and process_of(segment.path) not in (0, os.getpid()):
            raise FileBusyError(
                f"{output}: rank {segment.source.rank} lives, as process {process_of(segment.path)}, and writes "
                f"{segment.path.name}: wait until it ends"
            )


class Leftovers:
    """The frames of a log and of journals as one source of frames, in order and each once.

    Parameters
    ----------
    log
        The log, if there is one.
    segments
        The journal segments.
    """

    def __init__(self, log: LogReader | None, segments: list[DeadSegment]) -> None:
        self._log = log
        self.found: dict[Source, Found] = {}
        self._more: dict[Source, list[tuple[int, int, memoryview]]] = {}
        if log is not None:
            for place in log.sources():
                source = Source(*place)
                self.found[source] = Found(source, committed=log.committed(source))
        by_source: dict[Source, list[DeadSegment]] = {}
        for segment in segments:
            by_source.setdefault(segment.source, []).append(segment)
        for source, mine in by_source.items():
            self._take(source, mine)

    def _take(self, source: Source, segments: list[DeadSegment]) -> None:
        found = self.found.setdefault(source, Found(source))
        last = found.committed
        runs = []
        for segment in segments:
            frames, first, final, lost = segment.frames()
            if segment.seal_holds is False:
                found.damage.append(
                    f"{segment.path.name}: its checksum does not hold; its frames are believed one by one"
                )
            if lost:
                found.damage.append(f"{segment.path.name}: {lost} bytes behind record {final} are damaged")
            if first:
                runs.append((first, final, frames))
                found.journal += final - first + 1
        for first, final, frames in sorted(runs, key=lambda run: run[:2]):
            if final <= last:
                continue
            if first > last + 1:
                found.damage.append(f"records {last + 1} to {first - 1} are missing")
            if first <= last:
                start = next(at for at, _, _, sequence in walk(frames) if sequence > last)
                frames = frames[start:]
            found.taken += final - max(first - 1, last)
            self._more.setdefault(source, []).append((max(first, last + 1), final, frames))
            last = final

    def sources(self) -> list[tuple[int, int, int]]:
        """Return every source of the log and of the journals."""
        return sorted(self.found)

    def last(self, source: tuple[int, int, int]) -> int:
        """Return the last sequence of a source, in the log or in its journal; 0 if it has none."""
        place = Source(*source)
        further = self._more.get(place)
        return further[-1][1] if further else self.found[place].committed

    def blocks(self, source: tuple[int, int, int]) -> Iterator[bytes | memoryview]:
        """Yield the frames of a source: what is committed, then what only its journal has."""
        place = Source(*source)
        if self._log is not None and self.found[place].committed:
            yield from self._log.blocks(place)
        for _, _, frames in self._more.get(place, ()):
            yield frames

    def further(self) -> Iterator[tuple[Source, int, int, memoryview]]:
        """Yield (source, first and last sequence, frames) of what only journals have."""
        for source, blocks in sorted(self._more.items()):
            for first, last, frames in blocks:
                yield source, first, last, frames
