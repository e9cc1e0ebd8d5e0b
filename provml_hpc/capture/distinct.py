"""What tells an activity from the next: keys and items as text, and signatures of what ranks have to agree in."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

from provml_hpc.capture.samples import shown
from provml_hpc.values import UnrecordableError, normalise

_LONGEST = 1000
"""Most characters that are kept of a key or an item with parts."""
_MOST = 100
"""Most parts of an item that is recorded as a value; larger ones are data, of which the kind is told."""


def described(value: Any) -> tuple[str, str]:
    """Return type and text of what tells sections apart: short, and made in little time whatever it is."""
    try:
        if not _is_large(value):
            kind, text = normalise(value)
            if kind == "json" and len(text) > _LONGEST:
                return "text", f"{text[:_LONGEST]}... ({sign(text)})"
            return kind, text
        shape = getattr(value, "shape", None)
        return "text", type(value).__name__ + ("" if shape is None else str(list(shape)))
    except UnrecordableError:
        return "text", shown(value)
    except Exception:  # its own code may raise anything
        return "text", type(value).__name__


def sign(text: str) -> str:
    """Return 16 digits that are the same where texts are. Two checksums, forwards and backwards: no OpenSSL for it."""
    raw = text.encode("utf-8", "backslashreplace")
    return f"{zlib.crc32(raw):08x}{zlib.crc32(raw[::-1]):08x}"


def _is_large(value: Any, depth: int = 0) -> bool:
    """Tell whether a value holds data, a batch say, and is not just what tells it from the next."""
    if hasattr(value, "shape"):
        return bool(math.prod(value.shape) > _MOST)
    if not isinstance(value, (list, tuple, set, frozenset, Mapping)):
        return False
    if len(value) > _MOST or depth > 4:
        return True
    return any(_is_large(one, depth + 1) for one in (value.values() if isinstance(value, Mapping) else value))
