"""Journals for tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provml_hpc import wire
from provml_hpc.journal import (
    DeadSegment,
    Journal,
)
from provml_hpc.records import Source

RUN = "3f0d2a44-1111-4222-8333-0123456789ab"
SOURCE = Source(1, 3, 0)
SMALL = 64 << 10
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away or mount a file system")


def make(folder: Path, bound: int = SMALL, source: Source = SOURCE, **description: object) -> Journal:
    return Journal(folder, source, RUN, {"run": RUN, **description}, bound)


def sequences(data: bytes | memoryview) -> list[int]:
    return [sequence for *_, sequence in wire.walk(data)]


def dead(folder: Path) -> list[DeadSegment]:
    return [DeadSegment(path) for path in sorted(folder.glob("*.journal"))]
