"""The errors a user meets: one root, each also a fitting built-in, each message ending with what to do."""

from __future__ import annotations


class ProvMLError(Exception):
    """Root of every error that this library raises on purpose."""


class UsageError(ProvMLError, ValueError):
    """A call was made with arguments that cannot be meant."""


class StateError(ProvMLError, RuntimeError):
    """A call came at a moment when it cannot be served, for example after the run ended."""


class OutputExistsError(ProvMLError, FileExistsError):
    """The output, or what an earlier job left of it, is already there."""


class FileBusyError(ProvMLError, BlockingIOError):
    """The file belongs to a job, or to another recovery, that is still alive."""


class FileMissingError(ProvMLError, FileNotFoundError):
    """No file of that name, nor an unfinished one."""


class FormatError(ProvMLError, ValueError):
    """A file is damaged, foreign, or of a format version that this release does not read."""


class StorageError(ProvMLError, OSError):
    """Provenance could not be written where it should go."""


class TransportError(ProvMLError, RuntimeError):
    """The ranks could not agree or exchange their records."""


class PeerLeftError(TransportError):
    """Another rank left the run early, so no collective call can complete any more."""


class CaptureWarning(UserWarning):
    """Something was not captured; said once a run, counted in the file."""
