"""Domain metadata of files: what is in a file, told by a small reader that knows its format.

A reader is a function of a path that returns a mapping of facts, or None where the file is not of its kind::

    def describe(path):
        if not path.endswith(".las"):
            return None
        well = lasio.read(path)
        return {"well": well.header["Well"]["WELL"].value, "curves": [c.mnemonic for c in well.curves]}

It is found by its entry point in the group ``provml_hpc.readers``, or named as ``"module:function"``. Readers run in a
child process with limits (``python -m provml_hpc.readers``), never in the job: a file that makes a library crash or
hang costs its facts and nothing else. `docs/readers.md` has the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeAlias

from provml_hpc.errors import UsageError

Reader: TypeAlias = "Callable[[str], Mapping[str, Any] | None]"

GROUP = "provml_hpc.readers"
AUTO = "auto"
"""The name that stands for the first reader that knows the file."""

_LAST = ("netcdf", "segy", "hdf5")
"""Our own, in the order in which they are asked: after those of others, and HDF5 after what is built on it."""


def names() -> list[str]:
    """Return the names of the readers that are installed, in the order in which ``auto`` asks them."""
    found = {one.name for one in entry_points(group=GROUP)}
    return sorted(found - set(_LAST)) + [name for name in _LAST if name in found]


def find(name: str) -> Reader:
    """Return a reader by its name, or by ``"module:function"``.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    if ":" in name:
        module, _, function = name.partition(":")
        reader: Reader = getattr(import_module(module), function)
        return reader
    found: list[EntryPoint] = list(entry_points(group=GROUP, name=name))
    if not found:
        raise UsageError(f"no reader is called {name!r}; there are: {', '.join(names()) or 'none'}")
    loaded: Reader = found[0].load()
    return loaded


def describe(path: str, name: str = AUTO) -> dict[str, Any]:
    """Return the facts of a file, in this process.

    Parameters
    ----------
    path
        A file or directory.
    name
        A reader, or ``"auto"`` for the first that knows the file.

    Raises
    ------
    UsageError
        No such reader, or none knows the file.
    Exception
        Whatever the reader raises; a file may be broken in any way.
    """
    troubles = []
    for one, reader in _asked(name):
        try:
            facts = reader(path)
        except ImportError as error:
            # It would know the file, but what it reads with is not installed.
            troubles.append(f"{one}: {error}")
            continue
        if facts is not None:
            return {"reader": one, **facts}
    if troubles:
        raise UsageError(f"{'; '.join(troubles)}: install it, or leave the characteristics out")
    asked = f"the reader {name}" if name != AUTO else f"any of the readers {', '.join(names())}"
    raise UsageError(f"{path} is of no kind that {asked} knows; name its facts yourself")


def _asked(name: str) -> Iterator[tuple[str, Reader]]:
    for one in names() if name == AUTO else [name]:
        yield one, find(one)
