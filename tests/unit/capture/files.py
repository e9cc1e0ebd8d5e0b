"""Files that a captured job reads and makes, and what the file of the job says of their bytes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from tests.unit.capture.jobs import File


def write(path: Path, text: str) -> Path:
    """Write a file so that its state differs from any earlier one."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if path.stat().st_mtime_ns <= before:
        os.utime(path, ns=(before + 1000, before + 1000))
    return path


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def contents(file: File, cls: str, **fields: Any) -> list[list[str]]:
    return [file.content(row) for row in sorted(file.all(cls, **fields), key=lambda row: row["id"])]
