"""The writer rank's side of a run's file: claim it, append to it, close it."""

from __future__ import annotations

from pathlib import Path
from time import time_ns
from typing import Any

from provml_hpc.errors import OutputExistsError
from provml_hpc.journal import safe_folder
from provml_hpc.records import Source
from provml_hpc.storage import closing
from provml_hpc.storage.log import LogWriter
from provml_hpc.storage.owner import Ownership
from provml_hpc.storage.place import hidden_of, partial_of


def _free(path: Path) -> bool:
    return not path.exists() and not partial_of(path).exists()


def _choose(path: Path, if_exists: str) -> Path:
    if _free(path):
        return path
    if if_exists == "new":
        numbered = (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in range(1, 100_000))
        return next(p for p in numbered if _free(p))
    if path.exists():
        raise OutputExistsError(
            f"{path} exists already; choose another output, or if_exists='new' to have a free name chosen"
        )
    raise OutputExistsError(
        f"{partial_of(path)} is there: a job that still runs, or one that died; see: provml info {path}. "
        f"Then provml recover {path}, or if_exists='resume' to go on, or if_exists='new'"
    )


class Output:
    """A claimed output. Nobody else has it while the lock is held."""

    def __init__(self, path: Path, meta: dict[str, Any], log: LogWriter, ownership: Ownership) -> None:
        self.path = path
        self.meta = meta
        self._log = log
        self._ownership = ownership

    @classmethod
    def claim(cls, path: Path, meta: dict[str, Any], if_exists: str) -> Output:
        """Take the output for a run.

        Raises
        ------
        OutputExistsError
            It exists and that was not allowed for.
        StorageError
            It cannot be written.
        """
        path = _choose(path, if_exists)
        safe_folder(hidden_of(path))
        ownership = Ownership.take(path, meta["run"])
        try:
            log = LogWriter.create(partial_of(path), meta)
        except BaseException:
            ownership.release()
            raise
        return cls(path, meta, log, ownership)

    def append(self, source: Source, data: memoryview, first: int, last: int) -> None:
        """Append frames; they count from the next commit on."""
        self._log.append(source, data, first, last)

    def commit(self) -> None:
        """Make everything appended count."""
        self._log.commit(time_ns())
        self._ownership.beat()

    def close(self) -> None:
        """Make the closed file, and remove the log once it is safe."""
        self._log.close()
        closing.close(self.path)

    def let_go(self) -> None:
        """Close what is open and give up the lock."""
        self._log.close()
        self._ownership.release()
