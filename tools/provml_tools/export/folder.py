"""A folder as output: it is whole, or it is not there."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from provml_hpc.errors import OutputExistsError, StorageError
from provml_tools.shield import will_be_removed


@contextlib.contextmanager
def new_folder(path: str) -> Iterator[Path]:
    """Yield a hidden folder beside a place, which takes that place at the end; nothing is left of it otherwise.

    Raises
    ------
    OutputExistsError
        There is something in the place, other than an empty folder.
    StorageError
        Nothing can be written there.
    """
    target = Path(os.path.realpath(path))
    try:
        taken = target.exists() and (not target.is_dir() or any(target.iterdir()))
        if taken:
            raise OutputExistsError(f"{path} is there already. Name a new folder with -o, or remove it first.")
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent))
    except OutputExistsError:
        raise
    except OSError as error:
        raise StorageError(
            f"Cannot write {path}: {error.strerror}. Name a place that can be written with -o."
        ) from None
    will_be_removed(temporary)
    try:
        mask = os.umask(0o022)
        os.umask(mask)
        temporary.chmod(0o777 & ~mask)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise StorageError(
            f"Cannot write {path}: {error.strerror or error}. Make room, or name another place."
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
