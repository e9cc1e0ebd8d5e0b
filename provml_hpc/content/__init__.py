"""Identity of bytes: digests of files, directories and arrays, and a worker that finds them beside the training."""

from __future__ import annotations

from provml_hpc.content.arrays import digest_array
from provml_hpc.content.digests import (
    FULL_DIGEST_LIMIT,
    SAMPLE_TOTAL,
    Digest,
    DigestCancelledError,
    StatKey,
    digest_file,
    full_digest_limit,
    parse_digest,
    parse_size,
    stat_key,
)
from provml_hpc.content.tree import Member, TreeDigest, digest_directory, digest_of_members
from provml_hpc.content.worker import Hasher

__all__ = [
    "FULL_DIGEST_LIMIT",
    "SAMPLE_TOTAL",
    "Digest",
    "DigestCancelledError",
    "Hasher",
    "Member",
    "StatKey",
    "TreeDigest",
    "digest_array",
    "digest_directory",
    "digest_file",
    "digest_of_members",
    "full_digest_limit",
    "parse_digest",
    "parse_size",
    "stat_key",
]
