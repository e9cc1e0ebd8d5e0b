"""Provenance of machine-learning jobs on HPC systems: PROV-ML, captured per MPI rank, in one HDF5 file a job.

>>> import provml_hpc as provml
>>> with provml.init("facies-unet", phase="learning", output="facies.h5") as run:  # doctest: +SKIP
...     with run.training() as training:
...         training.log(0, loss=0.7)

Importing this is light: numpy, h5py and mpi4py are imported when they are needed, and only on the ranks that need them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from provml_hpc._version import __version__
from provml_hpc.capture import Activity, Entity, Run, Section, init
from provml_hpc.errors import (
    CaptureWarning,
    FileBusyError,
    FileMissingError,
    FormatError,
    OutputExistsError,
    PeerLeftError,
    ProvMLError,
    StateError,
    StorageError,
    TransportError,
    UsageError,
)

if TYPE_CHECKING:
    from provml_hpc.storage.reader import Reader

__all__ = [
    "Activity",
    "CaptureWarning",
    "Entity",
    "FileBusyError",
    "FileMissingError",
    "FormatError",
    "OutputExistsError",
    "PeerLeftError",
    "ProvMLError",
    "Run",
    "Section",
    "StateError",
    "StorageError",
    "TransportError",
    "UsageError",
    "__version__",
    "init",
    "open",
]


def open(path: str | os.PathLike[str]) -> Reader:
    """Open a file for reading: a closed one, or that of a job that still runs (given either of its names).

    Parameters
    ----------
    path
        ``NAME.h5``, or ``NAME.h5.partial``.

    Returns
    -------
    Reader
        With ``activities``, ``entities``, ``params``, ``samples()``, ``status`` and ``commits``; a context manager.

    Raises
    ------
    FileMissingError
        There is no such file.
    FormatError
        It is damaged, foreign, or of a newer format version.
    """
    from provml_hpc.storage.reader import open as open_file

    return open_file(path)
