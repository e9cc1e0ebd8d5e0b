"""Letting go of an HDF5 file that cannot be written any more."""

from __future__ import annotations

import contextlib
import os
import resource
from typing import Any


def abandon(file: Any) -> None:
    """Close a file that HDF5 failed to write, so that neither the close nor the end of the process touches it again.

    After a full disk, HDF5 fails at the close as well, keeps the file open, tries again when the process ends, and dies
    by a segmentation fault there. So its descriptor is turned to an unnamed scratch file first: what is on disk stays
    as the last good write left it, which SWMR keeps readable, and the rest goes to where it does no harm.
    """
    with contextlib.suppress(Exception):
        turn_away(file.id.get_vfd_handle())
    with contextlib.suppress(Exception):
        file.close()


def turn_away(descriptor: int) -> None:
    """Point an open descriptor at an unnamed scratch file, so that what is still written to it goes there."""
    if descriptor < 0:
        return
    scratch = _scratch()
    try:
        os.dup2(scratch, descriptor, inheritable=False)
    finally:
        os.close(scratch)


def _scratch() -> int:
    # Memory takes the last writes and lets HDF5 close the file. Under a limit on file sizes that fails like the file
    # did; then they go nowhere, which leaves a descriptor open, but still nothing to be written at the end.
    if hasattr(os, "memfd_create") and resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY:
        return os.memfd_create("provml-abandoned")
    return os.open(os.devnull, os.O_RDWR)
