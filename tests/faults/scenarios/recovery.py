"""A recovery in a process of its own, which may be killed: arguments are those of ``recover``."""

from __future__ import annotations

import sys

import h5py  # noqa: F401 - imported before the clock of a plan starts

from provml_hpc.storage.recover import recover
from tests.faults import killing

killing.arm(0)
print(recover(sys.argv[1], force="--force" in sys.argv).status)
