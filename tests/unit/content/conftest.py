"""A file that is too large to be read whole."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.unit.content.made import LARGE


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(random.Random(1).randbytes(LARGE))
    return path
