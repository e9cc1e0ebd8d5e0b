"""A size that is only sampled, and the digest that all others are held to."""

from __future__ import annotations

import hashlib

from provml_hpc import content

LARGE = content.SAMPLE_TOTAL + 12345


def sha256(data: bytes) -> str:
    """Return the digest of some bytes."""
    return hashlib.sha256(data).hexdigest()
